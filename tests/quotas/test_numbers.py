"""What a quota says of itself, to the unit and to the millisecond; time is a number here."""

import copy
import pickle
from array import array
from collections.abc import Callable, Sequence

import pytest

from quart_ratelimit import Decision, Hit, InvalidLimit
from quart_ratelimit.quotas import (
    GCRA,
    Concurrency,
    FixedWindow,
    MovingWindow,
    Penalty,
    Quota,
    SlidingWindow,
    StrictWindow,
)
from quart_ratelimit.quotas.fixed_window import is_counted
from quart_ratelimit.quotas.quota import (
    LONGEST_PERIOD,
    MAX_EXACT,
    Receipt,
    check_whole,
    longest_wait_ms,
    refused_longest,
    share_of,
    tightness,
)

NOW = 1_800_000_000_000
CLOCK = FixedWindow(3, 60, aligned=True)


@pytest.mark.parametrize(
    ("quota", "spec", "scale", "text"),
    [
        (FixedWindow(3, 60), "fixed_window/3/60000/0", "fixed_window/60000", "3 per 1 minute"),
        (
            FixedWindow(3, 90, aligned=True),
            "fixed_window/3/90000/1",
            "fixed_window/90000",
            "3 per 90 second",
        ),
        (
            SlidingWindow(3, 7_200),
            "sliding_window/3/7200000",
            "sliding_window/7200000",
            "3 per 2 hour",
        ),
        (
            StrictWindow(3, 60, segments=4),
            "strict_window/3/60000/4",
            "strict_window/60000/4",
            "3 per 1 minute",
        ),
        (MovingWindow(3, 1), "moving_window/3/1000", "moving_window/1000", "3 per 1 second"),
        (
            GCRA(6, 60, burst=2),
            "gcra/6/60000/2/1/10000",
            "gcra/60000/10000",
            "6 per 1 minute burst 2",
        ),
        (Concurrency(3, 60), "concurrency/3/60000", "concurrency/60000", "3 at a time"),
        (
            Penalty(3, 60, blocks=(1, 20), forget=9),
            "penalty/3/60000/9000/1000/20000",
            "penalty/60000",
            "a block after 3 per 1 minute",
        ),
    ],
    ids=lambda value: value.algorithm if isinstance(value, Quota) else "",
)
def test_what_the_script_reads_of_a_quota(quota: Quota, spec: str, scale: str, text: str) -> None:
    assert "/".join(map(str, quota.spec())) == spec == quota.tag
    assert "/".join(map(str, quota.scale())) == scale
    assert str(quota) == text
    assert quota.period_ms == quota.period * 1000
    if not isinstance(quota, FixedWindow) or not quota.aligned:
        assert quota.state_key("ann", NOW) == f"ann:{spec}"


def test_the_state_of_a_named_quota_keeps_its_key_when_the_amount_changes() -> None:
    quota = SlidingWindow(3, 60, name="login")
    assert (quota.tag, quota.counter) == (
        "login/sliding_window/3/60000",
        "login/sliding_window/60000",
    )
    assert SlidingWindow(3, 60, name="a", counted_as="b").counter == "b/sliding_window/60000"
    assert quota.counter == SlidingWindow(9, 60, name="login").counter
    assert GCRA(6, 60, name="api").spec()[4:] == (6, 60_000)
    assert GCRA(6, 60, counted_as="api").spec()[4:] == (6, 60_000)
    assert GCRA(6, 60).spec()[4:] == (1, 10_000)
    large = 2**40  # too large for debts of one scale
    assert GCRA(large, 86_400, name="api", burst=2**30).spec()[4:] == (
        large // 2**10,
        84_375,
    )


def test_a_window_by_the_clock_has_the_snippets_key() -> None:
    assert CLOCK.state_key("ann", NOW) == f"ann:{NOW // 60_000}"
    assert CLOCK.counter == "fixed_window/60000"


