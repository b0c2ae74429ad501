"""The notation of limits: what it reads, and what its errors say."""

import functools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quart_ratelimit import GCRA, FixedWindow, InvalidLimit
from quart_ratelimit.quotas.quota import UNITS
from quart_ratelimit.rules.notation import parse_many

from ..fuzz import notation as fuzz

read = functools.partial(parse_many, quota=FixedWindow)


@pytest.mark.parametrize(
    ("text", "amount", "period"),
    [
        ("10/minute", 10, 60),
        ("10 per minute", 10, 60),
        ("10per minute", 10, 60),
        ("100 per 5 minutes", 100, 300),
        ("100/5minutes", 100, 300),
        ("1/Second", 1, 1),
        ("10/s", 10, 1),
        ("10/min", 10, 60),
        ("10/h", 10, 3_600),
        ("10/d", 10, 86_400),
        ("1/week", 1, 604_800),
        ("2/months", 2, 2_592_000),
        ("1/year", 1, 31_104_000),
    ],
)
def test_a_limit_is_read(text: str, amount: int, period: int) -> None:
    (quota,) = read(text)
    assert (quota.amount, quota.period) == (amount, period)


@pytest.mark.parametrize("separator", [";", ",", "|", " ; "])
def test_several_limits_are_read_in_their_order(separator: str) -> None:
    assert [str(q) for q in read(f"1/second{separator}1000/day")] == [
        "1 per 1 second",
        "1000 per 1 day",
    ]


@pytest.mark.parametrize(
    "text",
    [
        *("10/fortnight", "0/minute", "10/0 minutes", "-1/s", "", " ", "ten/minute", "10", "10/"),
        *("10/minute;", "10//minute", "1.5/minute", "１０/minute", "10/minute and 5/s", "9" * 30),
        *(
            "10/minute burst",
            "10/minute burst 0",
            "10/minuteburst 5",
            "burst 5",
            "10 burst 5/minute",
        ),
    ],
)
def test_what_is_no_limit_is_named_with_the_right_form(text: str) -> None:
    with pytest.raises(InvalidLimit) as caught:
        read(text)
    assert repr(text) in str(caught.value)
    assert "write '10/minute'" in str(caught.value)


@pytest.mark.parametrize("text", [f"{2**53}/minute", "1 per 10001 years"])
def test_what_cannot_be_counted_exactly_is_no_limit(text: str) -> None:
    with pytest.raises(InvalidLimit, match="is too large: at most") as caught:
        read(text)
    assert repr(text) in str(caught.value)


def test_a_limit_that_is_no_text_is_named() -> None:
    with pytest.raises(InvalidLimit, match="10 is not a limit"):
        read(10)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["100/minute burst 20", "100 per 1 Minutes  BURST 20 "])
def test_a_burst_makes_a_token_bucket_whatever_the_strategy(text: str) -> None:
    assert read(text) == [GCRA(100, 60, burst=20)]
    assert str(read(text)[0]) == "100 per 1 minute burst 20"
    assert read(str(read(text)[0])) == read(text)


def test_a_burst_of_the_whole_amount_is_written_too() -> None:
    """Without it the text would name a window."""
    assert str(read("10/minute burst 10")[0]) == "10 per 1 minute burst 10"


def test_each_limit_has_its_own_burst() -> None:
    assert read("10/second burst 3; 100/day") == [GCRA(10, 1, burst=3), FixedWindow(100, 86_400)]


@given(st.integers(1, 10**15), st.integers(1, 1000), st.sampled_from(list(UNITS)))
def test_a_quota_reads_back_as_it_is_written(amount: int, multiples: int, unit: str) -> None:
    (quota,) = read(f"{amount} per {multiples} {unit}")
    assert str(quota) == f"{amount} per {multiples} {unit}"
    assert read(str(quota)) == [quota]


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        quotas = read(text)
    except InvalidLimit:
        return
    assert all(quota.amount > 0 and quota.period > 0 for quota in quotas)


def test_random_limits_are_read_as_they_were_meant_or_refused(
    tell: Callable[[int, str], None],
) -> None:
    """Whatever is read is written and read again as the same; the longest text takes no time."""
    counts = fuzz.run(20_000, seed=11)
    assert len(counts) == 4
    assert min(counts.values()) > 500
    tell(counts.total(), "limits")


@pytest.mark.slow
def test_a_million_random_limits(tell: Callable[[int, str], None]) -> None:
    tell(fuzz.run(1_000_000, seed=12).total(), "limits")
