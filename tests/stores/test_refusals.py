"""What the store refused is refused again from memory, within bounds."""

import asyncio
from collections.abc import Sequence

import pytest

from quart_ratelimit.errors import ConfigurationError
from quart_ratelimit.quotas import GCRA, Concurrency, Decision, FixedWindow, Hit, Quota
from quart_ratelimit.stores import GuardedStore, MemoryStore, knowledge

TWO = FixedWindow(2, 60)
WIDE = FixedWindow(1000, 60)


class Counting(MemoryStore):
    """Notes how often it is asked."""

    def __init__(self, clock: list[int]) -> None:
        super().__init__(now_ms=lambda: clock[0])
        self.asked = 0

    async def hit(self, hits: Sequence[Hit]) -> list[Decision]:
        self.asked += 1
        return await super().hit(hits)


@pytest.fixture
def clock() -> list[int]:
    return [1_000_000]


@pytest.fixture
def inner(clock: list[int]) -> Counting:
    return Counting(clock)


def remembering(inner: MemoryStore, clock: list[int]) -> GuardedStore:
    return GuardedStore(inner, remember_ms=1000, now_ms=lambda: clock[0])


@pytest.fixture
def store(inner: Counting, clock: list[int]) -> GuardedStore:
    return remembering(inner, clock)


async def spend(store: GuardedStore, quota: Quota, key: str = "ann", cost: int = 1) -> None:
    while (await store.hit([Hit(quota, key, cost)]))[0].allowed:
        pass


async def test_a_flood_asks_the_store_once_a_second(
    store: GuardedStore, inner: Counting, clock: list[int]
) -> None:
    await spend(store, TWO)
    asked = inner.asked
    for _ in range(10_000):  # ten seconds
        clock[0] += 1
        assert not (await store.hit([Hit(TWO, "ann")]))[0].allowed
    assert inner.asked - asked == 10


async def test_who_looks_again_and_finds_room_is_charged_once(
    store: GuardedStore, inner: Counting, clock: list[int]
) -> None:
    day = FixedWindow(2, 86_400, aligned=True)
    await spend(store, day)
    await inner.reset([Hit(day, "ann")])  # by another worker
    clock[0] += 1000
    assert [(await store.hit([Hit(day, "ann")]))[0].remaining for _ in range(2)] == [1, 0]


class Waiting(Counting):
    """Answers when it is told to."""

    def __init__(self, clock: list[int]) -> None:
        super().__init__(clock)
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def hit(self, hits: Sequence[Hit]) -> list[Decision]:
        decisions = await super().hit(hits)
        await self.may_answer.wait()
        return decisions


async def refused_a_second_ago(clock: list[int]) -> tuple[Waiting, GuardedStore]:
    inner = Waiting(clock)
    store = remembering(inner, clock)
    await spend(store, TWO)
    clock[0] += 1000
    inner.asked = 0
    inner.may_answer.clear()
    return inner, store


async def test_while_one_request_asks_again_the_others_are_refused(clock: list[int]) -> None:
    inner, store = await refused_a_second_ago(clock)
    callers = [asyncio.ensure_future(store.hit([Hit(TWO, "ann")])) for _ in range(64)]
    await asyncio.sleep(0)
    assert inner.asked == 1
    inner.may_answer.set()
    answers = [decision.by for (decision,) in await asyncio.gather(*callers)]
    assert answers == ["store", *["memory"] * 63]


async def test_a_request_that_asks_again_in_vain_holds_the_others_for_a_moment_only(
    clock: list[int],
) -> None:
    inner, store = await refused_a_second_ago(clock)
    gone = asyncio.ensure_future(store.hit([Hit(TWO, "ann")]))
    await asyncio.sleep(0)
    gone.cancel()
    clock[0] += 49
    assert (await store.hit([Hit(TWO, "ann")]))[0].by == "memory"
    inner.may_answer.set()
    clock[0] += 1
    assert (await store.hit([Hit(TWO, "ann")]))[0].by == "store"


async def test_once_one_request_is_allowed_the_others_ask(clock: list[int]) -> None:
    inner, store = await refused_a_second_ago(clock)
    await inner.clear()  # as another worker may
    inner.may_answer.set()
    assert (await store.hit([Hit(TWO, "ann")]))[0].allowed
    assert (await store.hit([Hit(TWO, "ann")]))[0].by == "store"


async def test_a_refusal_from_memory_counts_down(store: GuardedStore, clock: list[int]) -> None:
    await spend(store, TWO)
    (before,) = await store.hit([Hit(TWO, "ann")])
    clock[0] += 300
    (after,) = await store.hit([Hit(TWO, "ann")])
    assert after.by == "memory"
    assert after.retry_ms == (before.retry_ms or 0) - 300
    assert after.reset_ms == before.reset_ms - 300
    assert after.at_ms == before.at_ms + 300


async def test_the_wait_stays_exact(store: GuardedStore, clock: list[int]) -> None:
    quota = GCRA(10, 1)
    await spend(store, quota)
    (refused,) = await store.hit([Hit(quota, "ann")])
    clock[0] += (refused.retry_ms or 0) - 1
    assert not (await store.hit([Hit(quota, "ann")]))[0].allowed
    clock[0] += 1
    assert (await store.hit([Hit(quota, "ann")]))[0].allowed


