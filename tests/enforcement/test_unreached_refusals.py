"""How a request is refused, and charged, that ended before its view's own limits."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any

import pytest
from quart import Quart, Response, abort, g, request, websocket

from quart_ratelimit import Limit, Limiter, RateLimitExceeded, rate_limit
from quart_ratelimit.stores import MemoryStore
from quart_ratelimit.util import get_remote_address

from ..support.apps import Clock, Make, ask, clock, make, view
from ..support.logins import login
from ..support.sites import ShieldedSite, WebsocketSite

__all__ = ["clock", "make"]  # fixtures

#: A request that says who sends it.
KNOWN = {"User": "ann"}
DEFAULTS = ["2/minute"]


def refused_by_another(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that hides the refusal of another limit."""

    @rate_limit("1/minute")
    async def refuse() -> None: ...

    @wraps(function)
    async def checked() -> Any:
        try:
            await asyncio.gather(refuse(), refuse())
        except RateLimitExceeded:
            return "no", 401
        return "yes"

    return checked


@pytest.mark.parametrize("before", [False, True])
async def test_the_refusal_is_as_any_other(make: Make, before: bool) -> None:
    app, limiter = make(default_limits=["1/minute"], headers_enabled=True)
    seen: list[int] = []

    async def note(response: Response) -> Response:
        seen.append(response.status_code)
        response.headers["X-Seen"] = "yes"
        return response

    if before:
        app, limiter = Quart(__name__), Limiter(
            get_remote_address, default_limits=["1/minute"], headers_enabled=True,
            store=limiter.store,
        )  # fmt: skip
    app.after_request(note)
    if before:
        limiter.init_app(app)
    view(app, "/", login, limiter.limit("100/minute"))
    first = await app.test_client().get("/")
    assert first.headers["X-RateLimit-Limit"] == "1"
    assert first.headers["X-RateLimit-Remaining"] == "0"
    refusal = await app.test_client().get("/")
    assert seen == [401, 429]
    assert refusal.headers["X-Seen"] == "yes"
    assert refusal.headers["Cache-Control"] == "no-store"
    assert 0 < int(refusal.headers["Retry-After"]) <= 60
    assert refusal.headers.getlist("X-RateLimit-Remaining") == ["0"]
    assert "1 per 1 minute" in await refusal.get_data(as_text=True)


@pytest.mark.parametrize("how", ["on_breach", "of the limit", "handler", "class", "tuple"])
async def test_the_app_answers_the_refusal_itself(make: Make, how: str) -> None:
    def answer(*_: object) -> Any:
        return ("slow down", 429, {"X-Own": "1"}) if how == "tuple" else ("slow down", 429)

    default = Limit("1/minute", on_breach=answer if how == "of the limit" else None)
    app, limiter = make(
        default_limits=[default], on_breach=answer if how in ("on_breach", "tuple") else None
    )
    if how in ("handler", "class"):
        app.register_error_handler(429 if how == "handler" else RateLimitExceeded, answer)
    view(app, "/", login, limiter.limit("100/minute"))
    await ask(app, "/")
    refusal = await app.test_client().get("/", scope_base={"client": ("ann", 1)})
    assert refusal.status_code == 429
    assert await refusal.get_data(as_text=True) == "slow down"
    assert refusal.headers["Retry-After"]
    assert refusal.headers["Cache-Control"] == "no-store"


async def test_the_problem_document_is_sent(make: Make) -> None:
    app, limiter = make(default_limits=["1/minute"], problem_details=True)
    view(app, "/", login, limiter.limit("100/minute"))
    await ask(app, "/")
    headers = {"Accept": "application/json"}
    refusal = await app.test_client().get("/", headers=headers, scope_base={"client": ("ann", 1)})
    assert refusal.content_type == "application/problem+json"


@pytest.mark.parametrize("by", ["deny", "an earlier hook", "another limit", "an earlier limiter"])
async def test_a_request_that_was_refused_otherwise_is_not_charged(make: Make, by: str) -> None:
    app, limiter = Quart(__name__), Limiter(
        get_remote_address, default_limits=["1/minute"], store=MemoryStore()
    )  # fmt: skip
    refusing = [True]
    if by == "an earlier hook":
        app.before_request(lambda: ("no", 503) if refusing[0] else None)
    if by == "an earlier limiter":
        Limiter(get_remote_address, app=app, store=MemoryStore()).deny(lambda: refusing[0])
    limiter.init_app(app)
    if by == "deny":
        limiter.deny(lambda: refusing[0])
    above = [refused_by_another] if by == "another limit" else []
    view(app, "/", *above, login, limiter.limit("100/minute"))
    assert set(await ask(app, "/", 3)) <= {401, 403, 429, 503}
    assert await limiter.reset() == (by == "another limit")


