"""What the contract does not ask of the memory store: how it forgets, and whom it must not."""

import gc
import itertools

import pytest

from quart_ratelimit import ConfigurationError, FixedWindow, Hit
from quart_ratelimit.quotas import GCRA, MovingWindow, SlidingWindow, StrictWindow
from quart_ratelimit.stores import MemoryStore
from quart_ratelimit.stores.memory import SAMPLE, SHARDS, SWEPT_PER_NEW, fitted

QUOTA = FixedWindow(2, 60)
NOW = 1_800_000_000_000


def test_keys_that_are_over_are_forgotten_by_what_comes_after() -> None:
    store = MemoryStore()
    for number in range(10_000):
        store.decide([Hit(QUOTA, f"old-{number}")], NOW)
    for number in range(10_000):
        store.decide([Hit(QUOTA, f"new-{number}")], NOW + 60_000)
    assert 10_000 <= len(store) <= 10_300


def test_a_hit_looks_at_few_keys_however_many_there_are() -> None:
    """The sweep of one shard is paid for by as many writes: no hit stalls the event loop."""
    counted: list[int] = []

    class Counting(MovingWindow):
        __slots__ = ()

        def advance(self, state, now_ms, hit):  # type: ignore[no-untyped-def]
            counted[-1] += 1
            return MovingWindow.advance(self, state, now_ms, hit)

    store, quota = MemoryStore(), Counting(5, 60)
    for number in range(100_000):
        counted.append(0)
        store.decide([Hit(quota, f"k{number}")], NOW)
    assert max(counted) <= 200
    assert sum(counted) <= 4 * len(counted)


def test_a_full_store_gives_a_new_client_the_place_of_one_with_most_left() -> None:
    store = MemoryStore(max_keys=2_000)
    for number in range(1_000):
        for _ in range(2):
            store.decide([Hit(QUOTA, f"refused-{number}")], NOW)
    for number in range(20_000):
        assert store.decide([Hit(QUOTA, f"junk-{number}")], NOW)[0].allowed
    assert len(store) <= 2_000 + 1_024
    refused = [store.decide([Hit(QUOTA, f"refused-{n}")], NOW)[0] for n in range(1_000)]
    assert not any(refused)


def test_the_garbage_collector_passes_the_states_by() -> None:
    """A full collection that looked into each would stop the event loop for long."""
    store = MemoryStore()
    quotas = (QUOTA, GCRA(2, 60), SlidingWindow(2, 60), StrictWindow(2, 60))
    for quota in quotas:  # makes its table, whose parts Python 3.14 does track
        store.decide([Hit(quota, "first")], NOW)
    gc.collect()
    before = len(gc.get_objects())
    for quota in quotas:
        for number in range(2_000):
            store.decide([Hit(quota, f"k{number}")], NOW)
    assert len(gc.get_objects()) - before < 100


def test_a_full_store_shrinks_to_its_bound_again() -> None:
    """What was paid for in full may exceed the bound, and makes room once it is over."""
    store = MemoryStore(max_keys=1_000)
    for number in range(3_000):
        for _ in range(2):
            store.decide([Hit(QUOTA, f"spent-{number}")], NOW)
    assert len(store) == 3_000
    for number in range(20_000):
        store.decide([Hit(QUOTA, f"new-{number}")], NOW + 60_000)
    assert len(store) <= 1_000 + 1_024


def in_one_shard(count: int) -> list[str]:
    """Keys that are spread over nothing: only these make room for each other."""
    shard = hash("k0") & (SHARDS - 1)
    names = (f"k{number}" for number in itertools.count())
    return list(itertools.islice((n for n in names if hash(n) & (SHARDS - 1) == shard), count))


def test_of_the_keys_that_are_looked_at_the_one_with_most_left_makes_room() -> None:
    store, nine = MemoryStore(max_keys=4), FixedWindow(9, 60)
    *old, new = in_one_shard(5)
    used = dict(zip(old, (1, 9, 3, 2), strict=True))
    for key, cost in used.items():
        store.decide([Hit(nine, key, cost)], NOW)
    store.decide([Hit(nine, new)], NOW)
    forgotten = [key for key in old if store.state(Hit(nine, key)) is None]
    assert [used[key] for key in forgotten] == [1]


