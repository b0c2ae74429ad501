"""How much each algorithm may admit: derived here again, and not taken from the package."""

from __future__ import annotations

import math
from importlib.util import find_spec

from quart_ratelimit.quotas import (
    GCRA,
    FixedWindow,
    MovingWindow,
    Penalty,
    Quota,
    SlidingWindow,
    StrictWindow,
)

from .world import EPOCH

#: Whether workers share what is left of a budget while Redis is away.
SHARES = find_spec("quart_ratelimit.stores.fleet") is not None


def admitted_by_redis(quota: Quota, start: float, end: float) -> float:
    """The most units that one key can get between two moments of a run while Redis decides."""
    seconds, period = max(0.0, end - start), quota.period
    if isinstance(quota, FixedWindow) and quota.aligned:
        first, last = (int(EPOCH + moment) // period for moment in (start, end))
        return quota.amount * (last - first + 1)
    if isinstance(quota, GCRA):
        return quota.capacity + math.ceil(seconds * quota.amount / period)
    if isinstance(quota, SlidingWindow):
        return quota.amount * (1 + seconds / period) + (quota.amount if seconds > period else 0)
    if isinstance(quota, (FixedWindow, StrictWindow, MovingWindow, Penalty)):
        return quota.amount * (1 + seconds // period)
    return math.inf


def admitted_by_a_worker_alone(
    quota: Quota, used: int | None, seconds: float, workers: int
) -> float:
    """The most units that one worker may admit of a key while Redis is away, in so many seconds.

    ``used`` is Redis' last word to this worker; None: it never heard of the key. This is the one
    place that knows how an outage shares a budget among the workers of a fleet.
    """
    left = quota.capacity if used is None else max(0, quota.capacity - used)
    refilled = quota.amount * seconds / quota.period
    if isinstance(quota, GCRA):
        return left + math.ceil(refilled)
    # A window that turns gives back all of its amount at once.
    return left + quota.amount * math.ceil(refilled / quota.amount)


def surely_admitted_alone(quota: Quota, used: int, workers: int) -> int:
    """Units that a worker admits at least while Redis is away, of which so many are used.

    Beside `admitted_by_a_worker_alone` this is the only place that knows of shares.
    """
    left = max(0, quota.capacity - used)
    return left // workers if SHARES else left
