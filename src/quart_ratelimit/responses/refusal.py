"""A refused decision as an HTTP error: 429, or 503 when nothing could decide."""

from __future__ import annotations

import math
from typing import Any

from ..errors import LimiterUnavailable, RateLimitExceeded
from ..quotas import Decision, Hit
from ..rules.resolved import RuntimeLimit


def retry_after(*decisions: Decision) -> int | None:
    """Whole seconds, rounded up, until all these hits can be allowed; None: one never can."""
    waits = [decision.retry_ms for decision in decisions]
    known = [wait for wait in waits if wait is not None]
    return max(1, math.ceil(max(known) / 1000)) if known and len(known) == len(waits) else None


def refuse(limit: Any, decision: Decision, **kwargs: Any) -> RateLimitExceeded | LimiterUnavailable:
    """The HTTP answer to a refusal: 429, or 503 when nothing could decide."""
    if decision.by == "closed":
        return LimiterUnavailable(retry_after=retry_after(decision))
    return RateLimitExceeded(limit, retry_after=retry_after(decision), **kwargs)


def refusal(hit: Hit, decision: Decision) -> RateLimitExceeded | LimiterUnavailable:
    """The HTTP answer to a refused hit that belongs to no rule."""
    return refuse(RuntimeLimit(hit.quota, lambda: hit.key), decision)
