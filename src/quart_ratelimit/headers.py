"""A decision as ``X-RateLimit-*`` and ``Retry-After`` response fields.

Names and arithmetic are Flask-Limiter 4.1.1's, but that ``Retry-After`` is never a moment too
short: a client that waits as told is allowed.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping

from werkzeug.datastructures import Headers
from werkzeug.http import http_date, parse_date

from .clock import wall_ms
from .quotas import Decision
from .runtime import RequestLimit


class HeaderNames(enum.Enum):
    """The response fields, by their usual names; ``header_name_mapping`` gives them others."""

    #: When the limit is reset, in seconds since the epoch.
    RESET = "X-RateLimit-Reset"
    #: Units that remain in this window.
    REMAINING = "X-RateLimit-Remaining"
    #: Units allowed in one window.
    LIMIT = "X-RateLimit-Limit"
    #: How long to wait, in seconds or, as ``retry_after="http-date"``, until when.
    RETRY_AFTER = "Retry-After"


def write(
    headers: Headers, limit: RequestLimit, names: Mapping[HeaderNames, str], style: str | None
) -> None:
    """Add the fields of one limit. A ``Retry-After`` that is there already stands if it is later.

    Two limiters on one app add theirs both.
    """
    reset_time, remaining = limit.window
    reset_at = int(reset_time + 1)
    headers.add(names[HeaderNames.LIMIT], str(limit.limit.amount))
    headers.add(names[HeaderNames.REMAINING], str(remaining))
    headers.add(names[HeaderNames.RESET], str(reset_at))
    now = wall_ms() / 1000
    there = _retry_after(headers)
    asked = _asked_wait(there, now)
    if style == "http-date":
        value = http_date(max(reset_at, math.ceil(now + asked)))
    else:
        value = str(
            max(int(reset_at - now), math.ceil(round(reset_time - now, 3)), math.ceil(asked))
        )
    name = names[HeaderNames.RETRY_AFTER]
    if there is None and name == "Retry-After":
        headers.add(name, value)  # costs a third of what `set` does
    else:
        headers.set(name, value)


def at_least(headers: Headers, wait: int, style: str | None) -> None:
    """See to a ``Retry-After`` of at least so many seconds."""
    now = wall_ms() / 1000
    there = _retry_after(headers)
    if there is None or _asked_wait(there, now) < wait:
        date = style == "http-date"
        headers.set("Retry-After", http_date(math.ceil(now + wait)) if date else str(wait))


def _retry_after(headers: Headers) -> str | None:
    # `headers.get` makes and catches an error when there is none.
    for name, value in headers:
        if name.lower() == "retry-after":
            return value
    return None


def retry_after(*decisions: Decision) -> int | None:
    """Whole seconds, rounded up, until all these hits can be allowed; None: one never can."""
    waits = [decision.retry_ms for decision in decisions]
    known = [wait for wait in waits if wait is not None]
    return max(1, math.ceil(max(known) / 1000)) if known and len(known) == len(waits) else None


def _asked_wait(value: str | None, now: float) -> float:
    """How long an existing ``Retry-After`` asks to wait, in seconds; 0 if it does not."""
    if value is None:
        return 0
    if value.strip().isdecimal():
        return int(value)
    date = parse_date(value)
    return date.timestamp() - now if date else 0