@pytest.mark.parametrize(
    ("quota", "unit", "multiples"),
    [
        (FixedWindow(1, 604_800), "week", 1),
        (FixedWindow(1, 31_104_000), "year", 1),
        (FixedWindow(1, 120, unit="second"), "second", 120),
        (FixedWindow(1, 90, unit="minute"), "second", 90),
        (FixedWindow(1, 90, unit="fortnight"), "second", 90),
        (FixedWindow(1, 7_200), "hour", 2),
    ],
)
def test_a_period_is_told_in_the_unit_that_it_was_written_in_or_the_largest(
    quota: Quota, unit: str, multiples: int
) -> None:
    assert (quota.unit, quota.multiples, quota.get_expiry()) == (unit, multiples, quota.period)


def test_numbers_that_are_too_large_to_be_exact_are_named() -> None:
    for value, most in ((MAX_EXACT, MAX_EXACT), (1, 1), (LONGEST_PERIOD, LONGEST_PERIOD)):
        check_whole("amount", value, most)
    for value in (0, -1, True, 1.0, "3", None, MAX_EXACT + 1):
        with pytest.raises(InvalidLimit, match="amount="):
            check_whole("amount", value)
    for make in (
        lambda: FixedWindow(1, LONGEST_PERIOD + 1),
        lambda: FixedWindow(MAX_EXACT + 1, 1),
        lambda: SlidingWindow(MAX_EXACT // 60_000 + 1, 60),
        lambda: MovingWindow(1_000_001, 60),
        lambda: StrictWindow(1, 60, segments=7),
        lambda: StrictWindow(1, 2_000, segments=1_001),
        lambda: GCRA(1, 60, burst=0),
        lambda: GCRA(1, LONGEST_PERIOD, burst=10**9),
        lambda: Penalty(1, 60, blocks=()),
        lambda: Penalty(1, 60, blocks=(1, 0)),
        lambda: Penalty(1, 60, blocks=(LONGEST_PERIOD + 1,)),
        lambda: Penalty(1, 60, forget=0),
        lambda: Penalty(1, 60, forget=LONGEST_PERIOD + 1),
        lambda: FixedWindow(1, 60, name="a\n"),
        lambda: FixedWindow(1, 60, name=""),
        lambda: FixedWindow(1, 60, counted_as="ä"),
        lambda: FixedWindow(1, 60, name="n" * 257),
    ):
        with pytest.raises(InvalidLimit):
            make()
    assert SlidingWindow(MAX_EXACT // 60_000, 60).amount == MAX_EXACT // 60_000
    assert MovingWindow(1_000_000, 60).capacity == 1_000_000
    assert StrictWindow(1, 60, segments=1_000).segments == 1_000
    assert FixedWindow(1, LONGEST_PERIOD, name="n" * 256).name == "n" * 256
    assert FixedWindow(MAX_EXACT, 1).amount == MAX_EXACT
    assert GCRA(10, 60).capacity == 10
    assert GCRA(1, 9, burst=MAX_EXACT // 9_000).capacity == MAX_EXACT // 9_000


def test_the_shares_of_all_workers_add_up_and_keep_the_counter() -> None:
    assert [share_of(10, 4, place) for place in range(4)] == [3, 3, 2, 2]
    assert [share_of(2, 4, place) for place in range(4)] == [1, 1, 0, 0]
    shares = [FixedWindow(2, 60).share(4, place) for place in range(4)]
    assert [share and share.amount for share in shares] == [1, 1, None, None]
    assert shares[0] is not None
    assert shares[0].counter == FixedWindow(2, 60).counter


def test_a_share_of_a_token_bucket_has_its_part_of_the_burst_and_of_the_rate() -> None:
    bucket = GCRA(6, 60, burst=5)
    shares = [bucket.share(3, place) for place in range(3)]
    assert [(share.capacity, share.amount, share.period) for share in shares if share] == [
        (2, 6, 180),
        (2, 6, 180),
        (1, 6, 180),
    ]
    small = [GCRA(6, 60, burst=2).share(3, place) for place in range(3)]
    assert [share and (share.capacity, share.period) for share in small] == [
        (1, 120),
        (1, 120),
        None,
    ]
    assert GCRA(6, 60, burst=2).share(6, 5) is None
    assert shares[0] is not None
    assert shares[0].counter == bucket.counter


def test_a_share_that_would_be_too_large_to_be_exact_is_one_unit_less() -> None:
    bucket = GCRA(1, 1, burst=MAX_EXACT // 1_000)
    workers = next(number for number in range(2, 99) if bucket.capacity % number)
    first, last = bucket.share(workers, 0), bucket.share(workers, workers - 1)
    assert first and last  # noqa: PT018  # a worker has a share
    assert first.capacity == last.capacity == bucket.capacity // workers
    assert first.period == last.period == workers


def decision(allowed: bool, remaining: int, reset_ms: int, retry_ms: int | None) -> Decision:
    return Decision(allowed, remaining, reset_ms, retry_ms, NOW)


@pytest.mark.parametrize(
    ("quota", "given", "more_ms"),
    [
        (SlidingWindow(9, 60), decision(True, 4, 50_000, 0), None),
        (SlidingWindow(9, 60), decision(False, 0, 50_000, 700), 700),
        (CLOCK, decision(True, 2, 40_000, 0), 40_000),
        (CLOCK, decision(False, 0, 40_000, 40_000), 40_000),
        (GCRA(60, 60), decision(False, 0, 60_000, 3_000), 3_000),
        (GCRA(60, 60), decision(True, 58, 1_500, 0), 500),
        (GCRA(60, 60), decision(True, 59, 400, 0), 400),
        (GCRA(60, 60, burst=10), decision(True, 9, 1_000, 0), 1_000),
        (GCRA(60, 60, burst=10), decision(True, 8, 1_000, 0), 0),
    ],
)
def test_when_there_is_more_than_a_decision_left(
    quota: Quota, given: Decision, more_ms: int | None
) -> None:
    found = quota.more_ms(given)
    assert (found, type(found)) == (more_ms, type(more_ms))


def test_a_wait_is_told_in_whole_seconds_rounded_up() -> None:
    waits = [decision(False, 0, 9_000, retry).retry_after for retry in (None, 0, 1, 1_000, 1_001)]
    assert waits == [None, 0, 1, 1, 2]


def test_of_several_refusals_the_longest_wait_counts() -> None:
    allowed, short, long, never = (
        decision(True, 1, 0, 0),
        decision(False, 0, 9_000, 5),
        decision(False, 3, 9_000, 8),
        decision(False, 0, 9_000, None),
    )
    hit = Hit(CLOCK, "ann")
    assert longest_wait_ms([]) == longest_wait_ms([allowed]) == 0
    assert longest_wait_ms([allowed, long, short]) == 8
    assert longest_wait_ms([long, never]) is None
    assert refused_longest([(hit, allowed)]) is None
    assert refused_longest([(hit, short), (hit, long), (hit, allowed)]) == (hit, long)
    assert refused_longest([(hit, never), (hit, long)]) == (hit, never)
    assert refused_longest([(hit, long), (hit, never)]) == (hit, never)
    assert min([allowed, long, short], key=tightness) is short


def test_shorter_periods_come_first() -> None:
    assert FixedWindow(9, 59) < FixedWindow(1, 60)
    assert not FixedWindow(1, 60) < FixedWindow(9, 60)


async def nothing(hits: Sequence[Hit], decisions: Sequence[Decision]) -> list[Decision]:
    return []


def test_a_receipt_gives_back_at_most_what_was_charged_and_once() -> None:
    charged = [Hit(CLOCK, "ann", 5), Hit(CLOCK, "bob", 2)]
    decisions = [decision(True, 0, 9_000, 0), decision(True, 1, 9_000, 0)]
    receipt = Receipt(charged, decisions, nothing)
    assert receipt.give_back is nothing
    spent = receipt.spend([Hit(CLOCK, "ann", 3)])
    assert spent == [(Hit(CLOCK, "ann", -3, NOW), decisions[0])]
    spent = receipt.spend([Hit(CLOCK, "ann", 3), Hit(CLOCK, "bob", 1)])
    assert spent == [
        (Hit(CLOCK, "ann", -2, NOW), decisions[0]),
        (Hit(CLOCK, "bob", -1, NOW), decisions[1]),
    ]
    assert receipt.spend([Hit(CLOCK, "ann", 1)]) == []
    assert receipt.spend([Hit(CLOCK, "cat", 1), Hit(FixedWindow(3, 60), "bob", 1)]) == []
    assert len(receipt.spend([Hit(CLOCK, "bob", 9)])) == 1
    assert receipt.spend([Hit(CLOCK, "bob", 9)]) == []


@pytest.mark.parametrize(
    ("by", "given_back"), [("store", 1), ("local", 1), ("open", 0), ("memory", 0)]
)
def test_a_receipt_gives_back_what_was_counted_only(by: str, given_back: int) -> None:
    made = decision(True, 0, 9_000, 0)._replace(by=by)
    receipt = Receipt([Hit(CLOCK, "ann")], [made], nothing)
    assert len(receipt.spend([Hit(CLOCK, "ann")])) == given_back


def test_a_copy_of_a_receipt_gives_back_nothing() -> None:
    receipt = Receipt([Hit(CLOCK, "ann")], [decision(True, 0, 9_000, 0)], nothing)
    assert copy.deepcopy(receipt) is None
    assert pickle.loads(pickle.dumps(receipt)) is None


@pytest.mark.parametrize(
    ("hits", "counted"),
    [
        ([Hit(CLOCK, "ann")], True),
        ([Hit(CLOCK, "ann", 0)], True),
        ([Hit(CLOCK, "ann", 2)], False),
        ([Hit(CLOCK, "ann", -1)], False),
        ([Hit(CLOCK, "ann", forced=True)], False),
        ([Hit(CLOCK, "ann", refundable=True)], False),
        ([Hit(CLOCK, "ann", late=True)], False),
        ([Hit(FixedWindow(3, 60), "ann")], False),
        ([Hit(SlidingWindow(3, 60), "ann")], False),
        ([Hit(CLOCK, "ann"), Hit(CLOCK, "bob")], False),
        ([], False),
    ],
)
def test_what_a_plain_counter_can_decide(hits: list[Hit], counted: bool) -> None:
    assert is_counted(hits) is counted


def test_a_plain_counter_decides_to_the_unit() -> None:
    left = 60_000 - NOW % 60_000
    assert CLOCK.ranked(1, NOW) == (True, 2, left, 0, NOW, "store", None)
    assert CLOCK.ranked(3, NOW) == (True, 0, left, 0, NOW, "store", None)
    assert CLOCK.ranked(4, NOW) == (False, 0, left, left, NOW, "store", None)
    assert CLOCK.seen(0, NOW) == (True, 3, 0, 0, NOW, "store", None)
    assert CLOCK.seen(2, NOW + 1) == (True, 1, left - 1, 0, NOW + 1, "store", None)
    assert CLOCK.seen(3, NOW) == (False, 0, left, left, NOW, "store", None)
    assert CLOCK.seen(9, NOW) == (False, 0, left, left, NOW, "store", None)


def test_places_that_another_store_resumes_are_taken_until_their_leases_end() -> None:
    quota = Concurrency(3, 60)
    state = quota.resume(decision(True, 1, 5_000, 0), NOW)
    assert sorted(state.values()) == [NOW + 5_000] * 2
    assert quota.resume(decision(True, 3, 0, 0), NOW) == {}
    assert quota.heal({"a": NOW + 60_001, "b": NOW}, NOW) == {"a": NOW + 60_000, "b": NOW}


def test_a_penalty_that_another_store_resumes_has_the_same_block() -> None:
    quota = Penalty(3, 60, blocks=(10, 100), forget=1_000)
    assert quota.resume(decision(True, 2, 60_000, 0), NOW) == (NOW, 1, 0, 0)
    assert quota.resume(decision(True, 2, 60_001, 0), NOW)[2] == 1
    block = decision(False, 0, 1_010_000, 10_000)
    assert quota.resume(block, NOW) == (NOW, 0, 1, NOW + 10_000)
    assert quota.resume(decision(False, 0, 1_010_001, 10_001), NOW)[2:] == (2, NOW + 10_001)
    assert quota.resume(decision(False, 0, 1_100_000, 100_000), NOW)[2:] == (2, NOW + 100_000)
    assert quota.resume(decision(True, 3, 500_000, 0), NOW) == (NOW, 0, 1, NOW - 500_000)


def test_a_refused_place_waits_until_enough_leases_end() -> None:
    quota, hit = Concurrency(2, 60), Hit(Concurrency(2, 60), "ann", lease="c")
    held = {"a": NOW + 3_000, "b": NOW + 5_000}
    assert quota.advance(held, NOW, hit)[1] == (False, 0, 5_000, 3_000, NOW, "store", None)
    more = {**held, "forced": NOW + 7_000}
    assert quota.advance(more, NOW, hit)[1] == (False, 0, 7_000, 5_000, NOW, "store", None)
    state, decision = quota.advance(held, NOW + 3_000, hit)
    assert state == {"b": NOW + 5_000, "c": NOW + 63_000}
    assert decision == (True, 0, 60_000, 0, NOW + 3_000, "store", None)


def test_a_log_that_another_store_resumes_ends_as_its_decision_said() -> None:
    quota = MovingWindow(3, 60)
    state = quota.resume(decision(True, 1, 5_000, 0), NOW)
    assert (state.typecode, state.tolist()) == ("q", [NOW - 55_000] * 2)
    assert quota.resume(decision(True, 0, 90_000, 0), NOW).tolist() == [NOW] * 3
    sliding = SlidingWindow(3, 60).resume(decision(True, 1, 5_000, 0), NOW)
    assert sliding == (NOW // 60_000, 2, 0)
    assert type(sliding[0]) is int


def test_a_log_from_the_future_ends_now() -> None:
    quota = MovingWindow(3, 60)
    for before, healed in (
        ([], []),
        ([NOW], [NOW]),
        ([NOW - 1, NOW + 5, NOW + 9], [NOW - 1, NOW, NOW]),
    ):
        assert quota.heal(array("q", before), NOW).tolist() == healed


def test_a_unit_that_has_left_the_period_is_not_given_back() -> None:
    quota = MovingWindow(3, 60)
    log = array("q", [NOW - 60_000, NOW - 60_000, NOW - 1_000, NOW])
    for at_ms, left in ((NOW - 60_000, 1), (NOW - 1_000, 2), (NOW - 500, 1), (NOW, 2)):
        state, given = quota.advance(log, NOW, Hit(quota, "ann", -2, at_ms))
        assert given.remaining == left
        assert len(state) == 3 - left


def test_the_wait_of_a_strict_window_is_a_whole_number() -> None:
    quota = StrictWindow(1, 60, segments=4)
    state, _ = quota.advance(None, NOW, Hit(quota, "ann"))
    wait = quota.advance(state, NOW, Hit(quota, "ann"))[1].retry_ms
    assert (wait, type(wait)) == (75_000 - NOW % 15_000, int)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        *[(lambda kind=kind: kind(0, 60), "amount=0") for kind in (FixedWindow, GCRA)],
        *[(lambda kind=kind: kind(1, 0), "period=0") for kind in (FixedWindow, GCRA)],
        (lambda: GCRA(1, 60, burst=0), "burst=0"),
        (lambda: Penalty(1, 60, blocks=(0,)), "blocks=0"),
        (lambda: Penalty(1, 60, forget=0), "forget=0"),
        (lambda: StrictWindow(1, 60, segments=0), "segments=0"),
    ],
)
def test_the_error_names_the_number_that_is_wrong(make: Callable[[], Quota], named: str) -> None:
    with pytest.raises(InvalidLimit, match=f"^{named} "):
        make()
