"""What a worker knows of a store's counters: the store's decisions replace it, a reset ends it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from quart_ratelimit import Decision, Hit, Quota, StoreError
from quart_ratelimit.quotas import Concurrency, FixedWindow, Penalty
from quart_ratelimit.stores import Breaker, GuardedStore, MemoryStore, knowledge

from ..support.algorithms import ALL, RATES, name
from ..support.stores import Clock, Moody, hit

NOW = 1_800_000_012_345
FIVE, HUNDRED = FixedWindow(5, 3600, aligned=True), FixedWindow(100, 3600, aligned=True)

Invalidate = Callable[[GuardedStore, Hit], Awaitable[object]]


class Held(Moody):
    """A store that decides at once and replies when it is told to."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        super().__init__(now_ms=now_ms)
        self.may_reply = asyncio.Event()
        self.may_reply.set()

    async def hit(self, hits: Sequence[Hit]) -> list[Decision]:
        decisions = await super().hit(hits)
        await self.may_reply.wait()
        return decisions


class Worker:
    """A guarded store of one worker, whose Redis comes and goes."""

    def __init__(self, remember_ms: int = 0) -> None:
        self.clock = Clock()
        self.redis = Held(lambda: NOW + self.clock.now)
        local = MemoryStore(now_ms=lambda: NOW + self.clock.now)
        self.guard = GuardedStore(
            self.redis,
            local=local,
            breaker=Breaker(now_ms=self.clock),
            remember_ms=remember_ms,
            now_ms=self.clock,
        )

    def away(self) -> None:
        self.redis.error = StoreError("away")

    def back(self) -> None:
        self.redis.error = None
        self.clock.now += 2_000  # past the breaker's pause

    async def charged(self) -> None:
        """Wait until what was counted here is charged in the store."""
        while (task := self.guard._payer._task) is not None:
            await asyncio.wait([task])

    async def hit(self, quota: Quota, times: int = 1, key: str = "ann") -> list[Decision]:
        return [(await self.guard.hit([hit(quota, key)]))[0] for _ in range(times)]

    async def allowed(self, quota: Quota, times: int = 1, key: str = "ann") -> int:
        return sum(map(bool, await self.hit(quota, times, key)))

    async def elsewhere(self, quota: Quota, times: int) -> None:
        """Hits by other workers."""
        for _ in range(times):
            await MemoryStore.hit(self.redis, [hit(quota, "ann")])


# An outage counts on from the store's last word


@pytest.mark.parametrize("quota", ALL, ids=name)
async def test_a_second_outage_counts_on_from_what_the_store_said_between(quota: Quota) -> None:
    worker = Worker()
    await worker.hit(quota)
    worker.away()
    assert {decision.by for decision in await worker.hit(quota)} == {"local"}
    worker.back()
    await worker.elsewhere(quota, 10)
    assert await worker.allowed(quota, 20) == 0
    worker.away()
    decisions = await worker.hit(quota, 20)
    assert {decision.by for decision in decisions} == {"local"}
    assert not any(decisions)


@pytest.mark.parametrize("quota", RATES, ids=name)
async def test_a_second_outage_knows_what_came_back_between(quota: Quota) -> None:
    worker = Worker()
    await worker.hit(quota)
    worker.away()
    await worker.hit(quota, 20)
    worker.back()
    await worker.hit(quota)
    await worker.charged()
    await worker.redis.clear()  # by another worker
    (look,) = await worker.guard.hit([hit(quota, "ann", 0)])
    assert (look.by, look.remaining) == ("store", 10)
    worker.away()
    assert await worker.allowed(quota, 20) == 10


async def test_without_a_word_from_the_store_an_outage_counts_on_from_the_one_before() -> None:
    worker = Worker()
    worker.away()
    assert await worker.allowed(HUNDRED, 60) == 60
    worker.back()
    await worker.hit(HUNDRED, key="bob")
    worker.away()
    assert await worker.allowed(HUNDRED, 60) == 40


async def test_limits_that_share_a_counter_share_what_is_known_of_it() -> None:
    for first, second in ((FIVE, HUNDRED), (HUNDRED, FIVE)):
        worker = Worker()
        await worker.elsewhere(HUNDRED, 100)
        await worker.hit(first)
        await worker.hit(second)
        worker.away()
        assert await worker.allowed(FIVE) == 0
        assert await worker.allowed(HUNDRED, 100) == 0


