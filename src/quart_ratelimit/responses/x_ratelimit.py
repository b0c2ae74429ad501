"""A decision as ``X-RateLimit-*`` and ``Retry-After`` response fields.

Names and arithmetic are Flask-Limiter 4.1.1's, but that ``Retry-After`` is never a moment too
short: a client that waits that long is allowed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from werkzeug.datastructures import Headers
from werkzeug.http import http_date, parse_date

from ..clock import wall_ms
from ..constants import HeaderNames
from .request_limit import RequestLimit


class FieldNames(NamedTuple):
    """What an app calls the fields."""

    limit: str
    remaining: str
    reset: str
    retry_after: str


def field_names(names: Mapping[HeaderNames, str]) -> FieldNames:
    """The names of a ``header_name_mapping`` that has them all."""
    return FieldNames(
        names[HeaderNames.LIMIT],
        names[HeaderNames.REMAINING],
        names[HeaderNames.RESET],
        names[HeaderNames.RETRY_AFTER],
    )


def write(
    headers: Headers,
    limit: RequestLimit,
    names: FieldNames,
    style: str | None,
    *,
    again: bool = False,
    waits: bool = True,
) -> None:
    """Add the fields of one limit. A ``Retry-After`` that is there already stands if it is later.

    ``again``: they replace those that another limiter added. ``waits``: ``Retry-After`` is one of
    them.
    """
    there = _retry_after(getattr(headers, "_list", headers))
    reset_ms, remaining = limit.window_ms()
    now_ms = wall_ms()
    reset_s, reset_part = divmod(reset_ms, 1000)
    asked = 0.0 if there is None else _asked_wait(there, now_ms / 1000)
    if style == "http-date":
        value = http_date(max(reset_s + 1, math.ceil(now_ms / 1000 + asked)))
    else:
        now_s, now_part = divmod(now_ms, 1000)
        # The longer of: until the field's second has come, and until the window ends, rounded up.
        wait = reset_s - now_s + (reset_part > now_part or not now_part)
        if wait < asked:
            wait = math.ceil(asked)
        value = str(wait)
    limit_name, remaining_name, reset_name, wait_name = names
    fields = [
        (limit_name, str(limit.limit.amount)),
        (remaining_name, str(remaining)),
        (reset_name, str(reset_s + 1)),
    ]
    if waits and there is None and wait_name == "Retry-After":
        fields.append((wait_name, value))
    elif waits:
        headers.set(wait_name, value)
    add(headers, fields, again=again)


def add(headers: Headers, fields: Sequence[tuple[str, str]], *, again: bool = False) -> None:
    """Add fields whose values are known to hold no line break; ``again``: replace them."""
    if again:
        for name, value in fields:
            headers.set(name, value)
        return
    # `Headers.add` looks for one in each, which is most of its time.
    lines: list[tuple[str, str]] | None = getattr(headers, "_list", None)
    if lines is not None:
        lines += fields
        return
    for name, value in fields:  # another Werkzeug
        headers.add(name, value)


def at_least(headers: Headers, wait: int, style: str | None) -> None:
    """See to a ``Retry-After`` of at least this many seconds."""
    now = wall_ms() / 1000
    there = _retry_after(headers)
    if there is None or _asked_wait(there, now) < wait:
        date = style == "http-date"
        headers.set("Retry-After", http_date(math.ceil(now + wait)) if date else str(wait))


def as_date(headers: Headers) -> None:
    """Write a ``Retry-After`` of seconds as a date."""
    there = _retry_after(headers)
    if there is not None and there.strip().isdecimal():
        headers.set("Retry-After", http_date(math.ceil(wall_ms() / 1000 + int(there))))


def _retry_after(headers: Iterable[tuple[str, str]]) -> str | None:
    # `headers.get` makes and catches an error when there is none.
    for name, value in headers:
        if len(name) == 11 and name.lower() == "retry-after":
            return value
    return None


def _asked_wait(value: str | None, now: float) -> float:
    """How long an existing ``Retry-After`` makes a client wait, in seconds; 0 if it does not."""
    if value is None:
        return 0
    if value.strip().isdecimal():
        return int(value)
    date = parse_date(value)
    return date.timestamp() - now if date else 0
