"""``@rate_limit`` and ``limiter.hit`` in a Quart app that counts in memory."""

import asyncio

import pytest
from quart import Quart, jsonify
from quart.typing import ResponseReturnValue

from quart_ratelimit import (
    ConfigurationError,
    FixedWindow,
    InvalidLimit,
    Limiter,
    RateLimitExceeded,
    rate_limit,
)
from quart_ratelimit.stores import MemoryStore

from ..support.quart_client import app_raises

ANN, BOB = "203.0.113.1", "203.0.113.2"


class Clock:
    """Milliseconds that a test turns."""

    def __init__(self) -> None:
        self.now = 1_800_000_000_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def app(clock: Clock) -> Quart:
    app = Quart(__name__)
    Limiter(app=app, store=MemoryStore(now_ms=clock))
    return app


async def statuses(app: Quart, path: str, times: int, client: str = ANN) -> list[int]:
    asking = app.test_client()
    scope = {"client": (client, 1)}
    return [(await asking.get(path, scope_base=scope)).status_code for _ in range(times)]


async def test_an_async_view_is_limited_until_the_next_window(app: Quart, clock: Clock) -> None:
    @app.get("/")
    @rate_limit("2/minute")
    async def index() -> str:
        return "here"

    assert await statuses(app, "/", 3) == [200, 200, 429]
    assert await statuses(app, "/", 1, client=BOB) == [200]
    clock.now = (clock.now // 60_000 + 1) * 60_000 - 1
    assert await statuses(app, "/", 1) == [429]
    clock.now += 1
    assert await statuses(app, "/", 3) == [200, 200, 429]


async def test_a_sync_view_is_limited(app: Quart) -> None:
    @app.get("/<name>")
    @rate_limit(requests=1, duration=60)
    def index(name: str) -> str:
        return name

    assert await statuses(app, "/ann", 2) == [200, 429]


async def test_concurrent_requests_get_exactly_the_amount(app: Quart) -> None:
    @app.get("/")
    @rate_limit("10/minute")
    async def index() -> str:
        await asyncio.sleep(0)
        return "here"

    outcomes = await asyncio.gather(*[statuses(app, "/", 1) for _ in range(100)])
    assert outcomes.count([200]) == 10


async def test_views_without_a_scope_share_a_clients_counter_and_those_with_one_do_not(
    app: Quart,
) -> None:
    for name, scope in (("a", None), ("b", None), ("c", "own"), ("d", "own")):

        @app.get(f"/{name}", endpoint=name)
        @rate_limit("1/minute", scope=scope)
        async def view() -> str:
            return "here"

    assert [await statuses(app, f"/{name}", 1) for name in "abcd"] == [[200], [429], [200], [429]]


async def test_the_key_may_be_anything_that_the_request_says(app: Quart) -> None:
    async def everybody() -> str:
        return "everybody"

    @app.get("/")
    @rate_limit("1/minute", key=everybody)
    async def index() -> str:
        return "here"

    assert await statuses(app, "/", 1, client=ANN) == [200]
    assert await statuses(app, "/", 1, client=BOB) == [429]


async def test_the_app_may_answer_a_refusal_itself(app: Quart) -> None:
    @app.get("/")
    @rate_limit("1/minute", message="slow down")
    async def index() -> str:
        return "here"

    @app.errorhandler(RateLimitExceeded)
    async def refused(error: RateLimitExceeded) -> ResponseReturnValue:
        return jsonify(limit=str(error.limit.limit), wait=error.retry_after), 429

    client = app.test_client()
    await client.get("/")
    answer = await (await client.get("/")).get_json()
    assert answer["limit"] == "1 per 1 minute"
    assert 1 <= answer["wait"] <= 60


async def test_a_refusal_bears_the_message_it_was_given(app: Quart) -> None:
    @app.get("/")
    @rate_limit("1/minute", message="slow down")
    async def index() -> str:
        return "here"

    client = app.test_client()
    await client.get("/")
    refused = await client.get("/")
    assert await refused.get_json() == {"message": "slow down"}
    assert refused.headers.getlist("Content-Type") == ["application/json"]


async def test_code_that_asks_by_itself_gets_a_decision(app: Quart, clock: Clock) -> None:
    limiter: Limiter = app.extensions["quart_ratelimit"]
    assert await limiter.hit("2/minute", "job")
    decision = await limiter.hit("2/minute", "job")
    assert (bool(decision), decision.remaining) == (True, 0)
    refused = await limiter.hit(requests=2, duration=60, key="job")
    assert not refused
    clock.now += refused.retry_ms or 0
    assert await limiter.hit(FixedWindow(2, 60), "job")


async def test_of_several_limits_all_or_none_are_charged(app: Quart) -> None:
    limiter: Limiter = app.extensions["quart_ratelimit"]
    assert await limiter.hit("1/minute; 3/hour", "job")
    assert not await limiter.hit("1/minute; 3/hour", "job")
    assert (await limiter.hit("3/hour", "job")).remaining == 1


async def test_in_a_request_hit_counts_its_client(app: Quart) -> None:
    limiter: Limiter = app.extensions["quart_ratelimit"]

    @app.get("/")
    async def index() -> ResponseReturnValue:
        return ("yes", 200) if await limiter.hit("1/minute") else ("no", 403)

    assert await statuses(app, "/", 2) == [200, 403]
    assert await statuses(app, "/", 1, client=BOB) == [200]


async def test_outside_a_request_hit_must_be_told_whom_to_count(app: Quart) -> None:
    limiter: Limiter = app.extensions["quart_ratelimit"]
    with pytest.raises(ConfigurationError, match="a key is required"):
        await limiter.hit("1/minute")


async def test_a_decorated_view_without_a_limiter_is_an_error_and_no_free_pass() -> None:
    app = Quart(__name__)

    @app.get("/")
    @rate_limit("1/minute")
    async def index() -> str:
        return "here"

    app.config["PROPAGATE_EXCEPTIONS"] = True
    with app_raises(ConfigurationError, match=r"index is rate limited.*Limiter\(app=app\)"):
        await app.test_client().get("/")


async def test_a_limiter_bound_to_no_app_says_so() -> None:
    with pytest.raises(ConfigurationError, match="init_app"):
        await Limiter().hit("1/minute", "ann")


async def test_a_disabled_limiter_allows_everything() -> None:
    app = Quart(__name__)
    app.config["RATELIMIT_ENABLED"] = False
    Limiter(app=app)

    @app.get("/")
    @rate_limit("1/minute")
    async def index() -> str:
        return "here"

    assert await statuses(app, "/", 3) == [200, 200, 200]


@pytest.mark.parametrize("text", ["10/fortnight", "0/minute", "-1/s", ""])
def test_a_decorator_refuses_a_bad_limit_at_once(text: str) -> None:
    with pytest.raises(InvalidLimit) as caught:
        rate_limit(text)
    assert repr(text) in str(caught.value)
    assert "10/minute" in str(caught.value)


@pytest.mark.parametrize(
    ("numbers", "named"),
    [
        ({"requests": 0, "duration": 60}, "requests=0"),
        ({"requests": 10, "duration": 0}, "duration=0"),
        ({"requests": 10}, "duration=None"),
        ({"requests": "10", "duration": 60}, "requests='10'"),
        ({"requests": True, "duration": 60}, "requests=True"),
        ({}, "no limit is given"),
    ],
)
def test_a_decorator_refuses_bad_numbers_at_once(numbers: dict[str, int], named: str) -> None:
    with pytest.raises(InvalidLimit) as caught:
        rate_limit(**numbers)
    assert named in str(caught.value)
    assert "requests=10, duration=60" in str(caught.value)


def test_a_limit_and_numbers_together_are_refused() -> None:
    with pytest.raises(InvalidLimit, match="not both"):
        rate_limit("10/minute", requests=10, duration=60)


def test_an_unknown_strategy_is_named_when_the_app_is_built() -> None:
    app = Quart(__name__)
    with pytest.raises(ConfigurationError, match="'fubar' is not a strategy"):
        Limiter(app=app, strategy="fubar")


def test_an_unknown_store_is_named_when_the_app_is_built() -> None:
    app = Quart(__name__)
    app.config["RATELIMIT_STORAGE_URI"] = "fubar://localhost"
    with pytest.raises(ConfigurationError, match="'fubar://localhost' is not a store"):
        Limiter(app=app)
