"""The breaker's pauses, and which requests a refusal refuses as well, to the millisecond."""

import random

import pytest

from quart_ratelimit import Decision, FixedWindow, Hit
from quart_ratelimit.errors import StoreAway, StoreError, StoreTimeout
from quart_ratelimit.quotas import GCRA, Concurrency
from quart_ratelimit.stores import Breaker
from quart_ratelimit.stores.breaker import Breakers
from quart_ratelimit.stores.refusals import refusal_of

from ..support.stores import Clock

QUOTA = FixedWindow(5, 60)
NOW = 1_800_000_000_000


def fail(breaker: Breaker, times: int = 1, error: StoreError | None = None) -> int:
    """How long the breaker waits after so many failures."""
    for _ in range(times):
        breaker.failed(breaker.turn, error or StoreError("away"))
    return breaker.wait_ms


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Pauses without jitter, and the number of milliseconds that each jitter is drawn from."""
    drawn: list[int] = []

    def none(stop: int) -> int:
        drawn.append(stop)
        return 0

    monkeypatch.setattr(random, "randrange", none)
    return drawn


def test_pauses_double_up_to_the_longest_and_start_again_after_a_success(full: list[int]) -> None:
    clock = Clock()
    breaker = Breaker(failures=2, first_ms=250, longest_ms=900, now_ms=clock)
    assert [fail(breaker) for _ in range(5)] == [0, 250, 500, 900, 900]
    assert full == [26, 51, 91, 91]
    breaker.succeeded()
    assert [fail(breaker) for _ in range(3)] == [0, 250, 500]


def test_a_breaker_of_another_node_has_the_same_settings(full: list[int]) -> None:
    breaker = Breaker(failures=1, first_ms=40, longest_ms=70, now_ms=Clock()).another()
    assert [fail(breaker) for _ in range(3)] == [40, 70, 70]


def test_a_failure_of_a_call_that_began_before_the_last_one_is_not_counted() -> None:
    breaker = Breaker(now_ms=Clock())
    turn = breaker.turn
    fail(breaker)
    breaker.failed(turn, StoreError("away"))
    assert (breaker.failures, breaker.turn) == (1, turn + 1)


def test_after_a_success_the_breaker_forgets_that_the_store_hung() -> None:
    breaker = Breaker(now_ms=Clock())
    breaker.is_tried = True
    fail(breaker, error=StoreTimeout("too long"))
    assert not breaker.allows()
    breaker.succeeded()
    assert breaker.allows()
    fail(breaker)
    assert breaker.allows()


async def test_a_check_says_how_long_a_node_is_not_called(full: list[int]) -> None:
    breakers = Breakers(Breaker(failures=1, first_ms=250, now_ms=Clock()))

    async def away(_: None) -> None:
        raise StoreError("away")

    with pytest.raises(StoreError):
        await breakers.call("one", away, None)
    breakers.check("another")
    breakers.check(None)
    with pytest.raises(StoreAway) as raised:
        breakers.check("one")
    assert raised.value.wait_ms == 250


def refused(retry_ms: int | None = 700, reset_ms: int = 900) -> Decision:
    return Decision(False, 0, reset_ms, retry_ms, NOW)


@pytest.mark.parametrize(
    ("first", "then", "refuses"),
    [
        (Hit(QUOTA, "ann"), Hit(QUOTA, "ann"), True),
        (Hit(QUOTA, "ann"), Hit(QUOTA, "bob"), False),
        (Hit(QUOTA, "ann"), Hit(FixedWindow(6, 60), "ann"), False),
        (Hit(QUOTA, "ann"), Hit(FixedWindow(6, 60), "bob"), False),
        (Hit(QUOTA, "ann"), Hit(QUOTA, "ann", forced=True), False),
        (Hit(QUOTA, "ann", 0), Hit(QUOTA, "ann", 1), True),
        (Hit(QUOTA, "ann", 1), Hit(QUOTA, "ann", 0), True),
        (Hit(QUOTA, "ann", 2), Hit(QUOTA, "ann", 0), False),
        (Hit(QUOTA, "ann", 2), Hit(QUOTA, "ann", 1), False),
        (Hit(QUOTA, "ann", 2), Hit(QUOTA, "ann", 5), True),
        (Hit(QUOTA, "ann", 2), Hit(QUOTA, "ann", 6), False),
        (Hit(GCRA(5, 60), "ann", 2), Hit(GCRA(5, 60), "ann", 2), True),
        (Hit(GCRA(5, 60), "ann", 2), Hit(GCRA(5, 60), "ann", 3), False),
    ],
)
def test_a_refusal_refuses_what_has_to_wait_as_long(first: Hit, then: Hit, refuses: bool) -> None:
    refusal = refusal_of([first], [refused()], NOW, 1_000)
    assert refusal is not None
    assert refusal.refuses([then]) is refuses
    assert not refusal.refuses([then, then])


def test_a_refusal_is_repeated_with_what_is_left_of_its_times() -> None:
    hits = [Hit(QUOTA, "ann"), Hit(QUOTA, "bob"), Hit(QUOTA, "cat")]
    decisions = [refused(700, 900), refused(None, 50), Decision(True, 3, 900, 0, NOW)]
    refusal = refusal_of(hits, decisions, NOW, 100)
    assert refusal is not None
    assert (refusal.at_ms, refusal.until_ms, refusal.end_ms) == (NOW, NOW + 100, NOW + 700)
    assert refusal.longest is hits[0]
    assert refusal.repeated(NOW + 60) == [
        Decision(False, 0, 840, 640, NOW + 60, "memory"),
        Decision(False, 0, 0, None, NOW + 60, "memory"),
        Decision(True, 3, 840, 0, NOW + 60, "memory"),
    ]
    assert refusal.repeated(NOW + 700)[0].retry_ms == 1


@pytest.mark.parametrize(
    "decision", [refused(None), Decision(True, 1, 900, 0, NOW), refused()._replace(by="local")]
)
def test_what_has_no_end_or_was_not_refused_by_the_store_is_not_repeated(
    decision: Decision,
) -> None:
    assert refusal_of([Hit(QUOTA, "ann")], [decision], NOW, 1_000) is None


def test_a_wait_of_one_millisecond_is_a_wait_and_places_in_flight_are_not_repeated() -> None:
    assert refusal_of([Hit(QUOTA, "ann")], [refused(1)], NOW, 1_000) is not None
    assert refusal_of([Hit(Concurrency(5, 60), "ann")], [refused()], NOW, 1_000) is None
