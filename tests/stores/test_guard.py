"""The breaker and the policies, around a store that fails when it is told to."""

import logging
from collections.abc import Sequence

import pytest

from quart_ratelimit import ConfigurationError, Decision, FixedWindow, Hit, StoreError
from quart_ratelimit.errors import StoreOverloaded
from quart_ratelimit.stores import GuardedStore, MemoryStore, RedisStore

from ..support.stores import guarded

QUOTA = FixedWindow(2, 60)


async def test_while_the_store_answers_its_decisions_stand() -> None:
    guard, _, _ = guarded()
    assert [(await guard.hit([Hit(QUOTA, "ann")]))[0].by for _ in range(3)] == ["store"] * 3


@pytest.mark.parametrize(
    ("policy", "allowed"),
    [("open", [True] * 4), ("closed", [False] * 4), ("local", [True, True, False, False])],
)
async def test_without_the_store_the_policy_decides_and_says_so(
    policy: str, allowed: list[bool]
) -> None:
    guard, store, _ = guarded(policy)
    store.error = StoreError("away")
    answers = [(await guard.hit([Hit(QUOTA, "ann")]))[0] for _ in range(4)]
    assert [answer.allowed for answer in answers] == allowed
    assert {answer.by for answer in answers} == {policy}


async def test_a_worker_counts_on_from_what_the_store_last_said() -> None:
    guard, store, _ = guarded()
    assert (await guard.hit([Hit(QUOTA, "ann")]))[0].remaining == 1
    store.error = StoreError("away")
    answers = [(await guard.hit([Hit(QUOTA, "ann")]))[0] for _ in range(3)]
    assert [answer.allowed for answer in answers] == [True, False, False]
    assert (await guard.hit([Hit(QUOTA, "bob")]))[0].remaining == 1


async def test_a_client_that_was_refused_stays_refused_when_the_store_goes_away() -> None:
    guard, store, _ = guarded()
    for _ in range(3):
        await guard.hit([Hit(QUOTA, "ann")])
    store.error = StoreError("away")
    assert not (await guard.hit([Hit(QUOTA, "ann")]))[0].allowed


@pytest.mark.parametrize("policy", ["open", "closed", "local"])
async def test_the_policy_decides_all_limits_of_a_request(policy: str) -> None:
    guard, store, _ = guarded(policy)
    store.error = StoreError("away")
    hits = [Hit(QUOTA, "ann"), Hit(QUOTA, "bob"), Hit(FixedWindow(9, 60), "ann")]
    assert [decision.by for decision in await guard.hit(hits)] == [policy] * 3


async def test_under_the_policy_raise_the_caller_decides() -> None:
    guard, store, _ = guarded("raise")
    store.error = StoreError("away")
    with pytest.raises(StoreError, match="is away"):
        await guard.hit([Hit(QUOTA, "ann")])


async def test_after_five_failures_only_one_call_in_each_pause_asks() -> None:
    guard, store, clock = guarded()
    store.error = StoreError("away")
    for _ in range(50):
        await guard.hit([Hit(QUOTA, "ann")])
    assert store.asked == 5
    for _ in range(100):
        clock.now += 10
        await guard.hit([Hit(QUOTA, "ann")])
    assert 7 <= store.asked <= 8  # at 0.25 s and, the pause doubled, at 0.75 s


async def test_the_pause_grows_to_a_second_and_no_longer() -> None:
    guard, store, clock = guarded()
    store.error = StoreError("away")
    for _ in range(5):
        await guard.hit([Hit(QUOTA, "ann")])
    clock.now += 10_000
    for _ in range(1_000):
        clock.now += 10
        await guard.hit([Hit(QUOTA, "ann")])
    before = store.asked
    for _ in range(1_000):
        clock.now += 10
        await guard.hit([Hit(QUOTA, "ann")])
    assert 10 <= store.asked - before <= 12


async def test_counting_resumes_within_a_second_of_the_stores_return(
    caplog: pytest.LogCaptureFixture,
) -> None:
    guard, store, clock = guarded()
    store.error = StoreError("away")
    for _ in range(200):
        clock.now += 50
        await guard.hit([Hit(QUOTA, "ann")])
    store.error = None
    back = clock.now
    with caplog.at_level(logging.WARNING):
        while (await guard.hit([Hit(QUOTA, "ann")]))[0].by != "store":
            clock.now += 10
    assert clock.now - back <= 1_000
    assert "answers again" in caplog.text


async def test_an_outage_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    guard, store, _ = guarded()
    store.error = StoreError("away")
    with caplog.at_level(logging.WARNING):
        for _ in range(50):
            await guard.hit([Hit(QUOTA, "ann")])
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_overload_never_opens_the_door_nor_the_breaker() -> None:
    guard, store, _ = guarded("open")
    store.error = StoreOverloaded("full")
    for _ in range(20):
        (decision,) = await guard.hit([Hit(QUOTA, "ann")])
        assert (decision.allowed, decision.by) == (False, "closed")
    assert store.asked == 20


async def test_a_store_that_is_away_at_start_is_logged_and_the_app_starts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    guard, store, _ = guarded()
    store.error = StoreError("away")
    with caplog.at_level(logging.WARNING):
        await guard.start()
    assert "does not answer yet: away" in caplog.text


def test_an_unknown_policy_is_named_with_the_right_ones() -> None:
    with pytest.raises(ConfigurationError, match="'ajar' is not a policy; write one of open"):
        GuardedStore(MemoryStore(), policy="ajar")


async def test_a_redis_store_with_a_hit_of_its_own_is_asked_by_that() -> None:
    class OpenAPINote(RedisStore):
        async def hit(self, hits: Sequence[Hit]) -> list[Decision]:
            return [Decision(True, 7, 0, 0) for _ in hits]

    guard = GuardedStore(OpenAPINote("redis://127.0.0.1:1"), policy="closed")
    (decision,) = await guard.hit([Hit(FixedWindow(10, 60), "ann")])
    assert (decision.remaining, decision.by) == (7, "store")
