"""Random trails of requests, which the Lua and the Python of an algorithm walk together."""

import itertools
import os
import random
from collections.abc import Iterator, Sequence

from quart_ratelimit import Hit, Quota
from quart_ratelimit.quotas import (
    GCRA,
    Concurrency,
    FixedWindow,
    MovingWindow,
    Penalty,
    SlidingWindow,
    StrictWindow,
)

from .lua_twin import LuaStore, PythonStore, Step

#: Small amounts and odd numbers, so that edges are met often.
QUOTAS = {
    quota.algorithm: quota
    for quota in (
        FixedWindow(7, 13),
        SlidingWindow(7, 13),
        StrictWindow(7, 13, segments=4),
        MovingWindow(7, 13),
        GCRA(7, 13, burst=5),
        Concurrency(4, 13),
        Penalty(4, 13, blocks=(2, 5, 9), forget=30),
    )
}
#: Fewer where mutants are tried: nearly all differ within the first hundred.
STEPS = int(os.environ.get("TRAIL_STEPS", "10000"))
START = 1_800_000_000_000


def trail(
    quota: Quota, *, seed: int, back: bool = True, others: Sequence[Quota] = tuple(QUOTAS.values())
) -> Iterator[Step]:
    """Times and batches of requests: costs, looks, give-backs, forced hits, leases, jumps."""
    chance = random.Random(seed)
    now, times = START, [START]
    costs = [0, 1, 1, 1, 2, 3, quota.capacity, quota.capacity + 1, -1, -1, -2]
    for _ in range(STEPS):
        now += chance.choice(
            [0, 0, 1, 7, 7, 250, 250, 1_300, 1_300, 3_250, quota.period_ms, 40_000]
        )
        if back and chance.random() < 0.02:
            now -= chance.choice([1, 500, quota.period_ms, 3_600_000])
        times = [*times[-6:], now]
        common = chance.choice(times)
        requests = []
        for _ in range(chance.choice([1, 1, 2])):
            hits = []
            for _ in range(chance.choice([1, 1, 1, 2, 3])):
                chosen = chance.choice([quota, quota, quota, *others])
                hit = Hit(
                    chosen,
                    chance.choice("ab"),
                    chance.choice(costs),
                    chance.choice([common, chance.choice(times)]),
                    chance.random() < 0.04,
                    chance.choice("uvwxyz") if isinstance(chosen, Concurrency) else "",
                )
                hits.append(hit)
            requests.append(hits)
        yield now, requests


def walk(url: str, script: str, steps: Iterator[Step]) -> None:
    """Both decide along the trail; raises `AssertionError` at the first step that differs."""
    lua, python = LuaStore(url, script), PythonStore()
    try:
        while some := list(itertools.islice(steps, 200)):
            for (now, requests), theirs in zip(some, lua.decide_steps(some), strict=True):
                assert python.decide_all(requests, now) == theirs
    finally:
        lua.close()
