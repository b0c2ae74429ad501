"""A Redis that hangs or is gone: what it costs each caller, and how soon counting resumes."""

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from statistics import quantiles

import pytest
import redis

from quart_ratelimit import FixedWindow, Hit, SlidingWindow, StoreError
from quart_ratelimit.errors import StoreTimeout
from quart_ratelimit.stores import Breaker, GuardedStore, RedisStore

from ...support.proxy import Proxy
from ...support.servers import RedisServer, free_port

QUOTA = FixedWindow(1_000_000, 3_600, aligned=True)
DEADLINE = 0.05

#: Longer than that a call takes only where this machine, which others share, was slow.
SLACK = 0.03

Start = Callable[..., RedisServer]


@asynccontextmanager
async def guarded(url: str) -> AsyncIterator[GuardedStore]:
    guard = GuardedStore(RedisStore(url, deadline=DEADLINE), policy="open", breaker=Breaker())
    await guard.start()
    yield guard
    await guard.aclose()


async def waits(guard: GuardedStore, seconds: float, callers: int = 30) -> list[float]:
    """How long each hit takes while Redis is away, in order."""
    took: list[float] = []
    end = time.monotonic() + seconds

    async def caller() -> None:
        while time.monotonic() < end:
            began = time.monotonic()
            await guard.hit([Hit(QUOTA, "ann")])
            took.append(time.monotonic() - began)
            await asyncio.sleep(0.01)

    await asyncio.gather(*[caller() for _ in range(callers)])
    return took


async def recovery(guard: GuardedStore) -> float:
    """Seconds until the store decides again."""
    began = time.monotonic()
    while (await guard.hit([Hit(QUOTA, "ann")]))[0].by != "store":
        await asyncio.sleep(0.005)
        assert time.monotonic() < began + 5
    return time.monotonic() - began


@contextmanager
def frozen(server: RedisServer, proxy: Proxy) -> Iterator[None]:
    server.freeze()
    yield
    server.thaw()


def paused(mode: str) -> Callable[[RedisServer, Proxy], contextlib.AbstractContextManager[None]]:
    @contextmanager
    def pause(server: RedisServer, proxy: Proxy) -> Iterator[None]:
        server.ask("CLIENT", "PAUSE", 600, mode)
        yield

    return pause


@contextmanager
def asleep(server: RedisServer, proxy: Proxy) -> Iterator[None]:
    """For less than a second: nothing can wake it."""

    def sleep() -> None:
        with contextlib.suppress(redis.RedisError):
            server.ask("DEBUG", "SLEEP", "0.7")

    thread = threading.Thread(target=sleep)
    thread.start()
    time.sleep(0.05)
    yield
    thread.join()


@contextmanager
def swallowed(server: RedisServer, proxy: Proxy) -> Iterator[None]:
    """Packets vanish; nobody is told."""
    proxy.silent = True
    yield
    proxy.silent = False


HANGS = {
    "frozen": frozen,
    "paused": paused("ALL"),
    "writes paused": paused("WRITE"),
    "asleep": asleep,
    "swallowed": swallowed,
}


@pytest.mark.parametrize("how", HANGS)
async def test_a_hang_costs_few_callers_the_deadline_and_the_others_nothing(  # T-06
    start_redis: Start, how: str
) -> None:
    server = start_redis()
    async with Proxy(server.port) as proxy, guarded(proxy.url) as guard:
        assert await recovery(guard) < 1
        with HANGS[how](server, proxy):
            took = await waits(guard, 0.5)
        assert max(took) <= DEADLINE + 0.01 + SLACK
        assert sum(wait > DEADLINE / 2 for wait in took) <= 40
        assert quantiles(took[40:], n=10)[-1] <= 0.001
        assert await recovery(guard) <= 1.0 + SLACK


async def test_a_redis_that_is_killed_costs_nobody_a_wait_and_starts_empty(  # T-07
    start_redis: Start,
) -> None:
    server = start_redis()
    async with guarded(server.url) as guard:
        assert await recovery(guard) < 1
        server.kill()
        took = await waits(guard, 0.5)
        assert max(took) <= 0.01 + SLACK
        await asyncio.to_thread(server.start)
        assert await recovery(guard) <= 1.0 + SLACK
        (decision,) = await guard.hit([Hit(QUOTA, "new")])
        assert decision.remaining == QUOTA.amount - 1


