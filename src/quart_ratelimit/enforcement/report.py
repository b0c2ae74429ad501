"""Adds decisions on limits that belong to no rule to the request, and makes a refusal's error.

`Limiter.reserve` and `Limiter.in_flight` charge such limits. Their decisions join those by the
request's rules here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import LimiterUnavailable
from ..quotas import Decision, Hit
from ..quotas.quota import refused_longest
from ..responses.refusal import Error, refusal
from ..responses.request_limit import RequestLimit
from .context import RequestContext


@dataclass(frozen=True, slots=True)
class Report:
    """Called with hits and their decisions; returns the error of the longest refusal, or None.

    It awaits nothing, so that nothing can come between a charge and its report.
    """

    #: The limiter.
    extension: Any = None
    #: The request's, if it is known.
    context: RequestContext | None = None
    #: The client and the scope, see `RequestLimit.request_args`.
    args: Sequence[str] = ()
    #: Whether the response reports limits that allowed it, too.
    all_reported: bool = False
    #: Prepares the error's body, given the limits to report.
    describe: Callable[[Error, Sequence[RequestLimit]], None] | None = None

    def __call__(self, hits: Sequence[Hit], decisions: Sequence[Decision]) -> Error | None:
        """Note the decisions; see `Report`."""
        refused = refused_longest(zip(hits, decisions, strict=True))
        if refused is None and not self.all_reported:
            return None
        error = None if refused is None else refusal(*refused)
        limits = [] if isinstance(error, LimiterUnavailable) else self._limits(hits, decisions)
        if self.context is not None:
            for status in limits:
                self.context.report(status)
            limits = self.context.limits
        if error is not None and self.describe is not None:
            self.describe(error, limits)
        return error

    def _limits(self, hits: Sequence[Hit], decisions: Sequence[Decision]) -> list[RequestLimit]:
        return [
            RequestLimit(
                self.extension,
                hit.quota,
                list(self.args),
                not decision.allowed,
                False,
                decision=decision,
            )
            for hit, decision in zip(hits, decisions, strict=True)
        ]
