"""A refund gives back what was charged and nothing else; a cost is a whole number."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from quart import Quart

from quart_ratelimit import Decision, InvalidLimit, Limiter, RateLimitExceeded, StoreError
from quart_ratelimit.stores import GuardedStore

from ..support.stores import Moody, store, who

__all__ = ["store"]  # fixtures

STRATEGIES = ["fixed-window", "sliding-window-counter", "moving-window", "gcra"]


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
