"""Lua and Python decide alike: both walk one random trail, and a fault in the Lua is seen."""

import itertools
import random
from collections.abc import Iterator, Sequence

import pytest
import redis

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
from quart_ratelimit.stores.redis import script as plan

from .turned import LuaStore, PythonStore, Step

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
STEPS = 10_000
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


@pytest.mark.parametrize("quota", QUOTAS.values(), ids=list(QUOTAS))
def test_lua_and_python_decide_alike(redis_url: str, quota: Quota) -> None:
    walk(redis_url, plan.script(), trail(quota, seed=1))


def test_lua_and_python_decide_alike_by_the_clock(redis_url: str) -> None:
    quota = FixedWindow(7, 13, aligned=True)
    walk(redis_url, plan.script(), trail(quota, seed=1, back=False, others=[]))


#: For each algorithm three faults that a careless hand could make in its Lua.
FAULTS = {
    "fixed_window": [
        ("used + units <= amount", "used + units < amount"),
        ("retry = fin - now", "retry = fin - now + 1"),
        ("hit.at >= fin - spec[3]", "hit.at > fin - spec[3]"),
    ],
    "sliding_window": [
        ("<= amount * period\n", "< amount * period\n"),
        ("current, previous = 0, current", "current, previous = 0, 0"),
        ("2 * period - elapsed", "period - elapsed"),
    ],
    "strict_window": [
        ("spec[4] + 1, spec[3] / spec[4], hit.cost", "spec[4], spec[3] / spec[4], hit.cost"),
        ("while newer <= amount", "while newer < amount"),
        ("before.counts[i - shift]", "before.counts[i]"),
    ],
    "moving_window": [
        ("used(log) + units - amount,", "used(log) + units - amount + 1,"),
        ("if cut[1] <= i then", "if false then"),
        ("if cut[3] == at then", "if false then"),
        ("'LREM', key, -cut[2]", "'LREM', key, 0"),
    ],
    "gcra": [
        ("wanted <= burst * unit", "wanted < burst * unit"),
        ("retry = math.ceil(", "retry = math.floor("),
        ("-cost * unit - math.max(0, now - hit.at) * drain", "-cost * unit"),
    ],
    "concurrency": [
        ("state.held < spec[2] or", "state.held <= spec[2] or"),
        ("if held then state = with", "if true then state = with"),
        ("elseif held or", "elseif"),
        ("if not state.changed[found[1]]", "if true"),
    ],
    "penalty": [
        ("now >= first + period", "now > first + period"),
        ("now >= fin + spec[4]", "now >= fin + 1"),
        ("math.min(level + 1, #spec - 4)", "math.min(level + 1, 2)"),
        ("if hit.at >= first then", "if true then"),
    ],
    "decide": [
        ("not refused then", "true then"),
        ("pending[key] or states[key]", "states[key]"),
        ("refused and decision[1]", "false"),
        ("{now, allowed and 1 or 0,", "{now, 1,"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("part", "right", "wrong"),
    [(part, right, wrong) for part, pairs in FAULTS.items() for right, wrong in pairs],
)
def test_a_fault_in_the_lua_is_seen(redis_url: str, part: str, right: str, wrong: str) -> None:
    script = plan.script()
    assert script.count(right) >= 1, "the fault is no longer in the script's text"
    start = script.find(f"if name == '{part}'") if part in QUOTAS else 0
    at = script.index(right, start)
    broken = script[:at] + wrong + script[at + len(right) :]
    quota = QUOTAS.get(part, QUOTAS["fixed_window"])
    trails = (trail(quota, seed=seed) for seed in (1, 2, 3, 4))
    with pytest.raises((AssertionError, redis.RedisError, ValueError)):
        walk(redis_url, broken, itertools.chain.from_iterable(trails))