async def test_what_the_answer_decides_on_is_settled_by_the_answer_that_is_sent(
    make: Make, clock: Clock
) -> None:
    app, limiter = make(
        default_limits=["2/minute"],
        default_limits_deduct_when=lambda response: response.status_code == 401,
    )

    def by_word(function: Any) -> Any:
        @wraps(function)
        async def checked() -> Any:
            return "no", int(request.args["status"])

        return checked

    view(app, "/", by_word, limiter.limit("100/minute"))
    assert await ask(app, "/?status=403", 4) == [403] * 4
    assert await ask(app, "/?status=401", 3) == [401, 401, 429]


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"on_store_error": "open"}, 401),
        ({"on_store_error": "closed"}, 503),
        ({"on_store_error": "raise"}, 500),
        ({"swallow_errors": True}, 401),
    ],
)
async def test_while_the_store_is_away_its_policy_decides(
    options: dict[str, Any], status: int
) -> None:
    app = Quart(__name__)
    limiter = Limiter(
        app=app, storage_uri="redis://127.0.0.1:1/0", default_limits=["1/minute"], **options
    )
    view(app, "/", login, limiter.limit("100/minute"))
    assert await ask(app, "/", 2) == [status] * 2


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_key_function_that_needs_the_login_counts_the_address(
    make: Make, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def user() -> str:
        return str(g.user)

    async def user_later() -> str:
        return user()

    app, limiter = make(key_func=user_later if is_async else user, default_limits=DEFAULTS)
    view(app, "/", login, limiter.limit("100/minute"))
    assert await ask(app, "/", 3, who="192.0.2.1") == [401, 401, 429]
    assert await ask(app, "/", 1, who="192.0.2.2") == [401]
    assert await ask(app, "/", 3, **KNOWN) == [200] * 3
    failed = [one for one in caplog.records if "ended before the limits" in one.getMessage()]
    assert len(failed) == 1


async def test_behind_a_shield_who_is_known_is_served_while_guesses_are_refused() -> None:
    site = ShieldedSite(default_limits=["1/minute"])
    view(site.app, "/in", login, site.limiter.limit("100/minute"))
    found = [(await site.get("/in")).status for _ in range(30)]
    assert found == [401] + [429] * 29
    assert (await site.get("/in", user="ann")).status == 200


async def test_a_handshake_that_a_login_rejects_is_under_the_defaults() -> None:
    def admit(function: Any) -> Any:
        @wraps(function)
        async def checked() -> Any:
            if websocket.remote_addr != "ann":
                abort(401)
            return await function()

        return checked

    site = WebsocketSite(default_limits=DEFAULTS)
    site.serve("/ws", admit, site.limiter.limit("100/minute"))
    assert await site.outcomes(3, who="bob") == [401, 401, 429]
    assert await site.outcomes(3) == ["hello"] * 3


async def test_so_is_one_that_is_closed_after_it_was_accepted() -> None:
    def closing(function: Any) -> Any:
        @wraps(function)
        async def checked() -> Any:
            await websocket.accept()
            await websocket.send("who?")

        return checked

    site = WebsocketSite(default_limits=DEFAULTS, headers_enabled=True)
    site.serve("/ws", closing, site.limiter.limit("100/minute"))
    for _ in range(2):
        assert await site.connect() == "who?"
    counted = await site.limiter.reset()
    assert counted == 1


@pytest.mark.parametrize("refuses", [False, True])
async def test_a_client_that_goes_away_before_the_answer_is_counted(
    make: Make, refuses: bool
) -> None:
    app, limiter = make(default_limits=["1/minute" if refuses else "2/minute"])
    begun = asyncio.Event()

    def slow(function: Any) -> Any:
        @wraps(function)
        async def checked() -> Any:
            if "Slow" in request.headers:
                begun.set()
                await asyncio.Event().wait()
            return "who?", 401

        return checked

    view(app, "/", slow, limiter.limit("100/minute"))
    if refuses:
        await ask(app, "/")
    inbox = [{"type": "http.request", "body": b"", "more_body": False}]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": "/", "raw_path": b"/", "query_string": b"", "root_path": "",
        "headers": [(b"host", b"test"), (b"slow", b"1")], "client": ("ann", 1),
        "server": ("test", 80), "extensions": {},
    }  # fmt: skip

    async def receive() -> Any:
        if inbox:
            return inbox.pop()
        await begun.wait()
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None: ...

    async with asyncio.timeout(5):
        await app(scope, receive, send)  # type: ignore[arg-type]
    assert await ask(app, "/", 2) == ([429, 429] if refuses else [401, 429])


async def test_an_error_that_reaches_the_test_is_counted(make: Make) -> None:
    app, limiter = make(default_limits=["1/minute"])
    app.testing = True

    def failing(function: Any) -> Any:
        @wraps(function)
        async def checked() -> Any:
            if "Fail" in request.headers:
                raise LookupError
            return "who?", 401

        return checked

    view(app, "/", failing, limiter.limit("100/minute"))
    with suppress(LookupError):  # as versions of Quart differ
        await ask(app, "/", Fail="1")
    assert await ask(app, "/") == [429]


async def test_an_error_after_the_response_charges_nothing_again(make: Make) -> None:
    app, limiter = make(default_limits=DEFAULTS)

    @app.after_request
    async def fail(response: Response) -> Response:
        raise LookupError

    view(app, "/", login, limiter.limit("100/minute"))
    assert await ask(app, "/", 2) == [500, 500]
