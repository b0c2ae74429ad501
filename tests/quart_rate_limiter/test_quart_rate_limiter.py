"""quart-rate-limiter's names: its decorators and classes, on this package's stores."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from quart import Blueprint, Quart, request, websocket
from quart.testing.connections import WebsocketResponseError
from quart.views import MethodView

from quart_ratelimit import ConfigurationError, InvalidLimit, StoreError
from quart_ratelimit.quart_rate_limiter import (
    RateLimit,
    RateLimiter,
    RateLimitExceeded,
    limit_blueprint,
    rate_exempt,
    rate_limit,
    remote_addr_key,
)
from quart_ratelimit.stores import MemoryStore, RedisStore

MINUTE = timedelta(minutes=1)


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
def app() -> Quart:
    return Quart(__name__)


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(now_ms=clock)


async def get(app: Quart, path: str = "/", who: str = "10.0.0.1", **headers: str) -> Any:
    return await app.test_client().get(path, scope_base={"client": (who, 1)}, headers=headers)


async def statuses(app: Quart, times: int, path: str = "/", **options: str) -> list[int]:
    return [(await get(app, path, **options)).status_code for _ in range(times)]


async def test_all_limits_of_a_view_hold_and_the_shortest_is_told(
    app: Quart, store: MemoryStore, clock: Clock
) -> None:
    RateLimiter(app, store=store)

    @app.get("/")
    @rate_limit(1, timedelta(seconds=2))
    @rate_limit(10, timedelta(seconds=20))
    async def index() -> str:
        return ""

    answer = await get(app)
    assert answer.status_code == 200
    assert answer.headers["RateLimit-Limit"] == "1"
    assert answer.headers["RateLimit-Remaining"] == "0"
    assert answer.headers["RateLimit-Reset"] == "2"
    refused = await get(app)
    assert refused.status_code == 429
    assert refused.headers["Retry-After"] == "2"
    assert await statuses(app, 1, who="10.0.0.2") == [200]
    clock.now += 2000
    assert await statuses(app, 2) == [200, 429]


async def test_units_come_back_one_by_one(app: Quart, store: MemoryStore, clock: Clock) -> None:
    RateLimiter(app, store=store, default_limits=[RateLimit(10, MINUTE)])

    @app.get("/")
    async def index() -> str:
        return ""

    assert await statuses(app, 11) == [200] * 10 + [429]
    clock.now += 6000
    assert await statuses(app, 2) == [200, 429]


async def test_a_refused_request_charges_no_limit(
    app: Quart, store: MemoryStore, clock: Clock
) -> None:
    RateLimiter(app, store=store)

    @app.get("/")
    @rate_limit(limits=[RateLimit(1, MINUTE), RateLimit(2, timedelta(hours=1))])
    async def index() -> str:
        return ""

    assert await statuses(app, 9) == [200] + [429] * 8
    clock.now += 60_000
    assert await statuses(app, 1) == [200]


async def test_concurrent_requests_get_exactly_the_count(app: Quart, redis_url: str) -> None:
    RateLimiter(app, store=RedisStore(redis_url))

    @app.get("/")
    @rate_limit(5, MINUTE)
    async def index() -> str:
        return ""

    async with app.test_app():
        answers = await asyncio.gather(*[statuses(app, 1) for _ in range(80)])
    assert answers.count([200]) == 5


async def test_defaults_exemptions_and_blueprints(app: Quart, store: MemoryStore) -> None:
    blueprint = Blueprint("blue", __name__, url_prefix="/blue")
    RateLimiter(app, store=store, default_limits=[RateLimit(2, MINUTE)])

    @app.get("/exempt")
    @rate_exempt
    @rate_limit(1, MINUTE)
    async def exempt() -> str:
        return ""

    @app.get("/")
    async def index() -> str:
        return ""

    @blueprint.get("/")
    async def blue() -> str:
        return ""

    app.register_blueprint(limit_blueprint(blueprint, 1, MINUTE))
    assert await statuses(app, 3, "/exempt") == [200, 200, 200]
    assert "RateLimit-Limit" not in (await get(app, "/exempt")).headers
    assert await statuses(app, 3) == [200, 200, 429]
    assert await statuses(app, 2, "/blue/") == [200, 429]
    assert "RateLimit-Limit" not in (await get(app, "/nowhere")).headers


@pytest.mark.parametrize("later", [False, True])
async def test_key_and_skip_functions_may_be_sync_or_async(
    app: Quart, store: MemoryStore, later: bool
) -> None:
    def key() -> str:
        return request.headers.get("User", "guest")

    def skip() -> bool:
        return request.headers.get("Skip") == "yes"

    async def late_key() -> str:
        return key()

    async def late_skip() -> bool:
        return skip()

    functions: Any = (late_key, late_skip) if later else (key, skip)
    RateLimiter(app, store=store, skip_function=functions[1])

    @app.get("/")
    @rate_limit(1, MINUTE, functions[0])
    async def index() -> str:
        return ""

    assert await statuses(app, 2, User="ann") == [200, 429]
    assert await statuses(app, 1, User="bob") == [200]
    assert await statuses(app, 2, User="ann", Skip="yes") == [200, 200]


async def test_no_header_chooses_the_client(app: Quart, store: MemoryStore) -> None:
    RateLimiter(app, store=store, key_function=remote_addr_key)

    @app.get("/")
    @rate_limit(1, MINUTE)
    async def index() -> str:
        return ""

    assert (await get(app, **{"X-Forwarded-For": "1.1.1.1"})).status_code == 200
    assert (await get(app, **{"X-Forwarded-For": "2.2.2.2"})).status_code == 429
    assert (await get(app, **{"X-Forwarded-For": ""})).status_code == 429


@pytest.mark.parametrize("by_config", [False, True])
async def test_it_may_be_switched_off(app: Quart, store: MemoryStore, by_config: bool) -> None:
    limiter = RateLimiter(store=store, default_limits=[RateLimit(1, MINUTE)])
    if by_config:
        app.config["QUART_RATE_LIMITER_ENABLED"] = False
    limiter.init_app(app, enabled=by_config)

    @app.get("/")
    async def index() -> str:
        return ""

    assert await statuses(app, 2) == [200, 200]


async def test_a_handler_is_told_how_long_to_wait(app: Quart, store: MemoryStore) -> None:
    RateLimiter(app, store=store, default_limits=[RateLimit(1, MINUTE)])

    @app.get("/")
    async def index() -> str:
        return ""

    @app.errorhandler(RateLimitExceeded)
    async def refused(error: RateLimitExceeded) -> Any:
        return {"wait": error.retry_after}, 429

    await get(app)
    assert await (await get(app)).get_json() == {"wait": 60}


@pytest.mark.parametrize(("policy", "answers"), [("local", [200, 429]), ("closed", [503, 503])])
async def test_without_redis_the_policy_answers(
    app: Quart, policy: str, answers: list[int]
) -> None:
    RateLimiter(app, store=RedisStore("redis://127.0.0.1:1/0"), on_store_error=policy)

    @app.get("/")
    @rate_limit(1, MINUTE)
    async def index() -> str:
        return ""

    assert await statuses(app, 2) == answers
    with pytest.raises(StoreError):
        await RedisStore("redis://127.0.0.1:1/0").start()


@pytest.mark.parametrize(
    ("period", "spec"),
    [(MINUTE, (10, 60)), (timedelta(milliseconds=500), (20, 1)), (timedelta(seconds=1.5), (20, 3))],
)
def test_any_period_is_the_same_rate_with_the_count_as_its_burst(
    period: timedelta, spec: tuple[int, int]
) -> None:
    limit = RateLimit(10, period)
    assert (limit.quota.amount, limit.quota.period, limit.quota.capacity) == (*spec, 10)
    assert limit.quota.period / limit.quota.amount == limit.inverse
    assert limit.key == f"10-{period.total_seconds()}"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((), "no rate limit is given"),
        ((10,), "a limit needs its period"),
        ((0, MINUTE), "amount=0 is not a positive whole number"),
        ((10, timedelta(0)), "period=0 is not a positive whole number"),
    ],
)
def test_a_limit_that_can_never_be_kept_is_an_error_at_once(
    arguments: tuple[Any, ...], error: str
) -> None:
    with pytest.raises(ValueError, match=error):
        rate_limit(*arguments)
    with pytest.raises(ValueError, match=error):
        limit_blueprint(Blueprint("blue", __name__), *arguments)
    assert issubclass(InvalidLimit, ValueError)


def test_a_limit_and_limits_together_are_refused() -> None:
    with pytest.raises(ValueError, match="either a limit and its period, or limits"):
        rate_limit(10, MINUTE, limits=[RateLimit(1, MINUTE)])


@pytest.mark.parametrize("own", [None, {}, {"Retry-After": "7", "Cache-Control": "private"}])
async def test_a_refusal_says_when_to_come_back_and_is_not_stored(
    app: Quart, store: MemoryStore, own: dict[str, str] | None
) -> None:
    RateLimiter(app, store=store)

    @app.get("/")
    @rate_limit(1, MINUTE)
    async def index() -> str:
        return "ok"

    if own is not None:

        @app.errorhandler(429)
        async def slow(error: Exception) -> Any:
            return "slow", 429, own

    first, second = await get(app), await get(app)
    assert (first.status_code, second.status_code) == (200, 429)
    assert "Cache-Control" not in first.headers
    expected = own or {"Retry-After": "60", "Cache-Control": "no-store"}
    assert {name: second.headers[name] for name in expected} == expected


async def test_the_body_of_a_refused_request_is_drained(app: Quart, store: MemoryStore) -> None:
    RateLimiter(app, store=store, default_limits=[RateLimit(1, MINUTE)])

    @app.post("/")
    async def index() -> str:
        return "ok"

    pieces = [{"type": "http.request", "body": b"x" * 10, "more_body": n < 399} for n in range(400)]
    sent: list[Any] = []
    answered = asyncio.Event()

    async def receive() -> Any:
        await asyncio.sleep(0)  # the app may answer between two pieces
        if pieces:
            return pieces.pop(0)
        await answered.wait()
        return {"type": "http.disconnect"}  # Quart 0.23 waits for it, and servers do so

    async def send(message: Any) -> None:
        sent.append((message.get("status"), len(pieces)))
        if message["type"] == "http.response.body" and not message.get("more_body"):
            answered.set()

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
        "scheme": "http", "path": "/", "raw_path": b"/", "query_string": b"", "root_path": "",
        "headers": [(b"content-length", b"4000"), (b"host", b"localhost")],
        "client": ("10.0.0.1", 1), "server": ("localhost", 80), "extensions": {},
    }  # fmt: skip
    await app.test_client().post("/", scope_base={"client": ("10.0.0.1", 1)})
    await app(scope, receive, send)  # type: ignore[arg-type]
    assert sent[0] == (429, 0)


async def test_a_limit_on_a_method_of_a_class_applies_to_that_method(
    app: Quart, store: MemoryStore
) -> None:
    RateLimiter(app, store=store)

    class Items(MethodView):
        @rate_limit(1, MINUTE)
        async def get(self) -> str:
            return "apple"

        @rate_limit(1, MINUTE)
        async def post(self) -> str:
            return "made"

        async def put(self) -> str:
            return "changed"

        @rate_exempt
        async def delete(self) -> str:
            return "deleted"

    app.add_url_rule("/", view_func=Items.as_view("items"))
    client = app.test_client()
    told = [
        [(await client.open("/", method=method)).status_code for _ in range(2)]
        for method in ("GET", "POST", "PUT", "DELETE")
    ]
    assert told == [[200, 429], [200, 429], [200, 200], [200, 200]]
    assert (await client.head("/")).status_code == 429


async def test_a_method_of_a_class_may_be_exempt(app: Quart, store: MemoryStore) -> None:
    RateLimiter(app, store=store, default_limits=[RateLimit(1, MINUTE)])

    class Items(MethodView):
        @rate_exempt
        async def get(self) -> str:
            return "apple"

        async def post(self) -> str:
            return "made"

    app.add_url_rule("/", view_func=Items.as_view("items"))
    assert await statuses(app, 3) == [200, 200, 200]
    client = app.test_client()
    assert [(await client.post("/")).status_code for _ in range(2)] == [200, 429]


async def test_a_blueprints_limit_binds_the_blueprints_in_it(
    app: Quart, store: MemoryStore
) -> None:
    RateLimiter(app, store=store)
    outer = limit_blueprint(Blueprint("outer", __name__, url_prefix="/o"), 1, MINUTE)
    inner = Blueprint("inner", __name__, url_prefix="/i")

    @inner.get("/")
    async def index() -> str:
        return ""

    outer.register_blueprint(inner)
    app.register_blueprint(outer)
    assert await statuses(app, 2, "/o/i/") == [200, 429]


#: Each was accepted, and limited nothing or failed at a request.
MISTAKES: dict[str, Any] = {
    "a limit on an app": lambda: rate_limit(1, MINUTE)(Quart("shop")),
    "a limit on a blueprint": lambda: rate_limit(1, MINUTE)(Blueprint("shop", "shop")),
    "a limit on a class": lambda: rate_limit(1, MINUTE)(MethodView),
    "a limit on nothing": lambda: rate_limit(1, MINUTE)(None),
    "an exempt blueprint": lambda: rate_exempt(Blueprint("shop", "shop")),
    "an app for a blueprint": lambda: limit_blueprint(Quart("shop"), 1, MINUTE),  # type: ignore[type-var]
    "a key that is a text": lambda: RateLimiter(key_function="ann"),  # type: ignore[arg-type]
    "a key of two": lambda: rate_limit(1, MINUTE, key_function=lambda _, __: "ann"),
    "a switch for a function": lambda: rate_limit(1, MINUTE, skip_function=True),  # type: ignore[arg-type]
    "a default that is a text": lambda: RateLimiter(default_limits=["1/minute"]),  # type: ignore[list-item]
    "a limit that is a text": lambda: rate_limit(limits=["1/minute"]),  # type: ignore[list-item]
    "a switch that is a text": lambda: RateLimiter(Quart("shop"), enabled="false"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_where_it_stands(name: str) -> None:
    with pytest.raises(ConfigurationError):
        MISTAKES[name]()


@pytest.mark.parametrize("declared", ["view", "default", "blueprint"])
async def test_a_limit_applies_to_handshakes_of_websockets(
    app: Quart, store: MemoryStore, declared: str
) -> None:
    limit = RateLimit(1, MINUTE)
    RateLimiter(app, store=store, default_limits=[limit] if declared == "default" else None)
    shop = Blueprint("shop", __name__)
    if declared == "blueprint":
        limit_blueprint(shop, 1, MINUTE)

    @shop.websocket("/")
    @(rate_limit(1, MINUTE) if declared == "view" else lambda view: view)
    async def talk() -> None:
        await websocket.send("hello")

    app.register_blueprint(shop)
    client = app.test_client()
    async with client.websocket("/") as first:
        assert await first.receive() == "hello"
    with pytest.raises(WebsocketResponseError) as refused:
        async with client.websocket("/") as second:
            await second.receive()
    response = refused.value.response
    assert (response.status_code, response.headers["Retry-After"]) == (429, "60")
    assert response.headers["RateLimit-Remaining"] == "0"
