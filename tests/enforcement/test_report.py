"""What responses and handlers are told of limits that belong to no rule: those of ``rate_limit``,
``reserve`` and ``in_flight``.
"""

import time
from typing import Any

import http_sf
import pytest
from quart import Quart, request

from quart_ratelimit import (
    FixedWindow,
    Limiter,
    RateLimitExceeded,
    StoreError,
    rate_limit,
)
from quart_ratelimit.enforcement.context import MOST_REPORTED
from quart_ratelimit.stores import GuardedStore, MemoryStore
from quart_ratelimit.util import get_remote_address

from ..support.sites import WebsocketSite
from ..support.stores import Moody

NOW_MS = 1_800_000_000_000  # a minute begins
HOUR = 3600


def site(**options: Any) -> tuple[Quart, Limiter]:
    app = Quart(__name__)
    options = {"store": MemoryStore(now_ms=lambda: NOW_MS), **options}
    options.setdefault("header_fields", ["x-ratelimit", "draft-10"])
    return app, Limiter(get_remote_address, app=app, **options)


async def ask(app: Quart, path: str = "/", who: str = "ann") -> Any:
    return await app.test_client().get(path, scope_base={"client": (who, 1)})


def states(response: Any) -> dict[str, Any]:
    """What the draft's field says of each limit."""
    found = http_sf.parse(response.headers["RateLimit"].encode(), tltype="list")
    return {name: parameters["r"] for name, parameters in found}


@pytest.fixture
def snippet() -> Quart:
    app, _ = site()

    @app.get("/")
    @rate_limit("2/minute; 100/hour")
    async def index() -> str:
        return "here"

    return app


async def test_the_decorator_tells_what_is_left(snippet: Quart) -> None:
    response = await ask(snippet)
    assert states(response) == {"rate_limit:2/minute": 1, "rate_limit:100/hour": 99}
    assert response.headers["X-RateLimit-Limit"] == "2"
    assert response.headers["X-RateLimit-Remaining"] == "1"
    assert 60 <= int(response.headers["X-RateLimit-Reset"]) - time.time() <= 61


async def test_the_decorators_refusal_keeps_its_body_and_gains_the_fields(snippet: Quart) -> None:
    responses = [await ask(snippet) for _ in range(3)]
    refused = responses[-1]
    assert refused.status_code == 429
    assert await refused.get_json() == {"message": "Too many requests. Please try again later."}
    assert states(refused) == {"rate_limit:2/minute": 0, "rate_limit:100/hour": 98}
    assert int(refused.headers["Retry-After"]) >= 60
    assert refused.headers.getlist("Cache-Control") == ["no-store"]


async def test_without_fields_the_decorators_limit_is_still_the_requests() -> None:
    app, limiter = site(header_fields=None)

    @app.get("/")
    @rate_limit("1/minute")
    async def index() -> str:
        return str([str(status.limit) for status in limiter.current_limits])

    response = await ask(app)
    assert await response.get_data(as_text=True) == "['1 per 1 minute']"
    assert {name.title() for name, _ in response.headers} == {"Content-Type", "Content-Length"}
    refused = await ask(app)
    told = {name.title(): value for name, value in refused.headers}
    assert (told.pop("Retry-After"), told.pop("Cache-Control")) == ("60", "no-store")
    assert set(told) == {"Content-Type", "Content-Length"}


async def test_a_request_filter_frees_a_request_of_the_decorators_limit() -> None:
    app, limiter = site(header_fields=None)
    limiter.request_filter(lambda: "Free" in request.headers)

    @app.get("/")
    @rate_limit("1/minute")
    async def index() -> str:
        return str(limiter.current_limits)

    client = app.test_client()
    free = [(await client.get("/", headers={"Free": "1"})).status_code for _ in range(2)]
    assert free == [200, 200]
    assert [(await client.get("/")).status_code for _ in range(2)] == [200, 429]


