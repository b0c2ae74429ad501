"""A look decides as a hit of one unit would, and charges nothing."""

import pytest

from quart_ratelimit import Hit, Quota
from quart_ratelimit.quotas import (
    GCRA,
    Concurrency,
    FixedWindow,
    MovingWindow,
    Penalty,
    SlidingWindow,
    StrictWindow,
)

from ..support.algorithms import name

NOW = 1_800_000_000_000


@pytest.mark.parametrize(
    "quota",
    [
        FixedWindow(1, 60),
        FixedWindow(1, 60, aligned=True),
        SlidingWindow(1, 60),
        StrictWindow(1, 60, segments=4),
        MovingWindow(1, 60),
        GCRA(1, 60),
        Concurrency(1, 60),
        Penalty(1, 60),
    ],
    ids=name,
)
def test_a_refused_look_waits_as_long_as_a_refused_hit(quota: Quota) -> None:
    full, allowed = quota.advance(None, NOW, Hit(quota, "ann", lease="a"))
    assert allowed
    later = NOW + 1_234
    after_look, look = quota.advance(full, later, Hit(quota, "ann", 0, lease="b"))
    after_hit, hit = quota.advance(full, later, Hit(quota, "ann", 1, lease="b"))
    assert not look
    assert look == hit
    assert after_look == after_hit
    assert look.retry_ms is not None
    assert all(type(number) is int for number in look[1:5])
