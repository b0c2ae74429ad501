"""Callers that leave at every step of a call: their neighbours and followers get right answers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest
from quart import Quart
from redis._parsers import _AsyncHiredisParser, _AsyncRESP2Parser, _AsyncRESP3Parser

from quart_ratelimit import FixedWindow, Hit, Limiter, MovingWindow
from quart_ratelimit.stores import GuardedStore, RedisStore

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


YEAR = 31_536_000
#: What is charged by the clock, and what by the script.
QUOTAS = [FixedWindow(10, YEAR, aligned=True), MovingWindow(10, YEAR)]


def connections(server: RedisServer) -> set[int]:
    """The numbers of the connections that the tests' own client did not open."""
    with server.client() as client:
        own = client.client_id()
        return {int(one["id"]) for one in client.client_list()} - {own}


@pytest.fixture
async def limiter(redis_url: str) -> AsyncIterator[Limiter]:
    store = GuardedStore(RedisStore(redis_url, deadline=5), remember_ms=1000)
    app = Quart(__name__)
    limiter = Limiter(app=app, store=store)
    async with app.app_context():
        await store.start()
        yield limiter
        await store.aclose()


async def leave_at(step: int, call: Awaitable[object]) -> None:
    """Cancel a caller after so many turns of the event loop, and wait for what it left."""
    before = asyncio.all_tasks()

    async def await_call() -> None:
        await call

    leaving = asyncio.create_task(await_call())
    for _ in range(step):
        await asyncio.sleep(0)
    leaving.cancel()
    while left := asyncio.all_tasks() - before:
        await asyncio.wait(left)


@pytest.mark.parametrize("quota", QUOTAS, ids=lambda quota: quota.tag)
@pytest.mark.parametrize("step", range(1, 16))
async def test_a_caller_that_leaves_a_reset_leaves_it_to_its_end(
    redis_server: RedisServer, limiter: Limiter, quota: FixedWindow, step: int
) -> None:
    await limiter.hit(quota, "ann", cost=10)
    assert not await limiter.hit(quota, "ann")
    before = connections(redis_server)
    await leave_at(step, limiter.reset(quota, "ann"))
    assert (await limiter.peek(quota, "ann")).remaining == 10
    assert connections(redis_server) == before


@pytest.mark.parametrize("step", range(1, 16))
async def test_a_caller_that_leaves_a_clear_leaves_it_to_its_end(
    redis_server: RedisServer, limiter: Limiter, step: int
) -> None:
    await limiter.hit(QUOTAS[0], "ann", cost=10)
    before = connections(redis_server)
    await leave_at(step, limiter.reset())
    assert (await limiter.peek(QUOTAS[0], "ann")).remaining == 10
    assert connections(redis_server) == before


@pytest.mark.parametrize("quota", QUOTAS, ids=lambda quota: quota.tag)
@pytest.mark.parametrize("step", range(1, 16))
async def test_a_caller_that_leaves_a_refund_leaves_it_to_its_end(
    redis_server: RedisServer, limiter: Limiter, quota: FixedWindow, step: int
) -> None:
    charged = await limiter.hit(quota, "ann", cost=5)
    before = connections(redis_server)
    await leave_at(step, limiter.refund(quota, "ann", charged=charged, cost=5))
    assert (await limiter.peek(quota, "ann")).remaining == 10
    assert connections(redis_server) == before


async def test_a_store_that_is_closed_goes_on_with_no_reset(limiter: Limiter) -> None:
    before = asyncio.all_tasks()
    for call in (limiter.reset(QUOTAS[0], "ann"), limiter.reset()):
        leaving = asyncio.ensure_future(call)
        await asyncio.sleep(0)
        leaving.cancel()
    await limiter.store.aclose()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() <= before


@pytest.mark.parametrize("what", ["reset", "clear"])
async def test_a_reset_that_is_cancelled_leaves_every_connection_open(
    redis_server: RedisServer, store: RedisStore, what: str
) -> None:
    def connections() -> set[str]:
        clients = redis_server.ask("CLIENT", "LIST")
        lines = (clients.decode() if isinstance(clients, bytes) else str(clients)).splitlines()
        return {line.split()[0] for line in lines if "cmd=client" not in line}

    hits = [Hit(FixedWindow(5, 60), "ann")]
    await store.hit(hits)
    before = connections()
    assert before
    for step in range(STEPS):
        resetting = asyncio.ensure_future(store.reset(hits) if what == "reset" else store.clear())
        for _ in range(step):
            await asyncio.sleep(0)
        resetting.cancel()
        await asyncio.gather(resetting, return_exceptions=True)
        await store.hit(hits)
    while store._tasks:
        await asyncio.wait(store._tasks)
    assert before <= connections()