async def test_a_limit_with_nothing_left_does_not_hide_what_a_larger_one_knows() -> None:
    worker = Worker()
    await worker.elsewhere(HUNDRED, 63)
    await worker.hit(HUNDRED)
    await worker.hit(FIVE, 3)  # refused: at least 5 are used
    for _ in range(2):
        worker.away()
        assert await worker.allowed(FIVE) == 0
        (look,) = await worker.guard.hit([hit(HUNDRED, "ann", 0)])
        assert (look.by, look.remaining) == ("local", 36)
        worker.back()
        await worker.hit(FIVE)
        (look,) = await worker.guard.hit([hit(HUNDRED, "ann", 0)])
        assert look.remaining == 36


async def test_a_limit_with_nothing_left_says_more_than_a_larger_one_said_before() -> None:
    worker = Worker()
    await worker.hit(HUNDRED)
    await worker.elsewhere(HUNDRED, 10)
    await worker.hit(FIVE)
    worker.away()
    assert await worker.allowed(HUNDRED, 100) == 95


async def test_a_word_of_a_window_that_is_over_hides_no_newer_one() -> None:
    worker = Worker()
    await worker.elsewhere(HUNDRED, 63)
    await worker.hit(HUNDRED)
    worker.clock.now += 3_600_000
    await worker.hit(FIVE, 6)
    worker.away()
    assert await worker.allowed(FIVE) == 0
    assert await worker.allowed(HUNDRED, 100) == 95


# A reset, a clear and a give-back invalidate it


async def reset(guard: GuardedStore, charged: Hit) -> object:
    return await guard.reset([charged])


async def clear(guard: GuardedStore, charged: Hit) -> object:
    return await guard.clear()


@pytest.mark.parametrize("invalidate", [reset, clear])
@pytest.mark.parametrize("quota", ALL, ids=name)
async def test_an_outage_after_a_reset_starts_anew(quota: Quota, invalidate: Invalidate) -> None:
    worker = Worker(remember_ms=1_000)
    await worker.hit(quota, 12)
    await invalidate(worker.guard, hit(quota, "ann"))
    worker.away()
    assert await worker.allowed(quota, 12) == 10


@pytest.mark.parametrize("invalidate", [reset, clear])
async def test_a_reset_by_one_limit_is_one_of_all_that_share_its_counter(
    invalidate: Invalidate,
) -> None:
    worker = Worker(remember_ms=1_000)
    await worker.hit(FIVE, 6)
    await invalidate(worker.guard, hit(HUNDRED, "ann"))
    assert await worker.allowed(FIVE) == 1
    await worker.hit(FIVE, 6)
    await invalidate(worker.guard, hit(HUNDRED, "ann"))
    worker.away()
    assert await worker.allowed(FIVE, 6) == 5


@pytest.mark.parametrize("invalidate", [reset, clear])
async def test_a_reset_during_an_outage_starts_anew_in_this_worker(invalidate: Invalidate) -> None:
    worker = Worker(remember_ms=1_000)
    await worker.hit(FIVE, 6)
    worker.away()
    await worker.hit(FIVE, 6)
    await invalidate(worker.guard, hit(FIVE, "ann"))
    assert await worker.allowed(FIVE, 6) == 5


@pytest.mark.parametrize("invalidate", [reset, clear])
@pytest.mark.parametrize("quota", RATES, ids=name)
async def test_a_refusal_under_way_does_not_undo_a_reset(
    quota: Quota, invalidate: Invalidate
) -> None:
    worker = Worker(remember_ms=1_000)
    await worker.hit(quota, 10)
    worker.redis.may_reply.clear()
    under_way = asyncio.ensure_future(worker.hit(quota))
    await asyncio.sleep(0)
    await invalidate(worker.guard, hit(quota, "ann"))
    worker.redis.may_reply.set()
    (refused,) = await under_way
    assert not refused.allowed
    assert await worker.allowed(quota) == 1
    await invalidate(worker.guard, hit(quota, "ann"))
    worker.away()
    assert await worker.allowed(quota, 12) == 10  # nor is it the store's last word


