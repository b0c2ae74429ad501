"""A refused decision as an HTTP error: 429, or 503 when nothing could decide."""

from __future__ import annotations

import math
from typing import Any

from ..current import current_call, current_request_or_none, forget_at_end
from ..errors import LimiterUnavailable, RateLimitExceeded
from ..quotas import Decision, Hit
from ..rules.resolved import RuntimeLimit

Error = RateLimitExceeded | LimiterUnavailable

#: The request's attribute that holds its last refusal, by whichever limiter.
_REFUSAL = "quart_ratelimit.refusal"


def retry_after(*decisions: Decision) -> int | None:
    """Whole seconds, rounded up, until all these hits can be allowed; None: one never can."""
    waits = [decision.retry_ms for decision in decisions]
    known = [wait for wait in waits if wait is not None]
    return max(1, math.ceil(max(known) / 1000)) if known and len(known) == len(waits) else None


def note(error: Error) -> None:
    """Remember the refusal for the request's response, whichever handler makes that."""
    request = current_request_or_none()
    if request is not None:
        setattr(request, _REFUSAL, error)
        forget_at_end(request, lambda: vars(request).pop(_REFUSAL, None))


def noted() -> Error | None:
    """Return the last refusal of the current request; None: there is none."""
    error: Error | None = getattr(current_request_or_none(), _REFUSAL, None)
    return error


def is_refused() -> bool:
    """Return whether a limit or `Limiter.deny` refused the request, whatever answers it."""
    call = current_call()
    return noted() is not None or (call is not None and call.refused)


def refuse(limit: Any, decision: Decision, **kwargs: Any) -> Error:
    """The HTTP answer to a refusal: 429, or 503 when nothing could decide."""
    if decision.by == "closed":
        return LimiterUnavailable(retry_after=retry_after(decision))
    return RateLimitExceeded(limit, retry_after=retry_after(decision), **kwargs)


def refusal(hit: Hit, decision: Decision) -> Error:
    """The HTTP answer to a refused hit that belongs to no rule; it is noted."""
    error = refuse(RuntimeLimit(hit.quota, lambda: hit.key), decision)
    note(error)
    return error
