"""Clocks that jump or disagree: nobody is locked out for long, and nobody counts apart."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from quart_ratelimit import FixedWindow, Hit
from quart_ratelimit.quotas import Quota
from quart_ratelimit.stores import MemoryStore, RedisStore

from ..support.algorithms import RATES
from ..support.servers import RedisServer, binary
from ..support.serving import ROOT
from ..support.shifted_clock import ShiftedClock

SECOND, HOUR, DAY = 1_000, 3_600_000, 86_400_000
JUMPS = [30 * SECOND, HOUR, DAY]

#: Periods: a strict window counts whole segments, tenths; a weighted one waits for a weight.
LONGEST_WAIT = 1.1

#: Each algorithm as 10 a minute.
NAMES = [f"{quota.algorithm}{'-aligned' * getattr(quota, 'aligned', False)}" for quota in RATES]


@pytest.fixture
def clock() -> Iterator[ShiftedClock]:
    with ShiftedClock() as clock:
        yield clock


@pytest.fixture
def shifted_redis(clock: ShiftedClock) -> Iterator[RedisServer]:
    if binary() is None:
        pytest.skip("no redis-server is installed: ./dev test installs one")
    server = RedisServer(env=clock.env)
    yield server
    server.stop()


async def admitted(store: RedisStore | MemoryStore, quota: Quota, times: int = 30) -> int:
    """How many of so many hits at once pass."""
    return sum([(await store.hit([Hit(quota, "ann")]))[0].allowed for _ in range(times)])


@pytest.mark.parametrize("quota", RATES, ids=NAMES)
@pytest.mark.parametrize("jump_ms", [*JUMPS, *[-jump for jump in JUMPS]])
async def test_when_redis_clock_jumps_no_lock_out_is_longer_than_it_may(  # T-16
    shifted_redis: RedisServer, clock: ShiftedClock, quota: Quota, jump_ms: int
) -> None:
    store = RedisStore(shifted_redis.url, deadline=5)
    await store.start()
    assert 10 <= await admitted(store, quota) <= 20  # a window by the clock may turn meanwhile
    clock.shift_ms(jump_ms)
    await store.aclose()  # the clock is asked anew, as it is each second
    more = await admitted(store, quota)
    assert more <= 20
    (refused,) = await store.hit([Hit(quota, "ann")])
    assert refused.retry_ms is not None
    assert refused.retry_ms <= LONGEST_WAIT * quota.period_ms
    clock.shift_ms(jump_ms + refused.retry_ms)
    await store.aclose()
    (after,) = await store.hit([Hit(quota, "ann")])
    if jump_ms < 0 and NAMES[RATES.index(quota)] == "fixed_window-aligned" and not after.allowed:
        # The next window by the clock had been spent before the jump: it is paid for once more.
        assert after.retry_ms is not None
        assert after.retry_ms <= quota.period_ms
        clock.shift_ms(jump_ms + refused.retry_ms + after.retry_ms)
        await store.aclose()
        (after,) = await store.hit([Hit(quota, "ann")])
    assert after.allowed
    await store.aclose()


@pytest.mark.parametrize("quota", RATES, ids=NAMES)
@pytest.mark.parametrize("jump_ms", [*JUMPS, *[-jump for jump in JUMPS]])
async def test_when_this_machines_clock_jumps_the_same_holds_in_memory(  # T-16
    quota: Quota, jump_ms: int
) -> None:
    now = 1_700_000_000_000
    store = MemoryStore(now_ms=lambda: now)
    assert await admitted(store, quota) == 10
    now += jump_ms
    assert await admitted(store, quota) <= 10
    (refused,) = await store.hit([Hit(quota, "ann")])
    assert refused.retry_ms is not None
    assert refused.retry_ms <= LONGEST_WAIT * quota.period_ms
    now += refused.retry_ms
    assert (await store.hit([Hit(quota, "ann")]))[0].allowed


#: Its arguments: the Redis URL. Prints how many of 500 hits passed, by quota.
WORKER = "import sys; from tests.quotas.test_clocks import main; main(sys.argv[1])"


def main(url: str) -> None:
    async def count() -> list[int]:
        store = RedisStore(url, deadline=5)
        await store.start()
        counts = [await admitted(store, quota, 100) for quota in hourly()]
        await store.aclose()
        return counts

    print(json.dumps(asyncio.run(count())))


def hourly() -> list[Quota]:
    """Windows that do not turn while a test runs, but for one that is by the clock."""
    kinds = dict.fromkeys(type(quota) for quota in RATES)
    return [FixedWindow(100, DAY // 1000, aligned=True), *[kind(100, 3_600) for kind in kinds]]


def test_workers_whose_clocks_disagree_count_together(redis_url: str) -> None:  # T-17
    shifts = [-5 * 60_000, 0, 5 * 60_000, DAY]
    clocks = [ShiftedClock(shift) for shift in shifts]
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, redis_url],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **clock.env},
        )
        for clock in clocks
    ]
    counts = [json.loads(worker.communicate(timeout=60)[0]) for worker in workers]
    for clock in clocks:
        clock.close()
    for quota, passed in zip(hourly(), zip(*counts, strict=True), strict=True):
        # A bucket fills a little meanwhile: 100 an hour are one each 36 s.
        assert sum(passed) in ((100, 101) if quota.algorithm == "gcra" else (100,)), quota