@pytest.mark.parametrize("how", ["refused", "silent"])
async def test_an_app_starts_within_a_second_without_redis_and_counts_when_it_is_there(  # T-07
    start_redis: Start, how: str
) -> None:
    port = free_port()
    server = start_redis(port=port) if how == "silent" else None
    if server is not None:
        server.freeze()
    began = time.monotonic()
    async with guarded(f"redis://127.0.0.1:{port}/0") as guard:
        assert time.monotonic() - began <= 1.0 + 2 * SLACK
        (decision,) = await guard.hit([Hit(QUOTA, "ann")])
        assert decision.by == "open"
        if server is None:
            await asyncio.to_thread(start_redis, port=port)
        else:
            server.thaw()
        assert await recovery(guard) <= 1.0 + SLACK


@pytest.mark.parametrize("step", range(0, 40, 4))
async def test_a_loop_that_stops_for_a_moment_adds_no_more_than_that_to_the_deadline(  # T-05
    start_redis: Start, step: int
) -> None:
    """Not `socket_timeout`, which on Python 3.11 a swallowed cancellation would cost."""
    hiccup = 0.06
    server = start_redis()
    store = RedisStore(server.url, deadline=DEADLINE)
    await store.start()
    server.freeze()

    async def stumble() -> None:
        for _ in range(step):
            await asyncio.sleep(0)
        time.sleep(hiccup)  # noqa: ASYNC251  # what blocks the loop

    began = time.monotonic()
    stumbling = asyncio.ensure_future(stumble())
    with pytest.raises(StoreTimeout):
        await store.hit([Hit(QUOTA, "ann")])
    assert time.monotonic() - began <= DEADLINE + hiccup + SLACK
    await stumbling
    server.thaw()
    with contextlib.suppress(StoreError):
        await store.hit([Hit(QUOTA, "ann")])
    await store.aclose()


async def test_who_forgets_everything_is_told_after_a_second_that_redis_hangs(
    start_redis: Start,
) -> None:
    server = start_redis()
    store = RedisStore(server.url, deadline=DEADLINE)
    await store.hit([Hit(QUOTA, "ann")])
    server.freeze()
    with pytest.raises(StoreTimeout, match=r"1\.0 s"):
        await asyncio.wait_for(store.clear(), 5)
    server.thaw()
    assert await store.clear() == 1
    await store.aclose()


async def test_an_open_breaker_lets_one_of_200_callers_probe_in_each_pause() -> None:  # T-27
    """Counted where the probes arrive."""
    arrived: list[float] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.append(time.monotonic())
        writer.close()

    listener = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with guarded(f"redis://127.0.0.1:{port}/0") as guard:
        for _ in range(5):
            await guard.hit([Hit(QUOTA, "ann")])
        arrived.clear()
        await waits(guard, 2.0, callers=200)
    listener.close()
    await listener.wait_closed()
    # After 0.25 s, then 0.5 s, then 1 s; each less up to a tenth.
    gaps = [later - earlier for earlier, later in itertools.pairwise(arrived)]
    assert len(arrived) in (2, 3)
    assert all(gap >= 0.45 * 0.9 for gap in gaps)


async def test_a_hit_that_waits_for_a_connection_was_not_sent_while_another_one_hangs(
    start_redis: Start,
) -> None:
    """Else the outage leaves it uncharged: it is in neither Redis nor what is owed."""
    server = start_redis()
    scripted = SlidingWindow(1_000_000, 3_600)
    store = RedisStore(server.url, deadline=DEADLINE)
    await store.start()
    server.freeze()
    hangs = asyncio.ensure_future(store.hit([Hit(QUOTA, "ann")]))
    await asyncio.sleep(0)
    store._links.get().connections.drop_idle()
    waits = asyncio.ensure_future(store.hit([Hit(scripted, "bob")]))
    await asyncio.wait({hangs, waits})
    server.thaw()
    errors = [hangs.exception(), waits.exception()]
    assert [(type(error), error.was_sent) for error in errors if isinstance(error, StoreError)] == [
        (StoreTimeout, True),
        (StoreTimeout, False),
    ]
    await store.aclose()