def test_few_keys_are_looked_at_to_make_room() -> None:
    looks: list[str] = []

    class Counting(FixedWindow):
        __slots__ = ()

        def advance(self, state, now_ms, hit):  # type: ignore[no-untyped-def]
            looks.append(hit.key)
            return FixedWindow.advance(self, state, now_ms, hit)

    store, quota = MemoryStore(max_keys=300), Counting(2, 60)
    for key in in_one_shard(400):
        looks.clear()
        store.decide([Hit(quota, key)], NOW)
        assert len(looks) <= SAMPLE + SWEPT_PER_NEW + 1
    assert len(store) == 300


def test_keys_that_are_adopted_make_the_store_forget_what_is_over() -> None:
    store = MemoryStore()
    for key in in_one_shard(20):
        store.decide([Hit(QUOTA, key)], NOW)
    state, _ = QUOTA.advance(None, NOW + 60_000, Hit(QUOTA, "ann"))
    for number in range(2 * SHARDS):
        store.adopt(Hit(QUOTA, f"new-{number}"), state, NOW + 60_000)
    assert len(store) == 2 * SHARDS


def test_a_bound_that_holds_nothing_is_named() -> None:
    with pytest.raises(ConfigurationError, match="max_keys=0"):
        MemoryStore(max_keys=0)


def test_a_look_finds_a_refusal_and_charges_nothing() -> None:
    now = [NOW]
    store, other = MemoryStore(now_ms=lambda: now[0]), Hit(QUOTA, "bob")
    hit = Hit(QUOTA, "ann", 2)
    assert store.known_refusal([hit]) is None
    store.decide([hit], NOW)
    for _ in range(2):
        refused = store.known_refusal([hit, other])
        assert refused is not None
        assert [each.allowed for each in refused] == [False, True]
        assert refused[0].retry_ms == 60_000
    assert store.known_refusal([hit._replace(cost=0)]) == [refused[0]]
    assert store.known_refusal([hit._replace(forced=True)]) is None
    assert store.known_refusal([hit._replace(cost=-1)]) is None
    now[0] += 60_000
    assert store.known_refusal([hit]) is None


def test_late_charges_of_one_call_take_what_is_left_and_refuse_nothing() -> None:
    store, other = MemoryStore(), FixedWindow(9, 60)
    store.decide([Hit(QUOTA, "ann")], NOW)
    (alone,) = store.decide([Hit(other, "bob", 5, late=True)], NOW)
    (again,) = store.decide([Hit(other, "bob", 5, late=True)], NOW)
    assert [(each.allowed, each.remaining) for each in (alone, again)] == [(True, 4), (True, 0)]
    late = [Hit(QUOTA, "ann", 5, late=True), Hit(other, "ann", 5, late=True)]
    decisions = store.decide([*late, late[1]], NOW)
    assert [(each.allowed, each.remaining) for each in decisions] == [
        (True, 0),
        (True, 4),
        (True, 0),
    ]
    (back,) = store.decide([Hit(other, "ann", -1, at_ms=NOW)], NOW)
    assert back.remaining == 1  # no more was charged than there was room for


async def test_what_is_forgotten_is_counted() -> None:
    store, minute = MemoryStore(), FixedWindow(9, 60, aligned=True)
    for name in ("ann", "bob", "cat"):
        store.decide([Hit(QUOTA, name), Hit(minute, name)], NOW)
    assert (
        await store.reset([Hit(QUOTA, "ann"), Hit(QUOTA, "dan"), Hit(FixedWindow(1, 1), "ann")])
        == 1
    )
    assert len(store) == 5
    assert await store.clear(lambda key: key == "ann") == 1
    assert await store.clear(lambda key: key != "bob") == 2
    assert (len(store), await store.clear(), len(store)) == (2, 2, 0)


def test_a_state_is_the_one_that_was_adopted() -> None:
    store, hit = MemoryStore(), Hit(QUOTA, "ann")
    assert store.state(hit) is None
    state, _ = QUOTA.advance(None, NOW, hit)
    store.adopt(hit, state, NOW)
    assert store.state(hit) == state
    assert store.state(Hit(QUOTA, "bob")) is None
    store.adopt(hit, None, NOW)
    assert (store.state(hit), len(store)) == (None, 0)


def test_a_late_charge_is_no_more_than_there_is_room_for() -> None:
    nine, late = FixedWindow(9, 60), Hit(FixedWindow(9, 60), "ann", 5, late=True)
    state, _ = nine.advance(None, NOW, Hit(nine, "ann", 6))
    assert fitted(late, state, NOW) == late._replace(cost=3, forced=True)
    assert fitted(late, state, NOW).forced is True
    assert fitted(late, None, NOW) == late._replace(forced=True)
