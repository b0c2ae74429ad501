"""Decides which rate limit fields a response gets, and writes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from werkzeug.sansio.response import Response

from ..errors import RateLimitExceeded
from .drafts import Draft, Pseudonym, seconds_until_more
from .request_limit import RequestLimit
from .x_ratelimit import FieldNames, add, at_least, write


class Outcome(Protocol):
    """What the limits decided on one request."""

    @property
    def current_limit(self) -> RequestLimit | None:
        """The limit to report if only one can be; None: no limit was evaluated."""

    @property
    def reported(self) -> Sequence[RequestLimit]:
        """All limits to report."""

    @property
    def refusal(self) -> RateLimitExceeded | None:
        """The last refusal; None: no limit refused."""


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
    #: Whether a refusal's wait is lengthened at random.
    retry_jitter: bool

    def write(self, response: Response, outcome: Outcome) -> None:
        """Write the fields of one response."""
        refusal, headers = outcome.refusal, response.headers
        if refusal is not None:
            refusal.forget_frames()
            if response.status_code == 429:
                headers.setdefault("Cache-Control", "no-store")
        current = outcome.current_limit if self.enabled else None
        if current is None:
            return
        if self.x_ratelimit:
            write(headers, current, self.names, self.retry_after)
        if self.draft is not None:
            limits = outcome.reported
            add(headers, self.draft(limits, current, self.pseudonym))
            if current.breached and response.status_code in (429, 503):
                waits = [seconds_until_more(status) for status in limits if status.breached]
                wait = max((wait for wait in waits if wait is not None), default=0)
                at_least(headers, wait, self.retry_after)
        if self.retry_jitter and refusal is not None:
            # The app's own response to a refusal does not have the refusal's fields.
            at_least(headers, refusal.retry_after or 0, self.retry_after)
