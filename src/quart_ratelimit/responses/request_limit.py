"""A limit in one request: what was decided, what remains, and until when."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from ..clock import wall_ms
from ..quotas import Concurrency, Decision, Quota


class WindowStats(NamedTuple):
    """When a window ends, in seconds since the epoch, and what remains in it."""

    reset_time: float
    remaining: int


class RequestLimit:
    """A limit in this request: what remains, and until when.

    All values came with the hit: no attribute calls the store.
    """

    __slots__ = (
        "_at",
        "_ticks",
        "breached",
        "decision",
        "extension",
        "limit",
        "quota_unit",
        "request_args",
        "shared",
    )

    def __init__(
        self,
        extension: Any,
        limit: Quota,
        request_args: list[str],
        breached: bool,
        shared: bool,
        *,
        decision: Decision | None = None,
        quota_unit: str = "",
    ) -> None:
        self.extension: Any = extension
        #: The quota, with ``.amount`` and ``.get_expiry()``.
        self.limit: Quota = limit
        #: The key's parts: prefix and key function (if it is not the limiter's), client, scope.
        self.request_args: list[str] = request_args
        self.breached: bool = breached
        self.shared: bool = shared
        #: What a unit is, by the IETF's registry of quota units; "": requests, or places in flight.
        self.quota_unit: str = quota_unit
        if decision is None:  # not `or`: a refusal is false
            decision = Decision(not breached, 0 if breached else limit.amount, 0, 0)
        # As `decide` does, without a call for each limit of each request.
        self.decision: Decision = decision
        self._at, self._ticks = time.time(), time.monotonic()

    def decide(self, decision: Decision) -> None:
        """Take over a decision; its times count from now."""
        self.decision = decision
        self._at, self._ticks = time.time(), time.monotonic()

    @property
    def key(self) -> str:
        """Flask-Limiter's name for the counter: ``LIMITER/127.0.0.1/index/2/1/second``."""
        limit, (*before, who, scope) = self.limit, self.request_args
        prefix = before[:1] if before[:1] != [""] else []
        amount = [str(limit.amount), str(limit.multiples), limit.unit]
        return "/".join(["LIMITER", *prefix, who, scope, *amount])

    @property
    def limiter(self) -> Any:
        """The limiter's ``.limiter``."""
        return self.extension.limiter

    @property
    def age_ms(self) -> int:
        """Time since the decision."""
        return int((time.monotonic() - self._ticks) * 1000)

    @property
    def window(self) -> WindowStats:
        """What remains and until when, also if the window has passed since the hit."""
        reset_ms, remaining = self.window_ms()
        return WindowStats(reset_ms / 1000, remaining)

    def window_ms(self) -> tuple[int, int]:
        """As `window`, its end in milliseconds."""
        allowed, remaining, reset_ms, retry_ms = self.decision[:4]
        wait = reset_ms if allowed else retry_ms or reset_ms
        if (time.monotonic() - self._ticks) * 1000 >= wait:
            return wall_ms(), self.limit.capacity if wait else remaining
        return int(self._at * 1000) + wait, remaining

    @property
    def reset_at(self) -> int:
        """The first whole second since the epoch after the window's end."""
        return int(self.window.reset_time + 1)

    @property
    def remaining(self) -> int:
        """Units left after this request."""
        return self.window_ms()[1]


def limit_to_report(limits: Iterable[RequestLimit]) -> RequestLimit | None:
    """Return the limit to report if only one can be; None: there is none.

    The last one breached, else the shortest that is not shared, else the shortest; places in
    flight, which have no period, come last.
    """
    tightest: RequestLimit | None = None
    last, place = None, None
    for status in limits:
        if status.breached:
            last = status
        own = (status.shared, isinstance(status.limit, Concurrency), status.limit.period)
        if place is None or own < place:
            tightest, place = status, own
        elif own == place and tightest is not None and same_counter(status, tightest):
            tightest = status  # charged twice: what remains is what the last charge left
    return last or tightest


def same_counter(one: RequestLimit, other: RequestLimit) -> bool:
    """Return whether both are states of one counter."""
    return one is other or (one.limit == other.limit and one.request_args == other.request_args)
