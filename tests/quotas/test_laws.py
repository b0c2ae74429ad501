"""What the algorithms promise, as laws over any traffic; time is a number that the test turns."""

import math
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from quart_ratelimit import Decision, Hit, Quota
from quart_ratelimit.quotas import (
    GCRA,
    Concurrency,
    FixedWindow,
    MovingWindow,
    Penalty,
    SlidingWindow,
    StrictWindow,
)
from quart_ratelimit.quotas.quota import LONGEST_PERIOD, MAX_EXACT
from quart_ratelimit.stores import MemoryStore

from ..support.algorithms import RATES

START = 1_800_000_000_000

amounts = st.integers(1, 12)
periods = st.integers(1, 20)
rates = st.one_of(
    st.builds(FixedWindow, amounts, periods),
    st.builds(FixedWindow, amounts, periods, aligned=st.just(True)),
    st.builds(SlidingWindow, amounts, periods),
    st.builds(StrictWindow, amounts, periods, segments=st.sampled_from([1, 4, 10])),
    st.builds(MovingWindow, amounts, periods),
    st.builds(GCRA, amounts, periods, burst=st.integers(1, 12)),
    st.builds(GCRA, amounts, periods, burst=st.integers(1, 12), name=st.just("api")),
)
#: Pauses in ms and costs: crowds, pauses of about a segment, and of about a period.
pauses = st.one_of(st.just(0), st.integers(0, 50), st.integers(0, 3_000), st.integers(0, 25_000))
trails = st.lists(st.tuples(pauses, st.integers(1, 3)), min_size=1, max_size=80)


def walk(quota: Quota, trail: list[tuple[int, int]]) -> list[tuple[int, int, Decision]]:
    """Each hit's time, cost and answer."""
    store, now, steps = MemoryStore(), START, []
    for pause, cost in trail:
        now += pause
        steps.append((now, cost, store.decide([Hit(quota, "ann", cost)], now)[0]))
    return steps


def most_in_a_period(quota: Quota, steps: list[tuple[int, int, Decision]]) -> int:
    """The most units admitted in any trailing period."""
    admitted = [(at, cost) for at, cost, decision in steps if decision]
    return max(
        (
            sum(cost for at, cost in admitted if end - quota.period_ms < at <= end)
            for end, _ in admitted
        ),
        default=0,
    )


def bound(quota: Quota) -> int:
    """What each algorithm's docstring says of its worst case in a trailing period."""
    if isinstance(quota, GCRA):
        return quota.capacity + quota.amount
    if isinstance(quota, (StrictWindow, MovingWindow)):
        return quota.amount
    return 2 * quota.amount


@settings(max_examples=300, deadline=None)
@given(rates, trails)
def test_no_trailing_period_admits_more_than_the_bound(
    quota: Quota, trail: list[tuple[int, int]]
) -> None:
    assert most_in_a_period(quota, walk(quota, trail)) <= bound(quota)