async def test_a_wait_is_that_of_the_limit_that_refuses_longest() -> None:
    app, _ = site(header_fields=None)

    @app.get("/")
    @rate_limit("1/minute; 1/hour")
    async def index() -> str:
        return "here"

    await ask(app)
    assert (await ask(app)).headers["Retry-After"] == str(HOUR)


async def test_a_handler_knows_the_limits_of_a_refusal_even_without_fields() -> None:
    app, limiter = site(header_fields=None)

    @app.get("/")
    @rate_limit(FixedWindow(1, 60, name="login"))
    async def index() -> str:
        return "here"

    @app.errorhandler(RateLimitExceeded)
    async def refused(error: RateLimitExceeded) -> Any:
        (told,) = error.limits
        assert limiter.current_limit is told
        return [told.limit.name, told.remaining, told.breached], 429

    await ask(app)
    assert await (await ask(app)).get_json() == ["login", 0, True]


async def test_the_decorators_limit_stands_among_the_others() -> None:
    app, limiter = site()

    @app.get("/")
    @limiter.limit("100/hour", name="hourly")
    @rate_limit("10/minute", scope="search")
    async def index() -> str:
        return str(limiter.current_limit and limiter.current_limit.limit)

    response = await ask(app)
    assert states(response) == {"hourly": 99, "search:10/minute": 9}
    assert await response.get_data(as_text=True) == "10 per 1 minute"


async def test_a_reservation_is_told_as_it_was_settled() -> None:
    app, limiter = site()

    @app.get("/<int:actual>")
    async def index(actual: int) -> str:
        async with limiter.reserve(FixedWindow(100, HOUR, name="tokens"), cost=60) as reservation:
            assert limiter.current_limit is not None
            assert limiter.current_limit.remaining == 40
            reservation.settle(actual)
        return "here"

    assert states(await ask(app, "/10")) == {"tokens": 90}
    refused = await ask(app, "/95", who="bob")
    assert states(refused) == {"tokens": 5}
    refused = await ask(app, "/1", who="bob")
    assert (refused.status_code, states(refused)) == (429, {"tokens": 5})
    assert refused.headers["Retry-After"] >= str(HOUR)


async def test_a_limit_that_is_asked_again_and_again_is_told_once() -> None:
    app, limiter = site()

    @app.get("/")
    async def index() -> str:
        for _ in range(20):
            async with limiter.reserve("100/hour", cost=2):
                pass
        return "here"

    assert states(await ask(app)) == {"reserve:100/hour": 60}


async def test_what_code_merely_asks_is_told_to_nobody() -> None:
    app, limiter = site()

    @app.get("/")
    async def index() -> str:
        return str(bool(await limiter.hit("1/hour")))

    responses = [await ask(app) for _ in range(2)]
    assert [await response.get_data(as_text=True) for response in responses] == ["True", "False"]
    assert "RateLimit" not in responses[-1].headers


async def test_two_keys_are_two_limits() -> None:
    app, limiter = site()

    @app.get("/")
    async def index() -> str:
        for key in ("ann", "team"):
            async with limiter.reserve("100/hour", key, cost=2):
                pass
        return "here"

    assert states(await ask(app)) == {"reserve:100/hour": 98, "reserve:100/hour#2": 98}


async def test_a_helper_that_is_called_again_is_told_once_as_it_stands() -> None:
    app, limiter = site()

    @limiter.limit("50/minute", name="mail")
    async def send() -> None:
        pass

    @app.get("/<int:mails>")
    async def index(mails: int) -> str:
        for number in range(mails):
            await send()
            async with limiter.limit("100/hour", scope=str(number)):
                pass
        return "here"

    assert states(await ask(app, "/1")) == {"mail": 49, "index:0:100/hour": 99}
    assert states(await ask(app, "/2"))["mail"] == 47
    assert len(states(await ask(app, "/30"))) == MOST_REPORTED


