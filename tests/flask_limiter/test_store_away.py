"""What happens while the store is away, by Flask-Limiter's switches and by our own."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from quart import Quart, abort, make_response

from quart_ratelimit import Decision, Hit, Limit, Limiter, RequestLimit, StoreError
from quart_ratelimit.stores import Breaker, GuardedStore, MemoryStore

from ..support.apps import Clock, ask, body, view


class Fragile:
    """Counts in memory, and fails with an error as long as it is told to."""

    def __init__(self, clock: Clock) -> None:
        self.memory = MemoryStore(now_ms=clock)
        self.error: Exception | None = None

    async def start(self) -> None:
        """Nothing to open."""

    async def aclose(self) -> None:
        """Nothing to close."""

    async def hit(self, hits: Sequence[Hit]) -> list[Decision]:
        if self.error is not None:
            raise self.error
        return await self.memory.hit(hits)

    async def reset(self, hits: Sequence[Hit]) -> int:
        return await self.memory.reset(hits)

    async def clear(self, owns: Callable[[str], bool] | None = None) -> int:
        return await self.memory.clear(owns)


@pytest.fixture
def store(clock: Clock) -> Fragile:
    return Fragile(clock)


@pytest.fixture
def build(store: Fragile, clock: Clock) -> Callable[..., tuple[Quart, Limiter]]:
    def make(policy: str | None = None, **keywords: Any) -> tuple[Quart, Limiter]:
        used: Any = store
        if policy is not None:
            breaker = Breaker(now_ms=clock)
            used = GuardedStore(
                store, policy=policy, local=MemoryStore(now_ms=clock), breaker=breaker
            )
        app = Quart(__name__)
        return app, Limiter(app=app, store=used, **keywords)

    return make


Build = Callable[..., tuple[Quart, Limiter]]


async def test_the_fallback_limits_replace_the_others_until_the_store_is_back(
    build: Build, store: Fragile
) -> None:
    app, limiter = build(default_limits=["5/minute"], in_memory_fallback=["1/minute"])
    view(app, "/")
    view(app, "/own", limiter.limit("3 per minute"))
    assert await ask(app, "/", 2) == [200, 200]
    store.error = StoreError("away")
    assert await ask(app, "/", 2) == [200, 429]
    assert await ask(app, "/own", 2) == [200, 429]
    store.error = None
    assert await ask(app, "/", 4) == [200, 200, 200, 429]
    assert await ask(app, "/own", 4) == [200, 200, 200, 429]


async def test_the_fallback_limits_count_once_a_request(build: Build, store: Fragile) -> None:
    app, limiter = build(
        default_limits=["9/minute"], application_limits=["9/minute"], in_memory_fallback="2/minute"
    )

    @limiter.limit("9/minute")
    async def helper() -> str:
        return "helped"

    @app.get("/")
    @limiter.limit("9/minute", override_defaults=False)
    async def index() -> str:
        return await helper() + await helper()

    store.error = StoreError("away")
    assert await ask(app, "/", 3) == [200, 200, 429]


async def test_a_fallback_asks_the_key_function_no_second_time(
    build: Build, store: Fragile
) -> None:
    asked = []

    async def who() -> str:
        asked.append("who")
        return "ann"

    app, limiter = build(key_func=who, in_memory_fallback=["1/minute"])
    view(app, "/own", limiter.limit("3 per minute"))
    assert await ask(app, "/own") == [200]
    store.error = StoreError("away")
    assert await ask(app, "/own", 2) == [200, 429]
    assert len(asked) == 3


async def test_a_fallback_may_be_a_limit_object(build: Build, store: Fragile) -> None:
    fallback = Limit("1/minute", deduct_when=lambda response: response.status_code == 400)
    app, _ = build(default_limits=["5/minute"], in_memory_fallback=[fallback])

    @app.get("/<path>")
    async def index(path: str) -> str:
        return path if path == "good" else abort(400)

    store.error = StoreError("away")
    assert await ask(app, "/good", 2) == [200, 200]
    assert await ask(app, "/bad", 2) == [400, 429]


async def test_the_same_limits_may_be_counted_in_memory_meanwhile(
    build: Build, store: Fragile, clock: Clock
) -> None:
    app, limiter = build("local", default_limits=["2/minute"], headers_enabled=True)
    view(app, "/")
    view(app, "/own", limiter.limit("1 per minute"))
    store.error = StoreError("away")
    assert await ask(app, "/", 3) == [200, 200, 429]
    assert await ask(app, "/own", 2) == [200, 429]
    store.error = None
    clock.forward(1)
    assert await ask(app, "/", 3) == [200, 200, 429]
    assert await ask(app, "/own", 2) == [200, 429]


async def test_what_was_reserved_meanwhile_is_given_back_where_it_was_charged() -> None:
    app = Quart(__name__)
    limiter = Limiter(app=app, storage_uri="redis://127.0.0.1:1/0")  # nobody listens there
    view(app, "/", limiter.limit("1/minute", deduct_when=lambda response: False))
    assert await ask(app, "/", 3) == [200, 200, 200]


async def test_closed_answers_503(build: Build, store: Fragile) -> None:
    heard: list[RequestLimit] = []
    app, limiter = build("closed", default_limits=["5/minute"], on_breach=heard.append)
    view(app, "/")
    view(app, "/free", limiter.exempt)
    store.error = StoreError("away")
    answer = await app.test_client().get("/")
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1
    assert await ask(app, "/free", 1) == [200]
    assert not heard  # no limit was breached


async def test_raise_leaves_the_answer_to_the_app(build: Build, store: Fragile) -> None:
    app, _ = build("raise", default_limits=["5/minute"])
    view(app, "/")
    store.error = StoreError("away")

    @app.errorhandler(StoreError)
    async def away(error: StoreError) -> Any:
        return await make_response(str(error), 502)

    assert await ask(app, "/", 7) == [502] * 7  # also when the store is no longer asked


@pytest.mark.parametrize("error", [StoreError("away"), RuntimeError("underlying")])
@pytest.mark.parametrize("deduct_when", [None, lambda response: True])
async def test_swallowed_errors_are_logged_and_the_request_passes(
    build: Build,
    store: Fragile,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    deduct_when: Any,
) -> None:
    app, _ = build(
        default_limits=["1 per day"], default_limits_deduct_when=deduct_when,
        headers_enabled=True, swallow_errors=True,
    )  # fmt: skip
    view(app, "/")
    store.error = error
    assert await ask(app, "/", 2) == [200, 200]
    assert "Failed to rate limit. Swallowing error" in caplog.text


@pytest.mark.parametrize("deduct_when", [None, lambda response: True])
async def test_errors_are_the_apps_unless_they_are_swallowed(
    build: Build, store: Fragile, deduct_when: Any
) -> None:
    app, _ = build(default_limits=["1 per day"], default_limits_deduct_when=deduct_when)
    view(app, "/")
    store.error = RuntimeError("underlying")

    @app.errorhandler(500)
    async def broken(error: Any) -> Any:
        return await make_response(str(error.original_exception), 500)

    assert await body(app, "/") == "underlying"
    assert await ask(app, "/", 1) == [500]


async def test_a_callbacks_error_is_swallowed_too(
    build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    app, limiter = build(swallow_errors=True)
    view(app, "/", limiter.limit("1/second", on_breach=lambda limit: 1 / 0))
    assert await ask(app, "/", 2) == [200, 429]
    record = caplog.records[-1]
    assert record.getMessage() == "on_breach callback failed with error division by zero"
    assert record.levelname == "ERROR"


async def test_a_decision_on_the_response_that_fails_is_swallowed_and_charged(
    build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    app, limiter = build(swallow_errors=True)
    view(app, "/", limiter.limit("1/minute", deduct_when=lambda response: 1 / 0))
    assert await ask(app, "/", 2) == [200, 429]
    assert "Failed to deduct rate limit" in caplog.text


async def test_a_reserved_charge_that_cannot_be_given_back_fails_no_response(
    build: Build, store: Fragile, caplog: pytest.LogCaptureFixture
) -> None:
    app, limiter = build()

    @app.get("/")
    @limiter.limit("5/minute", deduct_when=lambda response: False)
    async def index() -> str:
        store.error = StoreError("away")
        return "here"

    assert await ask(app, "/", 1) == [200]
    assert "could not be given back" in caplog.text


async def test_an_error_of_the_users_function_is_never_a_dead_store(
    build: Build, store: Fragile
) -> None:
    app, limiter = build(default_limits=["5/minute"], in_memory_fallback=["1/minute"])
    view(app, "/broken", limiter.limit("5/minute", key_func=lambda: 1 / 0))
    view(app, "/")
    assert await ask(app, "/broken", 2) == [500, 500]
    assert await ask(app, "/", 2) == [200, 200]


async def test_an_abort_in_a_users_function_is_the_answer(build: Build) -> None:
    app, limiter = build(swallow_errors=True)
    view(app, "/", limiter.limit("5/minute", key_func=lambda: abort(401)))
    assert await ask(app, "/", 1) == [401]


async def test_reset_forgets_all_counts(build: Build, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    app, limiter = build(default_limits=["1 per day"])
    view(app, "/")
    assert await ask(app, "/", 2) == [200, 429]
    await limiter.reset()
    assert await ask(app, "/", 2) == [200, 429]
    assert "all limits cleared" in caplog.text


async def test_single_limits_may_be_asked_by_key(build: Build, store: Fragile) -> None:
    app, limiter = build()

    @app.get("/")
    @limiter.limit("2/minute")
    async def index() -> Any:
        told = limiter.current_limit
        assert told is not None
        item, args = told.limit, told.request_args
        stats = await told.limiter.get_window_stats(item, *args)
        assert stats == told.window._replace(reset_time=stats.reset_time)
        assert abs(stats.reset_time - told.window.reset_time) < 1
        assert await limiter.limiter.test(item, *args)
        assert not await limiter.limiter.test(item, *args, cost=2)
        assert await limiter.limiter.hit(item, *args)
        assert not await limiter.limiter.hit(item, *args)
        assert await limiter.limiter.clear(item, *args)
        assert not await limiter.limiter.clear(item, *args)
        return "here"

    assert await ask(app, "/", 1) == [200]
    assert await limiter.storage.check()
    await limiter.storage.reset()
    store.error = StoreError("away")
    assert not await limiter.storage.check()


async def test_a_store_in_whose_place_a_policy_answers_does_not_pass_the_check(
    build: Build, store: Fragile
) -> None:
    _, limiter = build("local")
    assert await limiter.storage.check()
    store.error = StoreError("away")
    assert not await limiter.storage.check()


async def test_who_was_refused_is_not_admitted_as_the_breach_cannot_be_counted(
    build: Callable[..., tuple[Quart, Limiter]], store: Fragile, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(told: RequestLimit) -> None:
        store.error = StoreError("away")

    app, _ = build(
        default_limits=["1/minute"],
        meta_limits=["7/hour"],
        in_memory_fallback=["9/minute"],
        on_breach=fail,
    )
    view(app, "/")
    assert await ask(app, "/", 2) == [200, 429]
    assert "a breach could not be counted in its meta limits: away" in caplog.text
    assert await ask(app, "/", 1) == [200]  # the fallback's
