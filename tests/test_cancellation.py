"""Callers that leave at every step of a call: their neighbours and followers get right answers."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from quart_ratelimit import FixedWindow, Hit
from quart_ratelimit.stores import RedisStore

from .servers import RedisServer

CLOCK = FixedWindow(1_000_000, 86_400, aligned=True)
SCRIPT = FixedWindow(1_000_000, 86_400)

STEPS, ROUNDS = 41, 32


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[RedisStore]:
    store = RedisStore(redis_url, deadline=5)
    await store.start()
    yield store
    await store.aclose()


@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
@pytest.mark.parametrize("quota", [CLOCK, SCRIPT], ids=["pipeline", "script"])
async def test_of_5_000_cancelled_calls_none_mixes_up_an_answer(  # T-04
    redis_server: RedisServer, store: RedisStore, quota: FixedWindow, times: int
) -> None:
    """1,312 in each of four variants, a caller beside each and two after it."""
    left = beside = after = 0
    for _ in range(ROUNDS):
        for step in range(STEPS):
            leaving = asyncio.ensure_future(store.hit([Hit(quota, "leaving")]))
            staying = asyncio.ensure_future(store.hit([Hit(quota, "staying")]))
            for _ in range(step):
                await asyncio.sleep(0)
            for _ in range(times):
                leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            left += 1
            beside += 1
            (decision,) = await staying
            assert quota.amount - decision.remaining == beside
            for _ in range(2):
                after += 1
                (decision,) = await store.hit([Hit(quota, "following")])
                assert quota.amount - decision.remaining == after
    (decision,) = await store.hit([Hit(quota, "leaving", 0)])
    assert quota.amount - decision.remaining <= left
    assert len(asyncio.all_tasks()) == 1
    with redis_server.client() as client:
        assert all(client.pttl(key) > 0 for key in client.scan_iter())


async def test_callers_cancelled_in_a_crowd_leave_the_crowd_alone(store: RedisStore) -> None:
    for _ in range(20):
        callers = [asyncio.ensure_future(store.hit([Hit(CLOCK, f"c{n}")])) for n in range(100)]
        await asyncio.sleep(0)
        for caller in callers[::2]:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
        assert all(caller.cancelled() for caller in callers[::2])
        assert all(not caller.cancelled() for caller in callers[1::2])
    for number in range(1, 100, 2):
        (decision,) = await store.hit([Hit(CLOCK, f"c{number}", 0)])
        assert CLOCK.amount - decision.remaining == 20
