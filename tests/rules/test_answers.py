"""Whatever a limit function answers, no request is unlimited by mistake."""

from typing import Any

import pytest

from quart_ratelimit import FixedWindow, InvalidLimit, Limit, Limiter
from quart_ratelimit.quotas import Hit
from quart_ratelimit.rules.answers import LimitAnswers
from quart_ratelimit.rules.notation import STRATEGIES, quotas_of
from quart_ratelimit.stores import MemoryStore, RedisStore


def by_plan() -> str:
    return "5/minute"


MALFORMED: list[Any] = [
    *("5/fortnight", " ", "unlimited", "0", "0/fortnight", "-1/minute", "5/minute;"),
    *(0, False, 5, 0.0, [], {}, b"", b"5/minute", ["5/minute"], object()),
]


@pytest.mark.parametrize("answer", MALFORMED)
def test_a_malformed_answer_is_replaced_by_a_refusal(
    answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    answers = LimitAnswers("fixed-window")
    for _ in range(2):
        assert answers.usable(by_plan, answer, "view") == "0/minute"
    (record,) = caplog.records
    assert "failed to load ratelimit for view: " in record.getMessage()
    assert "by_plan returned it" in record.getMessage()


@pytest.mark.parametrize("answer", MALFORMED)
def test_or_by_the_default_limit_or_by_the_last_good_answer(answer: Any) -> None:
    defaults = [Limit(by_plan), Limit("9/hour"), Limit("9/day")]
    answers = LimitAnswers("fixed-window", defaults)
    assert answers.usable(by_plan, answer, "view") == "9/hour"
    good = FixedWindow(7, 60)
    for last in ("3/minute", good, "0/minute"):
        assert answers.usable(by_plan, last, "view") == last
        assert answers.usable(by_plan, answer, "view") == last
    assert answers.usable(lambda: 1, answer, "other view") == "9/hour"


@pytest.mark.parametrize("answer", ["", None])
def test_nothing_is_no_limit(answer: Any) -> None:
    answers = LimitAnswers("fixed-window", [Limit("9/hour")])
    assert answers.usable(by_plan, "3/minute", "view") == "3/minute"
    assert answers.usable(by_plan, answer, "view") == ""


def test_a_long_answer_is_not_kept() -> None:
    answers = LimitAnswers("fixed-window")
    answers.usable(by_plan, "; ".join(["5/minute"] * 100), "view")
    assert answers.usable(by_plan, 5, "view") == "0/minute"


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("text", ["0/minute", "0 per 5 hours", "00/s", "0/minute; 5/hour"])
@pytest.mark.parametrize("kind", ["memory", "redis"])
async def test_zero_as_an_answer_refuses(
    strategy: str, text: str, kind: str, redis_url: str
) -> None:
    store: Any = MemoryStore() if kind == "memory" else RedisStore(redis_url)
    await store.start()
    quotas = quotas_of(text, strategy, zero=True)
    try:
        for _ in range(3):
            decisions = await store.hit([Hit(quota, f"zero/{text}") for quota in quotas])
            assert not decisions[0].allowed
            assert decisions[0].remaining == 0
    finally:
        await store.aclose()


@pytest.mark.parametrize("text", ["0/minute", "0 per 5 hours", "5/hour; 0/minute"])
def test_zero_as_text_is_an_error_that_names_what_refuses(text: str) -> None:
    limiter = Limiter()
    with pytest.raises(InvalidLimit, match=r"must be above 0, .*@limiter\.deny"):
        limiter.limit(text)(by_plan)
