"""A refund gives back what was charged and nothing else; a cost is a whole number."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from quart import Quart

from quart_ratelimit import Decision, InvalidLimit, Limiter, Quota, RateLimitExceeded, StoreError
from quart_ratelimit.stores import GuardedStore

from ..support.algorithms import RATES, name
from ..support.stores import Moody, store, who

__all__ = ["store"]  # fixtures

STRATEGIES = [
    "fixed-window",
    "sliding-window-counter",
    "strict-window",
    "moving-window",
    "gcra",
]


@pytest.fixture(params=STRATEGIES)
async def limiter(request: pytest.FixtureRequest, store: Any) -> AsyncIterator[Limiter]:
    app = Quart(__name__)
    limiter = Limiter(app=app, store=store, strategy=request.param, remember_refusals=0)
    async with app.app_context():
        yield limiter


async def test_the_refund_of_a_refusal_gives_nothing_back(limiter: Limiter) -> None:
    refused = [await limiter.hit("5/hour", "ann") for _ in range(6)][-1]
    assert not refused.allowed
    (told, look) = (
        await limiter.refund("5/hour", "ann", charged=refused),
        await limiter.peek("5/hour", "ann"),
    )
    assert (told.allowed, told.remaining) == (look.allowed, look.remaining) == (False, 0)


async def test_a_refund_of_one_unit_gives_one_back(limiter: Limiter) -> None:
    charged = [await limiter.hit("100/hour", "ann") for _ in range(120)]
    await limiter.refund("100/hour", "ann", charged=charged[99])
    # GCRA may hold back what could have drained since.
    assert sum([bool(await limiter.hit("100/hour", "ann")) for _ in range(20)]) <= 2


async def test_refused_hits_at_the_same_time_do_not_keep_what_is_given_back(
    limiter: Limiter,
) -> None:
    decisions = await asyncio.gather(*[limiter.hit("5/hour", "ann") for _ in range(20)])
    for decision in decisions:
        await limiter.refund("5/hour", "ann", charged=decision)
    # GCRA may hold back what could have drained since.
    assert (await limiter.peek("5/hour", "ann")).remaining >= 4


async def test_refused_requests_do_not_keep_what_deduct_when_gives_back(store: Any) -> None:
    app = Quart(__name__)
    limiter = Limiter(app=app, store=store, remember_refusals=0)

    @app.get("/")
    @limiter.limit("5/day", deduct_when=lambda response: response.status_code != 200)
    async def login() -> str:
        await asyncio.sleep(0)
        return "welcome"

    client = app.test_client()
    key: Any = {"scope_base": {"client": (who(), 1)}}
    answers = await asyncio.gather(*[client.get("/", **key) for _ in range(20)])
    assert {answer.status_code for answer in answers} <= {200, 429}
    assert [(await client.get("/", **key)).status_code for _ in range(8)] == [200] * 8


async def test_overlapping_reservations_leave_nothing_free(limiter: Limiter) -> None:
    async with limiter.reserve("1000/hour", "ann", cost=100) as second:
        async with limiter.reserve("1000/hour", "ann", cost=100) as first:
            first.settle(5_000)
        second.settle(50)
    assert (await limiter.peek("1000/hour", "ann")).remaining == 0
    with pytest.raises(RateLimitExceeded):
        async with limiter.reserve("1000/hour", "ann", cost=50):
            pass


Call = Callable[[Limiter, Any], Awaitable[Decision]]


async def hit(limiter: Limiter, cost: Any) -> Decision:
    return await limiter.hit("5/hour", "ann", cost=cost)


async def wait(limiter: Limiter, cost: Any) -> Decision:
    return await limiter.wait("5/hour", "ann", seconds=0, cost=cost)


async def refund(limiter: Limiter, cost: Any) -> Decision:
    charged = await limiter.hit("5/hour", "bob")
    return await limiter.refund("5/hour", "bob", charged=charged, cost=cost)


@pytest.mark.parametrize("call", [hit, wait, refund])
@pytest.mark.parametrize("cost", [-5, 0.5, 1.5, 2.0, math.nan, math.inf, "3", None, True, False])
async def test_a_cost_that_is_not_a_whole_number_is_named(
    limiter: Limiter, call: Call, cost: Any
) -> None:
    with pytest.raises(InvalidLimit, match=f"cost={cost!r} is not a whole number"):
        await call(limiter, cost)
    assert (await limiter.peek("5/hour", "ann")).remaining == 5


@pytest.mark.parametrize("cost", [-1, 1.5, "3"])
def test_so_is_one_of_a_rule(cost: Any) -> None:
    with pytest.raises(InvalidLimit, match=f"cost={cost!r} is not a whole number"):
        Limiter(app=Quart(__name__)).limit("5/hour", cost=cost)


# What a policy admitted was not charged


@pytest.fixture
async def away() -> AsyncIterator[tuple[Limiter, Moody]]:
    """A limiter under the policy "open", and its store."""
    moody, app = Moody(), Quart(__name__)
    limiter = Limiter(app=app, store=GuardedStore(moody, policy="open"))
    async with app.app_context():
        yield limiter, moody


async def test_what_the_policy_open_admitted_is_not_given_back(
    away: tuple[Limiter, Moody],
) -> None:
    limiter, moody = away
    await limiter.hit("5/hour", "ann", cost=3)
    moody.error = StoreError("away")
    admitted = await limiter.hit("5/hour", "ann")
    reserved = limiter.reserve("5/hour", "ann", cost=2)
    reservation = await reserved.__aenter__()
    moody.error = None
    reservation.settle(0)
    await reserved.__aexit__(None, None, None)
    assert admitted.by == "open"
    # At the very time of the charge, so that nothing else keeps it from being given back.
    charged = await limiter.hit("5/hour", "ann")
    await limiter.refund("5/hour", "ann", charged=admitted._replace(at_ms=charged.at_ms))
    assert (await limiter.peek("5/hour", "ann")).remaining == 1


# However often, and with whatever decision, a refund is asked for


async def spent(limiter: Limiter, limit: str = "10/hour", key: str = "ann") -> int:
    return 10 - (await limiter.peek(limit, key)).remaining


async def test_a_second_refund_of_one_decision_gives_nothing_back(limiter: Limiter) -> None:
    await limiter.hit("10/hour", "ann", cost=5)
    charged = await limiter.hit("10/hour", "ann")
    for _ in range(3):
        told = await limiter.refund("10/hour", "ann", charged=charged)
    assert await spent(limiter) == 5
    assert told.remaining == 5


async def test_refunds_at_the_same_time_give_one_decision_back_once(limiter: Limiter) -> None:
    await limiter.hit("10/hour", "ann", cost=5)
    charged = await limiter.hit("10/hour", "ann")
    again = [limiter.refund("10/hour", "ann", charged=charged) for _ in range(5)]
    await asyncio.gather(*again)
    assert await spent(limiter) == 5


async def test_refunds_in_parts_end_at_what_was_charged(limiter: Limiter) -> None:
    await limiter.hit("10/hour", "ann", cost=4)
    charged = await limiter.hit("10/hour", "ann", cost=5)
    used = []
    for cost in (2, 2, 2, 100):
        await limiter.refund("10/hour", "ann", charged=charged, cost=cost)
        used.append(await spent(limiter))
    # GCRA may hold back what could have drained since each refund.
    assert used[0] == 7
    assert used[-1] in (4, 5)


async def test_no_refund_is_larger_than_its_charge(limiter: Limiter) -> None:
    await limiter.hit("10/hour", "ann", cost=5)
    charged = await limiter.hit("10/hour", "ann")
    await limiter.refund("10/hour", "ann", charged=charged, cost=100)
    assert await spent(limiter) == 5


async def look(limiter: Limiter) -> Decision:
    return await limiter.peek("10/hour", "ann")


async def hit_of_nothing(limiter: Limiter) -> Decision:
    return await limiter.hit("10/hour", "ann", cost=0)


async def wait_for_nothing(limiter: Limiter) -> Decision:
    return await limiter.wait("10/hour", "ann", seconds=0, cost=0)


async def refunded(limiter: Limiter) -> Decision:
    charged = await limiter.hit("10/hour", "ann")
    return await limiter.refund("10/hour", "ann", charged=charged)


async def of_another_key(limiter: Limiter) -> Decision:
    return await limiter.hit("10/hour", "bob")


async def of_another_limit(limiter: Limiter) -> Decision:
    return await limiter.hit("10/day", "ann")


async def of_another_scope(limiter: Limiter) -> Decision:
    return await limiter.hit("10/hour", "ann", scope="shop")


async def of_a_reservation(limiter: Limiter) -> Decision:
    async with limiter.reserve("10/hour", "ann", cost=2) as reservation:
        reservation.settle(0)
    return reservation.decisions[0]


async def made_by_hand(limiter: Limiter) -> Decision:
    charged = await limiter.peek("10/hour", "ann")
    return Decision(True, 9, 0, 0, at_ms=charged.at_ms)


@pytest.mark.parametrize(
    "other",
    [
        look,
        hit_of_nothing,
        wait_for_nothing,
        refunded,
        of_another_key,
        of_another_limit,
        of_another_scope,
        of_a_reservation,
        made_by_hand,
    ],
)
async def test_what_did_not_charge_this_key_of_this_limit_gives_nothing_back(
    limiter: Limiter, other: Callable[[Limiter], Awaitable[Decision]]
) -> None:
    await limiter.hit("10/hour", "ann", cost=5)
    before = await spent(limiter)
    told = await limiter.refund("10/hour", "ann", charged=await other(limiter))
    assert (before, await spent(limiter), told.remaining) == (5, 5, 5)


@pytest.mark.parametrize("quota", RATES, ids=name)
async def test_no_quota_gives_back_more_than_it_charged(store: Any, quota: Quota) -> None:
    app, key = Quart(__name__), who()
    limiter = Limiter(app=app, store=store)
    async with app.app_context():
        await limiter.hit(quota, key, cost=5)
        for charged in [await limiter.hit(quota, key), await limiter.peek(quota, key)]:
            for cost in (1, 1, 100):
                await limiter.refund(quota, key, charged=charged, cost=cost)
        assert (await limiter.peek(quota, key)).remaining == 5


async def test_what_a_wait_charged_is_given_back_once(limiter: Limiter) -> None:
    await limiter.hit("10/hour", "ann", cost=5)
    charged = await limiter.wait("10/hour", "ann", seconds=0, cost=2)
    for _ in range(2):
        await limiter.refund("10/hour", "ann", charged=charged, cost=2)
    assert await spent(limiter) == 5


async def test_each_limit_of_a_text_is_given_back_once(limiter: Limiter) -> None:
    both = "10/hour;10/day"
    await limiter.hit(both, "ann", cost=5)
    charged = await limiter.hit(both, "ann", cost=2)
    await limiter.refund("10/day", "ann", charged=charged, cost=2)
    assert [await spent(limiter, one) for one in ("10/hour", "10/day")] == [7, 5]
    await limiter.refund(both, "ann", charged=charged, cost=2)
    assert [await spent(limiter, one) for one in ("10/hour", "10/day")] == [5, 5]


async def test_a_refund_that_failed_is_not_carried_out_a_second_time() -> None:
    moody, app = Moody(), Quart(__name__)
    limiter = Limiter(app=app, store=GuardedStore(moody, policy="raise"))
    async with app.app_context():
        await limiter.hit("10/hour", "ann", cost=5)
        charged = await limiter.hit("10/hour", "ann")
        moody.error = StoreError("away")
        with pytest.raises(StoreError):
            await limiter.refund("10/hour", "ann", charged=charged)
        moody.error = None
        await limiter.refund("10/hour", "ann", charged=charged)
        assert await spent(limiter) == 6


async def test_what_this_worker_counted_is_given_back_once() -> None:
    moody, app = Moody(), Quart(__name__)
    limiter = Limiter(app=app, store=GuardedStore(moody), in_memory_fallback=["1000/minute"])
    async with app.app_context():
        moody.error = StoreError("away")
        await limiter.hit("10/hour", "ann", cost=5)
        charged = await limiter.hit("10/hour", "ann")
        for _ in range(3):
            await limiter.refund("10/hour", "ann", charged=charged)
        assert (charged.by, await spent(limiter)) == ("local", 5)
