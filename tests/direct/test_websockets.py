"""Handshakes of websockets under the limits of routes, before and after they are accepted."""

import pytest
from quart import Blueprint, Quart, Response, abort, websocket

from quart_ratelimit import Limiter, client_address, rate_limit

from ..support.quart_client import WebsocketDisconnectError
from ..support.sites import WebsocketSite


async def test_a_limit_on_a_websocket_limits_its_handshakes() -> None:
    site = WebsocketSite()
    site.serve("/ws", site.limiter.limit("2/minute"))
    assert await site.outcomes(3) == ["hello", "hello", 429]
    assert await site.outcomes(1, who="bob") == ["hello"]


async def test_a_refused_handshake_is_told_by_a_whole_http_answer() -> None:
    site = WebsocketSite(headers_enabled=True)
    site.serve("/ws", site.limiter.limit("1/minute"))
    await site.connect()
    refusal = await site.connect()
    assert (refusal.status_code, refusal.headers["X-RateLimit-Remaining"]) == (429, "0")
    assert 0 < int(refusal.headers["Retry-After"]) <= 61
    assert "1 per 1 minute" in await refusal.get_data(as_text=True)


async def test_the_apps_own_answer_to_429_is_sent() -> None:
    site = WebsocketSite()
    site.serve("/ws", site.limiter.limit("1/minute"))

    @site.app.errorhandler(429)
    async def refused(_: Exception) -> tuple[str, int]:
        return "slow down", 429

    await site.connect()
    assert await (await site.connect()).get_data(as_text=True) == "slow down"


async def test_a_server_without_the_extension_closes_before_it_accepts() -> None:
    """ASGI servers answer such a close with 403: no field and no body can be told."""
    site = WebsocketSite()
    site.serve("/ws", site.limiter.limit("1/minute"))
    await site.connect(extensions={})
    assert await site.connect(extensions={}) == 1000


async def test_default_and_application_limits_count_handshakes() -> None:
    site = WebsocketSite(default_limits=["2/minute"], application_limits=["3/minute"])
    site.serve("/ws", name="one")
    site.serve("/other", name="other")
    assert await site.outcomes(3) == ["hello", "hello", 429]
    assert await site.outcomes(2, "/other") == ["hello", 429]


async def test_the_limits_of_blueprints_count_handshakes() -> None:
    site = WebsocketSite()
    blueprint = Blueprint("chat", __name__)
    site.serve("/ws", at=blueprint)
    site.limiter.limit("1/minute")(blueprint)
    site.app.register_blueprint(blueprint)
    assert await site.outcomes(2) == ["hello", 429]


async def test_the_snippets_decorator_limits_handshakes() -> None:
    site = WebsocketSite()
    site.serve("/ws", rate_limit("1/minute"))
    assert await site.outcomes(2) == ["hello", 429]


async def test_exempt_views_and_filters_let_handshakes_pass() -> None:
    site = WebsocketSite(default_limits=["1/minute"])
    site.serve("/ws", name="counted")
    site.serve("/free", site.limiter.exempt, name="free")
    site.limiter.request_filter(lambda: websocket.remote_addr == "bob")
    assert await site.outcomes(2, "/free") == ["hello", "hello"]
    assert await site.outcomes(2, who="bob") == ["hello", "hello"]
    assert await site.outcomes(2) == ["hello", 429]


async def test_a_handshake_counts_for_the_address_that_a_proxy_tells() -> None:
    site = WebsocketSite(key_func=client_address(trusted_proxies=1))
    site.serve("/ws", site.limiter.limit("1/minute"))
    ann, bob = ([(b"x-forwarded-for", who)] for who in (b"1.1.1.1", b"2.2.2.2"))
    told = [await site.connect(who="10.0.0.1", headers=who) for who in (ann, bob, ann)]
    assert told[:2] == ["hello", "hello"]
    assert told[2].status_code == 429


async def test_a_view_knows_its_limits() -> None:
    site = WebsocketSite()

    @site.app.websocket("/ws")
    @site.limiter.limit("5/minute")
    async def told() -> None:
        limit = site.limiter.current_limit
        await websocket.send(f"{limit.remaining} of {limit.limit}" if limit else "none")

    assert await site.connect() == "4 of 5 per 1 minute"


@pytest.fixture
def guarded() -> WebsocketSite:
    """Failed handshakes count, as at a login."""
    site = WebsocketSite()

    @site.app.websocket("/ws")
    @site.limiter.limit("1/minute", deduct_when=lambda response: response.status_code == 401)
    async def guarded() -> None:
        if websocket.remote_addr == "eve":
            abort(401)
        await websocket.send("hello")
        await websocket.receive()

    return site


async def test_an_accepted_handshake_has_the_status_101(guarded: WebsocketSite) -> None:
    assert await guarded.outcomes(3) == ["hello"] * 3


async def test_a_handshake_that_the_view_refuses_has_its_status(guarded: WebsocketSite) -> None:
    assert await guarded.outcomes(2, who="eve") == [401, 429]


async def test_a_refusal_after_the_handshake_closes_by_policy() -> None:
    site = WebsocketSite()

    @site.app.websocket("/ws")
    async def late() -> None:
        await websocket.accept()
        async with site.limiter.limit("1/minute"):
            await websocket.send("hello")

    assert await site.outcomes(2) == ["hello", 1008]


async def test_what_a_long_connection_is_told_does_not_pile_up() -> None:
    site = WebsocketSite()

    @site.app.websocket("/ws")
    async def long() -> None:
        for _ in range(50):
            async with site.limiter.limit("100/minute"):
                pass
        await websocket.send(str(len(site.limiter.current_limits)))

    assert await site.connect() == "1"


async def test_places_in_flight_are_held_while_a_connection_lasts() -> None:
    site = WebsocketSite()
    site.serve("/ws", site.limiter.in_flight(1))
    client = site.app.test_client()
    async with client.websocket("/ws", scope_base={"client": ("ann", 1)}) as connection:
        assert await connection.receive() == "hello"
        assert await site.outcomes(1) == [429]
        assert await site.outcomes(1, who="bob") == ["hello"]
    assert await site.outcomes(2) == ["hello", "hello"]


async def test_a_switched_off_limiter_lets_handshakes_pass() -> None:
    site = WebsocketSite()
    site.serve("/ws", site.limiter.limit("1/minute"))
    site.limiter.enabled = False
    assert await site.outcomes(3) == ["hello"] * 3


async def test_quart_is_left_alone_where_nothing_is_limited() -> None:
    app = Quart(__name__)

    @app.websocket("/ws")
    async def plain() -> Response | None:
        await websocket.accept(headers={"X-Own": "1"}, subprotocol=None)
        await websocket.close(4000, "own reason")
        return None

    Limiter(app=app)
    async with app.test_client().websocket("/ws") as connection:
        with pytest.raises(WebsocketDisconnectError, match="4000"):
            await connection.receive()
        assert connection.accepted