async def test_other_clients_and_other_limits_are_asked(
    store: GuardedStore, inner: Counting
) -> None:
    await spend(store, TWO)
    asked = inner.asked
    assert (await store.hit([Hit(TWO, "bob")]))[0].allowed
    assert (await store.hit([Hit(WIDE, "ann")]))[0].allowed
    assert inner.asked == asked + 2


async def test_a_dear_hit_refused_does_not_refuse_a_cheap_one(store: GuardedStore) -> None:
    quota = FixedWindow(10, 60)
    await store.hit([Hit(quota, "ann", 8)])
    assert not (await store.hit([Hit(quota, "ann", 5)]))[0].allowed
    assert (await store.hit([Hit(quota, "ann", 6)]))[0].by == "memory"
    assert (await store.hit([Hit(quota, "ann", 2)]))[0].allowed


async def test_a_dearer_hit_is_told_its_own_wait(store: GuardedStore, clock: list[int]) -> None:
    quota = GCRA(60, 60, burst=10)
    await store.hit([Hit(quota, "ann", 10)])
    assert not (await store.hit([Hit(quota, "ann")]))[0].allowed
    (dear,) = await store.hit([Hit(quota, "ann", 5)])
    assert dear.retry_ms == 5_000
    clock[0] += 5_000
    assert (await store.hit([Hit(quota, "ann", 5)]))[0].allowed


@pytest.mark.parametrize("quota", [GCRA(10, 60), FixedWindow(10, 60)])
async def test_a_hit_that_can_never_be_allowed_is_told_so_after_a_cheap_one_was_refused(
    store: GuardedStore, quota: Quota
) -> None:
    await spend(store, quota)
    assert (await store.hit([Hit(quota, "ann", 11)]))[0].retry_ms is None


async def test_what_is_given_back_is_seen_at_once(store: GuardedStore) -> None:
    (charged,) = await store.hit([Hit(TWO, "ann", 2)])
    assert not (await store.hit([Hit(TWO, "ann")]))[0].allowed
    await store.hit([Hit(TWO, "ann", -1, charged.at_ms)])
    assert (await store.hit([Hit(TWO, "ann")]))[0].allowed


async def test_a_reset_is_seen_at_once_and_one_elsewhere_within_a_second(
    store: GuardedStore, inner: Counting, clock: list[int]
) -> None:
    await spend(store, TWO)
    await store.reset([Hit(TWO, "ann")])
    assert (await store.hit([Hit(TWO, "ann")]))[0].allowed
    await spend(store, TWO)
    await inner.clear()
    clock[0] += 1000
    assert (await store.hit([Hit(TWO, "ann")]))[0].allowed
    await spend(store, TWO)
    await store.clear()
    assert (await store.hit([Hit(TWO, "ann")]))[0].allowed


async def test_of_several_limits_all_are_told_and_none_is_charged(
    store: GuardedStore, inner: Counting
) -> None:
    hits = [Hit(WIDE, "ann"), Hit(TWO, "ann")]
    while all(await store.hit(hits)):
        pass
    wide, two = await store.hit(hits)
    assert (wide.allowed, wide.remaining, two.allowed, two.by) == (True, 998, False, "memory")
    assert (await inner.hit([Hit(WIDE, "ann", 0)]))[0].remaining == 998


async def test_a_forced_charge_is_never_refused(store: GuardedStore) -> None:
    await spend(store, TWO)
    assert (await store.hit([Hit(TWO, "ann", 1, forced=True)]))[0].allowed


async def test_places_in_flight_are_asked_each_time(store: GuardedStore, inner: Counting) -> None:
    one = Concurrency(1, 60)
    assert (await store.hit([Hit(one, "ann", lease="a")]))[0].allowed
    assert not (await store.hit([Hit(one, "ann", lease="b")]))[0].allowed
    await inner.hit([Hit(one, "ann", -1, lease="a")])  # another worker's request ended
    assert (await store.hit([Hit(one, "ann", lease="b")]))[0].allowed


async def test_what_can_never_be_allowed_is_not_remembered(
    store: GuardedStore, inner: Counting
) -> None:
    for _ in range(2):
        assert (await store.hit([Hit(TWO, "ann", 3)]))[0].retry_ms is None
    assert inner.asked == 2


async def test_what_is_remembered_is_bounded(
    inner: Counting, clock: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(knowledge, "REFUSALS", 10)
    store = remembering(inner, clock)
    for number in range(100):
        await spend(store, TWO, f"client-{number}")
    assert len(store._known._refusals) <= 22
    asked = inner.asked
    await store.hit([Hit(TWO, "client-99")])
    assert inner.asked == asked


def test_a_length_below_zero_is_named(inner: Counting) -> None:
    with pytest.raises(ConfigurationError, match="remember_ms=-1 must be 0 or more"):
        GuardedStore(inner, remember_ms=-1)
