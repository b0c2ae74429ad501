"""One of each algorithm, for tests that must hold for all: a new one is one more entry here."""

import pytest

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

#: All that count units over time, with an amount of 10 a minute.
RATES: list[Quota] = [
    FixedWindow(10, 60),
    FixedWindow(10, 60, aligned=True),
    SlidingWindow(10, 60),
    StrictWindow(10, 60),
    MovingWindow(10, 60),
    GCRA(10, 60),
]
ALL: list[Quota] = [*RATES, Concurrency(10, 60), Penalty(10, 60)]

#: Of the two ways to Redis, each with more than any test counts.
CLOCK = FixedWindow(1_000_000, 86_400, aligned=True)  # INCRBY in a transaction
SCRIPT = FixedWindow(1_000_000, 86_400)

BOTH = pytest.mark.parametrize("quota", [CLOCK, SCRIPT], ids=["pipeline", "script"])


def name(quota: Quota) -> str:
    """For pytest's ids."""
    return quota.tag