def test_the_bounds_are_met_so_they_say_no_more_than_the_truth() -> None:
    edge = (START // 60_000 + 1) * 60_000 - START
    burst = [(edge - 1, 1), *[(0, 1)] * 9, (1, 1), *[(0, 1)] * 9]
    aligned = FixedWindow(10, 60, aligned=True)
    assert most_in_a_period(aligned, walk(aligned, burst)) == 20
    steady = [(0, 1)] * 10 + [(100, 1)] * 600
    assert most_in_a_period(GCRA(10, 60), walk(GCRA(10, 60), steady)) in (19, 20)
    for exact in (StrictWindow(10, 60), MovingWindow(10, 60)):
        assert most_in_a_period(exact, walk(exact, steady)) == 10


def test_the_weighted_counters_bound_is_nearly_met_by_an_adversary() -> None:
    """All at the end of one window, then steadily as much as it lets through."""
    quota = SlidingWindow(1_000, 60)
    edge = (START // 60_000 + 1) * 60_000 - START
    trail = [(edge - 1, 1), *[(0, 1)] * 999, *[(1, 1)] * 60_000]
    steps = [step for step in walk(quota, trail) if step[2]]
    at = [time for time, _, _ in steps]
    first = at[0]
    assert 1_900 <= sum(first <= time < first + 60_000 for time in at) <= 2_000


@settings(max_examples=300, deadline=None)
@given(rates, trails, st.integers(1, 3))
def test_the_wait_is_exact(quota: Quota, trail: list[tuple[int, int]], cost: int) -> None:
    """Refused until the very millisecond that it was told, allowed from then on."""
    store, now = MemoryStore(), START
    for pause, spent in trail:
        now += pause
        store.decide([Hit(quota, "ann", spent)], now)
    (refused,) = store.decide([Hit(quota, "ann", cost)], now)
    if refused:
        return
    if refused.retry_ms is None:
        assert cost > quota.capacity
        return
    (early,) = store.decide([Hit(quota, "ann", cost)], now + refused.retry_ms - 1)
    assert not early
    (then,) = store.decide([Hit(quota, "ann", cost)], now + refused.retry_ms)
    assert then


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(
        [
            [FixedWindow(3, 20, aligned=True), FixedWindow(8, 20, aligned=True)],
            *[[quota] for quota in RATES],
        ]
    ),
    st.lists(st.tuples(st.sampled_from(["hit", "force", "back"]), st.integers(1, 12)), max_size=40),
    st.data(),
)
def test_a_refund_gives_back_what_was_charged_and_no_more(
    quotas: list[Quota], steps: list[tuple[str, int]], data: st.DataObject
) -> None:
    """At one moment, so that nothing comes back by itself; of limits that share a counter."""
    store, charged, used = MemoryStore(), [], 0
    for what, cost in steps:
        quota = data.draw(st.sampled_from(quotas))
        if what == "back":
            if not charged:
                continue
            back = charged.pop(data.draw(st.integers(0, len(charged) - 1)))
            (decision,) = store.decide([Hit(quota, "ann", -back, at_ms=START)], START)
            used -= back
        else:
            (decision,) = store.decide([Hit(quota, "ann", cost, forced=what == "force")], START)
            if decision:
                charged.append(cost)
                used += cost
        assert decision.remaining == max(0, quota.amount - used)


def test_a_day_by_the_clock_ends_at_midnight_utc() -> None:
    noon = datetime(2026, 3, 29, 12, tzinfo=UTC)
    quota, now = FixedWindow(1, 86_400, aligned=True), int(noon.timestamp() * 1000)
    (decision,) = MemoryStore().decide([Hit(quota, "ann")], now)
    assert decision.reset_ms == timedelta(hours=12) // timedelta(milliseconds=1)


@settings(max_examples=200, deadline=None)
@given(rates, trails)
def test_after_its_reset_a_key_is_as_good_as_never_hit(
    quota: Quota, trail: list[tuple[int, int]]
) -> None:
    store, now = MemoryStore(), START
    for pause, cost in trail:
        now += pause
        (decision,) = store.decide([Hit(quota, "ann", cost)], now)
    later = now + decision.reset_ms
    (look,) = store.decide([Hit(quota, "ann", 0)], later)
    assert (look.remaining, look.reset_ms) == (quota.capacity, 0)


@settings(max_examples=200, deadline=None)
@given(rates, trails)
def test_a_key_that_another_store_resumes_has_as_much_left_and_is_new_no_earlier(
    quota: Quota, trail: list[tuple[int, int]]
) -> None:
    store, now = MemoryStore(), START
    for pause, cost in trail:
        now += pause
        (decision,) = store.decide([Hit(quota, "ann", cost)], now)
    other = MemoryStore()
    hit = Hit(quota, "ann", 0)
    other.adopt(hit, quota.resume(decision, now), now)
    (look,) = other.decide([hit], now)
    assert look.remaining == decision.remaining
    assert look.reset_ms >= decision.reset_ms


@settings(max_examples=200, deadline=None)
@given(rates, trails)
def test_a_refused_hit_changes_nothing(quota: Quota, trail: list[tuple[int, int]]) -> None:
    """The trail without its refused hits gets the same answers."""
    steps = walk(quota, trail)
    allowed = [(at, cost, decision) for at, cost, decision in steps if decision]
    times = [START, *[at for at, _, _ in allowed]]
    again = [(at - before, cost) for (at, cost, _), before in zip(allowed, times, strict=False)]
    assert walk(quota, again) == allowed


@settings(max_examples=200, deadline=None)
@given(
    st.builds(
        GCRA, amounts, periods, burst=st.integers(1, 12), name=st.sampled_from([None, "api"])
    ),
    trails,
)
def test_gcra_admits_in_any_time_at_most_its_burst_and_what_the_rate_gives(
    quota: GCRA, trail: list[tuple[int, int]]
) -> None:
    admitted = [(at, cost) for at, cost, decision in walk(quota, trail) if decision]
    for first, (begin, _) in enumerate(admitted):
        units = 0
        for end, cost in admitted[first:]:
            units += cost
            drained = (end - begin) * quota.amount // quota.period_ms
            assert units <= quota.capacity + drained


@st.composite
def buckets(draw: st.DrawFn) -> GCRA:
    """Any that can be declared, up to the largest numbers."""
    amount = draw(st.integers(1, MAX_EXACT) | st.integers(1, 1_000))
    period = draw(st.integers(1, LONGEST_PERIOD) | st.just(LONGEST_PERIOD))
    unit = period * 1000 // math.gcd(amount, period * 1000)
    burst = draw(st.integers(1, MAX_EXACT // unit) | st.just(MAX_EXACT // unit))
    return GCRA(amount, period, burst=burst, name=draw(st.sampled_from([None, "api"])))


@settings(max_examples=300, deadline=None)
@given(st.one_of(buckets(), rates), st.integers(2, 64))
def test_the_shares_of_any_quota_decide_exactly_and_together_admit_no_more(
    quota: Quota, workers: int
) -> None:
    shares = [quota.share(workers, place) for place in range(workers)]
    own = [share for share in shares if share is not None]
    assert quota.capacity - workers < sum(share.capacity for share in own) <= quota.capacity
    assert len(own) == min(workers, quota.capacity)
    for share in (own[0], own[-1]):
        assert share.counter == quota.counter
        store, hit = MemoryStore(), Hit(share, "ann")
        (full,) = store.decide([hit._replace(cost=share.capacity)], START)
        assert (full.allowed, full.remaining) == (True, 0)
        (refused,) = store.decide([hit], START)
        assert refused.retry_ms is not None
        if isinstance(quota, GCRA):  # the rates of all shares add up
            assert refused.retry_ms == -(-quota.period_ms * len(own) // quota.amount)
        (early,) = store.decide([hit], START + refused.retry_ms - 1)
        (then,) = store.decide([hit], START + refused.retry_ms)
        assert (early.allowed, then.allowed) == (False, True)


jumps = st.one_of(pauses, st.integers(-90_000, -1), st.just(-3_600_000))
leases = st.builds(Concurrency, amounts, periods)
penalties = st.builds(
    Penalty,
    amounts,
    periods,
    blocks=st.lists(st.integers(1, 30), min_size=1, max_size=3),
    forget=st.integers(1, 60),
)


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(rates, leases, penalties),
    st.lists(st.tuples(jumps, st.integers(1, 3), st.sampled_from("uvwxyz")), max_size=60),
)
def test_a_clock_that_goes_back_locks_nobody_out_for_longer_than_full_use_may(
    quota: Quota, trail: list[tuple[int, int, str]]
) -> None:
    longest = quota.period_ms
    if isinstance(quota, SlidingWindow):
        longest = 2 * quota.period_ms
    elif isinstance(quota, StrictWindow):
        longest += quota.period_ms // quota.segments
    elif isinstance(quota, GCRA):
        longest = -(-quota.capacity * quota.period_ms // quota.amount)
    elif isinstance(quota, Penalty):
        longest = max(quota.period_ms, max(quota.blocks) * 1000)
    store, now = MemoryStore(), START
    for jump, cost, lease in trail:
        now += jump
        (decision,) = store.decide([Hit(quota, "ann", cost, lease=lease)], now)
        kept = quota.forget * 1000 if isinstance(quota, Penalty) else 0
        assert decision.reset_ms <= longest + kept
        assert (decision.retry_ms or 0) <= longest


#: A fixed window that starts with a key's first hit may refuse later what it would have allowed
#: had there been more traffic before; these never do.
monotone = st.one_of(
    st.builds(FixedWindow, amounts, periods, aligned=st.just(True)),
    st.builds(SlidingWindow, amounts, periods),
    st.builds(StrictWindow, amounts, periods, segments=st.sampled_from([1, 4, 10])),
    st.builds(MovingWindow, amounts, periods),
    st.builds(GCRA, amounts, periods, burst=st.integers(1, 12)),
    st.builds(GCRA, amounts, periods, burst=st.integers(1, 12), name=st.just("api")),
)


@settings(max_examples=300, deadline=None)
@given(monotone, st.lists(pauses, min_size=2, max_size=60), st.data())
def test_less_traffic_never_refuses_more(
    quota: Quota, trail: list[int], data: st.DataObject
) -> None:
    """Leaving one hit out costs at most its own admission."""
    steps = walk(quota, [(pause, 1) for pause in trail])
    left_out = data.draw(st.integers(0, len(trail) - 2))
    gaps = [*trail]
    pause = gaps.pop(left_out)
    gaps[left_out] += pause
    fewer = walk(quota, [(pause, 1) for pause in gaps])
    assert sum(bool(d) for *_, d in fewer) >= sum(bool(d) for *_, d in steps) - 1
    for (_, _, ours), (_, _, theirs) in zip(fewer[:left_out], steps[:left_out], strict=False):
        assert ours == theirs


def admitted(quota: Quota, seconds: list[int]) -> int:
    gaps = [second - before for second, before in zip(seconds, [0, *seconds], strict=False)]
    return sum(bool(d) for *_, d in walk(quota, [(gap * 1000, 1) for gap in gaps]))


def test_a_window_from_the_first_hit_may_refuse_more_of_less_traffic() -> None:
    """The first hit settles where the windows lie."""
    quota, seconds = FixedWindow(2, 10), [0, 9, 10, 10, 19, 20, 20]
    assert admitted(quota, seconds) == 6
    assert admitted(quota, seconds[1:]) == 4


@settings(max_examples=200, deadline=None)
@given(rates, rates, trails)
def test_a_request_that_one_limit_refuses_charges_no_other(
    first: Quota, second: Quota, trail: list[tuple[int, int]]
) -> None:
    store, now = MemoryStore(), START
    for pause, cost in trail:
        now += pause
        before = store.decide([Hit(first, "a", 0), Hit(second, "b", 0)], now)
        decisions = store.decide([Hit(first, "a", cost), Hit(second, "b", cost)], now)
        after = store.decide([Hit(first, "a", 0), Hit(second, "b", 0)], now)
        if not all(decisions):
            assert after == before
            assert [d.remaining for d in decisions] == [d.remaining for d in before]