@pytest.mark.parametrize("quota", RATES, ids=name)
async def test_a_refusal_under_way_does_not_undo_a_refund(quota: Quota) -> None:
    worker = Worker(remember_ms=1_000)
    charged = (await worker.hit(quota, 10))[0]
    worker.redis.may_reply.clear()
    refused = asyncio.ensure_future(worker.hit(quota))
    await asyncio.sleep(0)
    back = asyncio.ensure_future(worker.guard.hit([hit(quota, "ann", -1, at_ms=charged.at_ms)]))
    await asyncio.sleep(0)
    worker.redis.may_reply.set()
    await back
    assert not (await refused)[0].allowed
    assert await worker.allowed(quota) == 1


async def test_a_refund_by_one_limit_ends_the_refusal_of_another_that_shares_its_counter() -> None:
    worker = Worker(remember_ms=1_000)
    charged = (await worker.hit(FIVE, 6))[0]
    await worker.guard.hit([hit(HUNDRED, "ann", -1, at_ms=charged.at_ms)])
    assert await worker.allowed(FIVE) == 1


async def test_what_was_given_back_may_be_used_in_an_outage() -> None:
    worker = Worker(remember_ms=1_000)
    charged = (await worker.hit(FIVE, 5))[0]
    await worker.guard.hit([hit(FIVE, "ann", -2, at_ms=charged.at_ms)])
    worker.away()
    assert await worker.allowed(FIVE, 5) == 2


async def test_a_reset_of_one_key_outdates_nothing_of_another() -> None:
    worker = Worker(remember_ms=1_000)
    await worker.hit(FIVE, 5)
    worker.redis.may_reply.clear()
    under_way = asyncio.ensure_future(worker.hit(FIVE))
    await asyncio.sleep(0)
    await worker.guard.reset([hit(FIVE, "bob")])
    worker.redis.may_reply.set()
    await under_way
    assert [decision.by for decision in await worker.hit(FIVE)] == ["memory"]
    worker.away()
    worker.clock.now += 1_000
    assert await worker.allowed(FIVE) == 0


@pytest.mark.parametrize("others", [["bob"] * 3, [f"client-{n}" for n in range(30)], ["x" * 5000]])
async def test_a_reset_is_remembered_among_many(
    others: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(knowledge, "INVALIDATED", 10)
    worker = Worker(remember_ms=1_000)
    await worker.hit(FIVE, 5)
    worker.redis.may_reply.clear()
    under_way = asyncio.ensure_future(worker.hit(FIVE))
    await asyncio.sleep(0)
    for key in ["ann", *others]:
        await worker.guard.reset([hit(FIVE, key)])
    worker.redis.may_reply.set()
    await under_way
    assert await worker.allowed(FIVE) == 1


async def test_a_reset_that_fails_is_one_of_this_worker() -> None:
    class Lost(Held):
        async def reset(self, hits: Sequence[Hit]) -> int:
            raise StoreError("away")

    worker = Worker(remember_ms=1_000)
    await worker.hit(FIVE, 6)
    worker.redis.__class__ = Lost
    with pytest.raises(StoreError):
        await worker.guard.reset([hit(FIVE, "ann")])
    worker.away()
    assert await worker.allowed(FIVE, 6) == 5


# Nothing that a client sends makes it grow


async def test_nothing_is_known_of_a_key_that_is_too_long() -> None:
    worker, key = Worker(remember_ms=1_000), "x" * 5_000_000
    await worker.hit(FIVE, 7, key)
    assert (await worker.hit(FIVE, 1, key))[0].by == "store"
    known = worker.guard._known
    known._keep()
    assert not known._words
    assert not known._refusals


async def test_what_is_known_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knowledge, "REMEMBERED", 10)
    monkeypatch.setattr(knowledge, "REFUSALS", 10)
    worker = Worker(remember_ms=1_000)
    for number in range(300):
        await worker.hit(Penalty(1, 60), 2, f"client-{number}")
        await worker.hit(Concurrency(1, 60), 2, f"client-{number}")
    known = worker.guard._known
    known._keep()
    assert len(known._words) <= 22 + 2 * knowledge.TOGETHER
    assert len(known._refusals) <= 22
