"""A request is freed as it ends: a flood of refused ones is no work for the garbage collector."""

import gc
from collections.abc import Callable

import pytest
from quart import Quart

from quart_ratelimit import Limiter, rate_limit
from quart_ratelimit.errors import StoreError
from quart_ratelimit.quotas import Decision, FixedWindow, Hit
from quart_ratelimit.stores import GuardedStore, MemoryStore
from quart_ratelimit.stores.knowledge import TOGETHER, Knowledge

from ..support.asgi import ask

REQUESTS = 50
QUOTA = FixedWindow(10, 60)


class Away(MemoryStore):
    """A store that never decides."""

    async def hit(self, *_: object) -> list[Decision]:
        raise StoreError("away")


def refusing(_: Quart, limiter: Limiter) -> Callable[..., object]:
    return limiter.limit("1/hour")


def telling(app: Quart, limiter: Limiter) -> Callable[..., object]:
    @app.errorhandler(429)
    async def tell(_: Exception) -> tuple[str, int]:
        return "slow down", 429

    return limiter.limit("1/hour")


def by_the_snippet(_: Quart, limiter: Limiter) -> Callable[..., object]:
    del limiter
    return rate_limit("1/hour")


async def garbage_of(app: Quart, status: int) -> float:
    """Objects of one request that only the garbage collector could free."""
    await ask(app)
    await ask(app)
    gc.collect()
    gc.disable()
    try:
        for _ in range(REQUESTS):
            assert (await ask(app)).status == status
        return gc.collect() / REQUESTS
    finally:
        gc.enable()


async def of_an_unlimited_request() -> float:
    app = Quart("unlimited")

    @app.get("/")
    async def index() -> str:
        return ""

    return await garbage_of(app, 200)


@pytest.mark.parametrize("limit", [refusing, telling, by_the_snippet])
async def test_a_refused_request_leaves_no_more_garbage_than_an_unlimited_one(
    limit: Callable[..., Callable[..., object]],
) -> None:
    app = Quart("limited")
    limiter = Limiter(app=app, storage_uri="memory://", doctor=False)

    async def index() -> str:
        return ""

    app.add_url_rule("/", "index", limit(app, limiter)(index))  # type: ignore[arg-type]
    assert await garbage_of(app, 429) < await of_an_unlimited_request() + 1


async def test_nor_does_one_that_nothing_could_decide() -> None:
    app = Quart("away")
    limiter = Limiter(app=app, store=GuardedStore(Away(), policy="closed"), doctor=False)
    app.add_url_rule("/", "index", limiter.limit("1/hour")(lambda: ""))
    assert await garbage_of(app, 503) < await of_an_unlimited_request() + 1


async def test_what_redis_last_said_is_no_work_for_the_collector() -> None:
    known = Knowledge(MemoryStore())
    for number in range(16 * TOGETHER):
        known.learn([Hit(QUOTA, f"client-{number}")], [Decision(True, 9, 60_000, 0)], 0)
        known.learn([Hit(QUOTA, "a"), Hit(QUOTA, "b")], [Decision(True, 9, 60_000, 0)] * 2, 0)
    notes = vars(vars(known)["_words"])["_young"]
    assert len(notes) == 16 * TOGETHER + 2
    assert not any(map(gc.is_tracked, [*notes, *notes.values()]))


async def test_what_a_memory_store_keeps_of_windows_is_no_work_for_the_collector() -> None:
    store = MemoryStore()
    for number in range(1000):
        await store.hit([Hit(QUOTA, f"client-{number}")])
    shards = [shard for table in vars(store)["_tables"].values() for shard in table.shards]
    kept = [state for shard in shards for state in shard.values()]
    assert len(kept) == 1000
    assert not any(map(gc.is_tracked, kept))
