"""Decides which rate limit fields a response gets, and writes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from werkzeug.datastructures import Headers
from werkzeug.sansio.response import Response

from ..current import current_request_or_none
from .drafts import Draft, Pseudonym, seconds_until_more
from .refusal import noted
from .request_limit import RequestLimit, limit_to_report
from .x_ratelimit import FieldNames, add, as_date, at_least, write

#: Limits that a response has room for: servers and proxies bound its fields, often to 8 kB.
MOST_REPORTED = 16

#: The request's attribute that holds what is written in its response.
_WRITTEN = "quart_ratelimit.written"


class Outcome(Protocol):
    """What the limits of one limiter decided on one request."""

    @property
    def current_limit(self) -> RequestLimit | None:
        """The limit to report if only one can be; None: no limit was evaluated."""

    @property
    def reported(self) -> Sequence[RequestLimit]:
        """All limits to report."""


class _Written(NamedTuple):
    """What the fields of a response report."""

    current: RequestLimit
    limits: Sequence[RequestLimit]


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldWriter:
    """Writes the fields of one app's responses."""

    #: Whether responses have rate limit fields.
    enabled: bool
    names: FieldNames
    #: Whether ``X-RateLimit-*`` is among the fields.
    x_ratelimit: bool
    #: The IETF draft whose fields are among them; None: no draft's.
    draft: Draft | None
    #: Makes the partition keys in a draft's fields; None: there are none.
    pseudonym: Pseudonym | None
    #: The form of ``Retry-After``: "http-date"; anything else is seconds.
    retry_after: str | None

    def write(self, response: Response, outcome: Outcome | None) -> None:
        """Write the fields of one response. ``outcome`` is None if nothing was limited by rules."""
        headers, refusal = response.headers, noted()
        refused = refusal is not None and response.status_code == refusal.code
        if refused:
            headers.setdefault("Cache-Control", "no-store")
        current = outcome.current_limit if self.enabled and outcome is not None else None
        if outcome is not None and current is not None:
            # A cost above the limit is refused at any time, so no wait would help.
            never = refused and refusal is not None and refusal.retry_after is None
            own = _Written(current, outcome.reported)
            self._report(headers, own, refused=refused, waits=not never)
        if refusal is not None:
            refusal.forget_frames()
            if refused:
                self._write_wait(headers, refusal.retry_after)

    def _report(self, headers: Headers, own: _Written, *, refused: bool, waits: bool) -> None:
        """Write the limits of this limiter, together with the limits of the limiters before it."""
        request = current_request_or_none()
        before: _Written | None = getattr(request, _WRITTEN, None)
        current, limits = own
        if before is not None:
            current = limit_to_report([before.current, current]) or current
            limits = [*before.limits, *limits][-MOST_REPORTED:]
        if request is not None:
            setattr(request, _WRITTEN, _Written(current, limits))
        again = before is not None
        if self.x_ratelimit:
            write(headers, current, self.names, self.retry_after, again=again, waits=waits)
        if self.draft is not None:
            add(headers, self.draft(limits, current, self.pseudonym), again=again)
            if refused and current.breached and waits:
                told = [seconds_until_more(status) for status in limits if status.breached]
                wait = max((wait for wait in told if wait is not None), default=0)
                at_least(headers, wait, self.retry_after)

    def _write_wait(self, headers: Headers, wait: int | None) -> None:
        """Write ``Retry-After``; without other fields only if the app has set none."""
        if wait is not None and (self.enabled or "Retry-After" not in headers):
            at_least(headers, wait, self.retry_after)
        if self.retry_after == "http-date":
            as_date(headers)
