"""The history of a limit: its last minute in seconds, and its last hour in minutes."""

from hypothesis import given
from hypothesis import strategies as st

from quart_ratelimit.extension.history import History, packed, series, unpacked


@given(st.lists(st.tuples(st.integers(0, 4000), st.booleans()), max_size=200), st.integers(0, 4000))
def test_a_history_has_what_was_counted_in_the_last_minute_and_hour(
    gaps: list[tuple[int, bool]], pause: int
) -> None:
    history, second, counted = History(), 1_800_000_000, []
    for gap, is_allowed in gaps:
        second += gap % 61 if gap % 3 else gap
        history.add(second, is_allowed=is_allowed)
        counted.append((second, is_allowed))
    second += pause
    found = series(history.seconds(second - 59), second)
    hour = series(history.minutes(second // 60 - 59), second // 60)
    for place in range(60):
        at = second - 59 + place
        assert found[place] == tuple(counted.count((at, allowed)) for allowed in (True, False))
        minute = second // 60 - 59 + place
        expected = [sum(s // 60 == minute and a is b for s, a in counted) for b in (True, False)]
        assert list(hour[place]) == expected


def test_a_clock_that_is_set_back_loses_nothing() -> None:
    history = History()
    for second in (6_000, 6_001, 5_999, 6_000):
        history.add(second, is_allowed=True)
    assert sum(allowed for allowed, _ in series(history.minutes(0), 100)) == 4
    assert series(history.seconds(0), 6_001)[-3:] == [(1, 0), (2, 0), (1, 0)]


@given(st.lists(st.lists(st.integers(0, 2**40), min_size=3, max_size=3)))
def test_what_was_packed_is_unpacked(counts: list[list[int]]) -> None:
    assert unpacked(packed(counts)) == counts
