"""Lua and Python decide alike: both walk one random trail, and a fault in the Lua is seen."""

import itertools

import pytest
import redis

from quart_ratelimit import Quota
from quart_ratelimit.quotas import (
    FixedWindow,
)
from quart_ratelimit.stores.redis import script as plan

from ..support.trails import QUOTAS, trail, walk


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
    trails = (trail(quota, seed=seed) for seed in (5, 1, 2, 3))  # 5 meets the rarest first
    with pytest.raises((AssertionError, redis.RedisError, ValueError)):
        walk(redis_url, broken, itertools.chain.from_iterable(trails))