@pytest.mark.parametrize("refuses", [False, True])
async def test_no_loop_makes_fields_that_are_too_long(refuses: bool) -> None:
    app, limiter = site()

    @app.get("/")
    async def index() -> str:
        for number in range(1000):
            async with limiter.reserve(FixedWindow(2, HOUR, name=f"of {number}"), cost=1):
                pass
        async with limiter.reserve(FixedWindow(2, HOUR, name="last"), "all", cost=2):
            return "here"

    if refuses:
        await limiter.hit(FixedWindow(2, HOUR, name="last"), "all")
    response = await ask(app)
    told = states(response)
    assert len(response.headers["RateLimit"] + response.headers["RateLimit-Policy"]) < 2000
    assert (response.status_code, told.get("last")) == ((429, 1) if refuses else (200, None))
    assert told["of 0"] == 1


async def test_places_in_flight_are_told_and_are_not_the_one_limit_of_older_fields() -> None:
    app, limiter = site()

    @app.get("/")
    @limiter.limit("100/hour", name="hourly")
    @limiter.in_flight(2)
    async def index() -> str:
        return "here"

    response = await ask(app)
    assert states(response) == {"hourly": 99, "in_flight:2": 1}
    assert response.headers["X-RateLimit-Limit"] == "100"


async def test_a_refused_place_is_told_in_fields_and_as_a_problem() -> None:
    app, limiter = site(problem_details=True)
    entered: list[Any] = []

    @app.get("/")
    @limiter.in_flight(1)
    async def index() -> str:
        entered.append(await ask(app))
        return "here"

    assert (await ask(app)).status_code == 200
    (refused,) = entered
    assert (refused.status_code, states(refused)) == (429, {"in_flight:1": 0})
    problem = await refused.get_json(force=True)
    assert problem["violated-policies"] == ["in_flight:1"]


async def test_what_other_limits_reserved_is_given_back_when_the_decorator_refuses() -> None:
    app, limiter = site()

    @app.get("/")
    @limiter.limit("100/hour", name="failures", deduct_when=lambda _: True)
    @rate_limit("1/minute")
    async def index() -> str:
        return "here"

    for _ in range(3):
        response = await ask(app)
    assert states(response) == {"failures": 99, "rate_limit:1/minute": 0}


async def test_while_nothing_can_decide_no_limit_is_told() -> None:
    moody = Moody()
    moody.error = StoreError("away")
    app, _ = site(store=GuardedStore(moody, policy="closed", local=MemoryStore()))

    @app.get("/")
    @rate_limit("1/minute")
    async def index() -> str:
        return "here"

    response = await ask(app)
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) >= 1
    assert "RateLimit" not in response.headers


async def test_a_refused_handshake_has_the_fields() -> None:
    site = WebsocketSite(header_fields="draft-10")
    site.serve("/ws", rate_limit("1/minute"))
    await site.connect()
    refusal = await site.connect()
    assert (refusal.status_code, states(refusal)) == (429, {"rate_limit:1/minute": 0})


async def test_outside_a_request_nobody_is_told() -> None:
    app, limiter = site()
    async with app.app_context(), limiter.reserve("100/hour", "job", cost=2):
        assert limiter.current_limits == []
    with pytest.raises(RateLimitExceeded) as caught:
        async with app.app_context(), limiter.reserve("100/hour", "job", cost=99):
            pytest.fail("entered")
    assert [told.remaining for told in caught.value.limits] == [98]


async def test_a_limiter_that_is_switched_off_tells_nothing() -> None:
    app, limiter = site()
    app.config["RATELIMIT_ENABLED"] = False

    @app.get("/")
    async def index() -> str:
        async with limiter.reserve("1/minute", cost=1):
            return str(limiter.current_limits)

    assert await (await ask(app)).get_data(as_text=True) == "[]"


async def test_a_paused_limiter_tells_nothing() -> None:
    app, limiter = site()

    @app.get("/")
    @rate_limit("1/minute")
    @limiter.in_flight(1)
    async def index() -> str:
        async with limiter.reserve("1/minute", cost=1):
            return "here"

    with limiter.paused():
        responses = [await ask(app) for _ in range(3)]
    assert {response.status_code for response in responses} == {200}
    assert "RateLimit" not in responses[-1].headers
