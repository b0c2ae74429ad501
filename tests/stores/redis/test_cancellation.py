"""Callers that leave at every step of a call: their neighbours and followers get right answers."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis._parsers import _AsyncHiredisParser, _AsyncRESP2Parser, _AsyncRESP3Parser

from quart_ratelimit import FixedWindow, Hit
from quart_ratelimit.stores import RedisStore

from ...support.algorithms import BOTH, CLOCK
from ...support.proxy import Proxy
from ...support.servers import RedisServer

STEPS, ROUNDS = 41, 32


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[RedisStore]:
    store = RedisStore(redis_url, deadline=5)
    await store.start()
    yield store
    await store.aclose()


@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
@BOTH
async def test_of_5_000_cancelled_calls_none_mixes_up_an_answer(  # T-04
    redis_server: RedisServer, store: RedisStore, quota: FixedWindow, times: int
) -> None:
    """1,312 in each of four variants, a caller beside each and two after it."""
    await sweep(redis_server, store, quota, times=times, rounds=ROUNDS)


async def sweep(
    server: RedisServer, store: RedisStore, quota: FixedWindow, *, times: int, rounds: int
) -> None:
    """Cancel so many calls at each step; a caller beside each and two after it must be right."""
    left = beside = after = 0
    before = asyncio.all_tasks()
    for _ in range(rounds):
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
    assert not [task for task in asyncio.all_tasks() - before if not task.done()]
    with server.client() as client:
        assert all(client.pttl(key) > 0 for key in client.scan_iter())


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0, 0.002])
@pytest.mark.parametrize("parser", [_AsyncHiredisParser, _AsyncRESP3Parser, _AsyncRESP2Parser])
@BOTH
async def test_nor_of_50_000_whatever_reads_the_replies_and_however_late_they_are(  # T-04
    redis_server: RedisServer, redis_url: str, quota: FixedWindow, parser: Any, delay: float
) -> None:
    """8,200 in each of six variants, and 820 in each of six whose replies are late."""
    options = {"parser_class": parser, "protocol": 2 if parser is _AsyncRESP2Parser else 3}
    async with Proxy(redis_server.port) as proxy:
        proxy.delay = delay
        store = RedisStore(proxy.url if delay else redis_url, deadline=5, **options)
        await store.start()
        await sweep(redis_server, store, quota, times=1, rounds=20 if delay else 200)
        await store.aclose()


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
