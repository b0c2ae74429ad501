"""A refund gives back at most what its decision charged, where it charged it, and once."""

import asyncio
import copy
import pickle
from collections.abc import AsyncIterator
from typing import Any

import pytest
from quart import Quart

from quart_ratelimit import (
    GCRA,
    Decision,
    FixedWindow,
    Limiter,
    MovingWindow,
    Penalty,
    Quota,
    SlidingWindow,
    StoreError,
    StrictWindow,
)
from quart_ratelimit.stores import GuardedStore, MemoryStore

from ..support.stores import Moody, store

__all__ = ["store"]  # fixtures

#: Long enough that nothing drains during a test.
YEAR = 31_536_000

QUOTAS = [
    FixedWindow(10, YEAR),
    FixedWindow(10, YEAR, aligned=True),
    SlidingWindow(10, YEAR),
    StrictWindow(10, YEAR),
    MovingWindow(10, YEAR),
    GCRA(10, YEAR),
    Penalty(10, YEAR),
]


@pytest.fixture
async def limiter(store: Any) -> AsyncIterator[Limiter]:
    app = Quart(__name__)
    limiter = Limiter(app=app, store=store, remember_refusals=0)
    async with app.app_context():
        yield limiter


async def left(limiter: Limiter, quota: str | Quota, key: str = "ann") -> int:
    return (await limiter.peek(quota, key)).remaining


every_quota = pytest.mark.parametrize("quota", QUOTAS, ids=lambda quota: quota.tag)


@every_quota
async def test_a_decision_is_refunded_once(limiter: Limiter, quota: Quota) -> None:
    await limiter.hit(quota, "ann", cost=5)
    before = await left(limiter, quota)
    charged = await limiter.hit(quota, "ann")
    for _ in range(3):
        await limiter.refund(quota, "ann", charged=charged)
    assert await left(limiter, quota) <= before


@every_quota
async def test_refunds_at_the_same_time_are_one(limiter: Limiter, quota: Quota) -> None:
    await limiter.hit(quota, "ann", cost=5)
    before = await left(limiter, quota)
    charged = await limiter.hit(quota, "ann")
    await asyncio.gather(*[limiter.refund(quota, "ann", charged=charged) for _ in range(5)])
    assert await left(limiter, quota) <= before


@every_quota
async def test_a_look_is_not_refunded(limiter: Limiter, quota: Quota) -> None:
    await limiter.hit(quota, "ann", cost=5)
    before = await left(limiter, quota)
    look = await limiter.peek(quota, "ann")
    assert look.allowed
    await limiter.refund(quota, "ann", charged=look)
    assert await left(limiter, quota) == before


@every_quota
async def test_a_refund_is_at_most_what_was_charged(limiter: Limiter, quota: Quota) -> None:
    await limiter.hit(quota, "ann", cost=5)
    before = await left(limiter, quota)
    charged = await limiter.hit(quota, "ann")
    await limiter.refund(quota, "ann", charged=charged, cost=100)
    assert await left(limiter, quota) <= before


@every_quota
async def test_a_cost_may_be_refunded_in_parts(limiter: Limiter, quota: Quota) -> None:
    charged = await limiter.hit(quota, "ann", cost=9)
    spent = await left(limiter, quota)
    for _ in range(2):
        await limiter.refund(quota, "ann", charged=charged, cost=4)
    # GCRA holds back what could have drained since.
    assert spent + 7 <= await left(limiter, quota) <= spent + 8
    await limiter.refund(quota, "ann", charged=charged, cost=4)
    assert spent + 8 <= await left(limiter, quota) <= spent + 9


@every_quota
async def test_what_was_waited_for_is_refunded_once(limiter: Limiter, quota: Quota) -> None:
    await limiter.hit(quota, "ann", cost=5)
    before = await left(limiter, quota)
    charged = await limiter.wait(quota, "ann", seconds=0)
    for _ in range(2):
        await limiter.refund(quota, "ann", charged=charged)
    assert before - 1 <= await left(limiter, quota) <= before


@every_quota
async def test_another_key_gets_nothing(limiter: Limiter, quota: Quota) -> None:
    await limiter.hit(quota, "bob", cost=5)
    before = await left(limiter, quota, "bob")
    charged = await limiter.hit(quota, "ann")
    await limiter.refund(quota, "bob", charged=charged)
    assert await left(limiter, quota, "bob") == before


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))]
)
async def test_a_copy_is_not_refunded_a_second_time(limiter: Limiter, copied: Any) -> None:
    await limiter.hit("10/year", "ann", cost=5)
    charged = await limiter.hit("10/year", "ann")
    await limiter.refund("10/year", "ann", charged=charged)
    await limiter.refund("10/year", "ann", charged=copied(charged))
    await limiter.refund("10/year", "ann", charged=charged._replace(allowed=True))
    assert await left(limiter, "10/year") == 5


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))], ids=["deep", "pickle"]
)
async def test_a_copy_from_before_the_refund_gives_nothing_more(
    limiter: Limiter, copied: Any
) -> None:
    await limiter.hit("10/year", "ann", cost=5)
    charged = await limiter.hit("10/year", "ann")
    before = copied(charged)
    for one in (charged, before):
        await limiter.refund("10/year", "ann", charged=one)
    assert await left(limiter, "10/year") == 5


async def test_another_limit_gets_nothing(limiter: Limiter) -> None:
    await limiter.hit("10/year", "ann", cost=5)
    charged = await limiter.hit("100/month", "ann")
    await limiter.refund("10/year", "ann", charged=charged)
    assert await left(limiter, "10/year") == 5


async def test_each_of_several_limits_is_refunded_once(limiter: Limiter) -> None:
    await limiter.hit("10/year; 100/month", "ann", cost=5)
    charged = await limiter.hit("10/year; 100/month", "ann", cost=2)
    await limiter.refund("10/year", "ann", charged=charged, cost=2)
    assert (await left(limiter, "10/year"), await left(limiter, "100/month")) == (5, 93)
    await limiter.refund("10/year; 100/month", "ann", charged=charged, cost=2)
    assert (await left(limiter, "10/year"), await left(limiter, "100/month")) == (5, 95)


async def test_a_decision_that_no_hit_made_is_not_refunded(limiter: Limiter) -> None:
    charged = await limiter.hit("10/year", "ann", cost=5)
    made_up = Decision(True, 5, 0, 0, charged.at_ms)
    await limiter.refund("10/year", "ann", charged=made_up)
    assert await left(limiter, "10/year") == 5


async def test_another_store_gets_nothing(limiter: Limiter) -> None:
    app = Quart("other")
    other = Limiter(app=app, store=MemoryStore(), remember_refusals=0)
    async with app.app_context():
        await other.hit("10/year", "ann", cost=5)
        elsewhere = await other.hit("10/year", "ann")
    await limiter.hit("10/year", "ann", cost=5)
    await limiter.refund("10/year", "ann", charged=elsewhere)
    assert await left(limiter, "10/year") == 5


async def test_what_was_counted_during_an_outage_is_refunded_once() -> None:
    moody, app = Moody(), Quart(__name__)
    limiter = Limiter(app=app, store=GuardedStore(moody, policy="local"))
    async with app.app_context():
        moody.error = StoreError("away")
        await limiter.hit("10/year", "ann", cost=5)
        charged = await limiter.hit("10/year", "ann")
        for _ in range(3):
            await limiter.refund("10/year", "ann", charged=charged)
        assert charged.by == "local"
        assert await left(limiter, "10/year") == 5
