"""Lua and Python decide alike: both walk one random trail, and a fault in the Lua is seen."""

import random
from collections.abc import Iterator

import pytest
import redis

from quart_ratelimit import Hit, Quota
from quart_ratelimit.quotas import (
    GCRA,
    Concurrency,
    FixedWindow,
    MovingWindow,
    SlidingWindow,
    StrictWindow,
)
from quart_ratelimit.stores import plan

from .turned import LuaStore, PythonStore

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
    )
}
STEPS = 10_000
START = 1_800_000_000_000


def trail(
    quota: Quota, others: list[Quota], seed: int, steps: int, *, back: bool = True
) -> Iterator[tuple[int, list[list[Hit]]]]:
    """Times and batches of requests: costs, looks, give-backs, forced hits, leases, jumps."""
    chance = random.Random(seed)
    now, times = START, [START]
    costs = [0, 1, 1, 1, 2, 3, quota.capacity, quota.capacity + 1, -1, -1, -2]
    for _ in range(steps):
        now += chance.choice([0, 0, 1, 7, 250, 1_300, 3_250, quota.period_ms, 40_000])
        if back and chance.random() < 0.02:
            now -= chance.choice([1, 500, quota.period_ms, 3_600_000])
        times = [*times[-20:], now]
        requests = []
        for _ in range(chance.choice([1, 1, 2])):
            hits = [
                Hit(
                    chance.choice([quota, quota, *others]),
                    chance.choice("ab"),
                    chance.choice(costs),
                    chance.choice(times),
                    chance.random() < 0.04,
                    chance.choice("uvwxyz"),
                )
                for _ in range(chance.choice([1, 1, 1, 2, 3]))
            ]
            requests.append(hits)
        yield now, requests


def differences(url: str, script: str, quota: Quota, steps: int) -> int:
    """Decisions that differ along the trail."""
    lua, python = LuaStore(url, script), PythonStore()
    others = [other for other in QUOTAS.values() if other != quota]
    count = 0
    for now, requests in trail(quota, others, seed=steps, steps=steps):
        try:
            theirs = lua.decide(requests, now)
        except (redis.RedisError, ValueError):
            count += 1
            continue
        count += python.decide_all(requests, now) != theirs
    lua.close()
    return count


@pytest.mark.parametrize("quota", QUOTAS.values(), ids=list(QUOTAS))
def test_lua_and_python_decide_alike(redis_url: str, quota: Quota) -> None:
    assert differences(redis_url, plan.script(), quota, STEPS) == 0


def test_lua_and_python_decide_alike_by_the_clock(redis_url: str) -> None:
    quota = FixedWindow(7, 13, aligned=True)
    lua, python = LuaStore(redis_url, plan.script()), PythonStore()
    for now, requests in trail(quota, [], seed=1, steps=STEPS, back=False):
        assert python.decide_all(requests, now) == lua.decide(requests, now)
    lua.close()


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
        ("retry < 0 and wanted <= amount", "retry < 0 and wanted < amount"),
        ("before.counts[i - shift]", "before.counts[i]"),
    ],
    "moving_window": [
        ("count_until(log, hit.at - 1)", "count_until(log, hit.at)"),
        ("used + units - amount - 1)", "used + units - amount)"),
        ("math.min(after, first - cost)", "first - cost"),
    ],
    "gcra": [
        ("wanted <= burst * unit", "wanted < burst * unit"),
        ("retry = math.ceil(", "retry = math.floor("),
        ("-cost * unit - math.max(0, now - hit.at) * drain", "-cost * unit"),
    ],
    "concurrency": [
        ("count < spec[2] or", "count <= spec[2] or"),
        ("leases[hit.lease] = nil", "count = count - 1"),
        ("elseif leases[hit.lease] or", "elseif"),
    ],
    "decide": [
        ("not refused then", "true then"),
        ("pending[key] or states[key]", "states[key]"),
        ("refused and decision[1]", "false"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("part", "right", "wrong"),
    [(part, right, wrong) for part, pairs in FAULTS.items() for right, wrong in pairs],
)
def test_a_fault_in_the_lua_is_seen(redis_url: str, part: str, right: str, wrong: str) -> None:
    script = plan.script()
    assert script.count(right) >= 1, "the fault is no longer in the script's text"
    start = script.find(f"parts['{part}']") if part in QUOTAS else 0
    at = script.index(right, start)
    broken = script[:at] + wrong + script[at + len(right) :]
    quota = QUOTAS.get(part, QUOTAS["fixed_window"])
    assert differences(redis_url, broken, quota, 1_500) > 0
