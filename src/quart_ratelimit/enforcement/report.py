"""What code that asks by itself was told: noted for its request's response, or a refusal's error.

`rate_limit`, `Limiter.reserve` and `Limiter.in_flight` charge limits that belong to no rule of the
request. Their answers join those of its rules here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import LimiterUnavailable, RateLimitExceeded
from ..quotas import Decision, Hit
from ..quotas.quota import refused_longest
from ..responses.request_limit import RequestLimit
from .context import RequestContext

Error = RateLimitExceeded | LimiterUnavailable


@dataclass(frozen=True, slots=True)
class Teller:
    """Called with hits and the decisions on them: the error of the longest refusal, else None.

    It asks nobody, so that nothing can come between a charge and the note of it.
    """

    #: The error of a refused hit.
    refuse: Callable[[Hit, Decision], Error]
    #: The limiter.
    extension: Any = None
    #: The request's, if it is known.
    context: RequestContext | None = None
    #: The client and the scope, see `RequestLimit.request_args`.
    args: Sequence[str] = ()
    #: Whether the response tells of limits that allowed it, too.
    all_told: bool = False
    #: Prepares the error's body, given the limits to tell of.
    describe: Callable[[Error, Sequence[RequestLimit]], None] | None = None

    def __call__(self, hits: Sequence[Hit], decisions: Sequence[Decision]) -> Error | None:
        """Note the decisions; see `Teller`."""
        refused = refused_longest(zip(hits, decisions, strict=True))
        if refused is None and not self.all_told:
            return None
        error = None if refused is None else self.refuse(*refused)
        limits = [] if isinstance(error, LimiterUnavailable) else self._limits(hits, decisions)
        if self.context is not None:
            for told in limits:
                self.context.tell(told)
            limits = self.context.limits
            if isinstance(error, RateLimitExceeded):
                self.context.refusal = error
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
