"""Limits that code checks itself, while ``in_memory_fallback`` replaces the rules."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from quart import Quart, websocket

from quart_ratelimit import FixedWindow, Limiter, RateLimitExceeded, StoreError, rate_limit
from quart_ratelimit.stores import GuardedStore

from ..support.stores import Moody, Outside

AWAY = "redis://127.0.0.1:1"


def dead_redis() -> dict[str, Any]:
    return {"storage_uri": AWAY}


def guarded() -> dict[str, Any]:
    store = Moody()
    store.error = StoreError("away")
    return {"store": GuardedStore(store, policy="raise")}


def unguarded() -> dict[str, Any]:
    store = Moody()
    store.error = StoreError("away")
    return {"store": Outside(store)}


@pytest.fixture(params=[dead_redis, guarded, unguarded])
async def app(request: pytest.FixtureRequest) -> AsyncIterator[Quart]:
    """An app whose rules are replaced by one of 1000 requests per minute."""
    app = Quart(__name__)
    Limiter(
        app=app,
        key_func=lambda: "ann",
        in_memory_fallback=["1000/minute"],
        **request.param(),
    )
    async with app.app_context():
        yield app


@pytest.fixture
def limiter(app: Quart) -> Limiter:
    found: Limiter = app.extensions["quart_ratelimit"]
    return found


async def test_a_hit_and_a_peek_count_in_this_worker(limiter: Limiter) -> None:
    told = [await limiter.hit("2/hour", "ann") for _ in range(3)]
    assert [one.allowed for one in told] == [True, True, False]
    look = await limiter.peek("2/hour", "ann")
    assert (look.allowed, {one.by for one in [*told, look]}) == (False, {"local"})


async def test_flask_limiters_strategy_counts_in_this_worker(limiter: Limiter) -> None:
    quota = FixedWindow(2, 3600)
    assert [await limiter.limiter.hit(quota, "ann") for _ in range(3)] == [True, True, False]


async def test_a_refund_and_a_reservation_give_back_what_this_worker_counted(
    limiter: Limiter,
) -> None:
    charged = await limiter.hit("5/hour", "ann")
    assert (await limiter.refund("5/hour", "ann", charged=charged)).remaining == 5
    async with limiter.reserve("9/hour", "ann", cost=6) as reservation:
        with pytest.raises(RateLimitExceeded):
            async with limiter.reserve("9/hour", "ann", cost=6):
                pass
        reservation.settle(2)
    assert (await limiter.peek("9/hour", "ann")).remaining == 7


async def test_a_wait_is_refused_in_time(limiter: Limiter) -> None:
    assert await limiter.wait("1/hour", "ann", seconds=1)
    assert not await limiter.wait("1/hour", "ann", seconds=1)


async def test_places_in_flight_are_held_in_this_worker(limiter: Limiter) -> None:
    async with limiter.in_flight(1, "ann", scope="job"):
        with pytest.raises(RateLimitExceeded):
            async with limiter.in_flight(1, "ann", scope="job"):
                pass
    async with limiter.in_flight(1, "ann", scope="job"):
        pass


async def test_a_snippets_decorator_counts_in_this_worker_and_the_rules_are_replaced(
    app: Quart, limiter: Limiter
) -> None:
    @app.get("/own")
    @rate_limit("2/hour")
    async def own() -> str:
        return ""

    @app.get("/rule")
    @limiter.limit("2/hour")
    async def rule() -> str:
        return ""

    client = app.test_client()
    assert [(await client.get("/own")).status_code for _ in range(3)] == [200, 200, 429]
    assert [(await client.get("/rule")).status_code for _ in range(3)] == [200, 200, 200]


async def test_messages_are_counted_in_this_worker(app: Quart, limiter: Limiter) -> None:
    @app.websocket("/")
    @limiter.messages("2/hour", on_breach="error")
    async def view() -> None:
        while True:
            await websocket.send(await websocket.receive())

    async with app.test_client().websocket("/") as connection:
        for text in ("a", "b", "c"):
            await connection.send(text)
        answers = [await connection.receive() for _ in range(3)]
    assert answers[:2] == ["a", "b"]
    assert "429" in answers[2]
