"""A fixed window: a number of units, then none until the window ends.

Source: the ``INCR``/``EXPIRE`` pattern of Redis' own documentation. Worst case: twice the amount
within one trailing period, around a window's edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from .quota import MAX_EXACT, Decision, Hit, Quota, decided

#: Seconds that Redis keeps a window's counter past a period. A hit sent as its window ends comes
#: late by what the network takes, and by as much again if Redis' clock was read late. A counter
#: that had expired by then would start at zero, and admit the whole amount once more.
KEPT_LONGER = 2

#: When the window ends (ms since the epoch), and the units used in it, in these lower bits: a store
#: in memory keeps one number as it is, but two as marshalled bytes.
Window = int
USED_BITS = 53


@dataclass(frozen=True, slots=True)
class FixedWindow(Quota):
    """A window that starts at a key's first hit: ``FixedWindow(100, 60)``.

    - ``amount``: units per window.
    - ``period``: the length of a window in seconds.
    - ``aligned``: windows start at multiples of the period since 1970, so a day starts at
      midnight UTC (default False).

    Raises `InvalidLimit`.

    In Redis the counter of an aligned window also counts refused plain hits, as the Flask snippet
    does, but no refused `Hit.refundable` hit. A refund takes only its own units from the counter,
    so it never gives back what other limits of the same counter charged.
    """

    algorithm: ClassVar[str] = "fixed_window"

    #: Windows by the clock: the state's key ends in ``epoch // period``, as in the Flask snippet,
    #: so both share one counter. All keys reset at once.
    aligned: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        Quota.__post_init__(self)
        if self.aligned:  # as the key has no amount in it
            object.__setattr__(self, "counter", f"{self.algorithm}/{self.period_ms}")

    def spec(self) -> tuple[str | int, ...]:
        """Amount and period in ms, then 1 if aligned."""
        return (self.algorithm, self.amount, self.period_ms, int(self.aligned))

    def state_key(self, key: str, now_ms: int) -> str:
        """``key:window`` if aligned: the snippet's own key."""
        if self.aligned:
            return f"{key}:{now_ms // self.period_ms}"
        return f"{key}:{self.counter}"

    def resume(self, decision: Decision, now_ms: int) -> Window:
        """The window that the decision reported."""
        return _window(now_ms + decision.reset_ms, self.amount - decision.remaining)

    def heal(self, state: Window, now_ms: int) -> Window:
        """No window ends later than a period from now."""
        latest = now_ms + self.period_ms
        return state if state >> USED_BITS <= latest else _window(latest, state & MAX_EXACT)

    def more_ms(self, decision: Decision) -> int | None:
        """Until the window ends: before that nothing comes back."""
        return decision.reset_ms

    def advance(self, state: Window | None, now_ms: int, hit: Hit) -> tuple[Window, Decision]:
        """Decide by the count of the current window."""
        end = used = 0
        if state:
            end, used = state >> USED_BITS, state & MAX_EXACT
        if now_ms >= end or not used:
            end, used = self._end(now_ms), 0
        cost = hit.cost
        left = self.amount - used
        if 0 < cost <= left:  # nearly every hit
            decision = decided((True, left - cost, end - now_ms, 0, now_ms, "store", None))
            return (end << USED_BITS) + used + cost, decision
        if cost < 0:
            if end - self.period_ms <= hit.at_ms < end:
                used = max(0, used + cost)
            return _window(end, used), self._decide(True, used, end, now_ms, 0)
        units = cost or 1
        if units <= left or hit.forced:
            used = min(used + cost, MAX_EXACT)
            return _window(end, used), self._decide(True, used, end, now_ms, 0)
        retry = end - now_ms if units <= self.amount else None
        return _window(end, used), self._decide(False, used, end, now_ms, retry)

    def ranked(self, total: int, now_ms: int) -> Decision:
        """The answer to a hit of 1 that an aligned window's counter raised to ``total``."""
        left, reset = self.amount - total, self._end(now_ms) - now_ms
        if left >= 0:
            return decided((True, left, reset, 0, now_ms, "store", None))
        return decided((False, 0, reset, reset, now_ms, "store", None))

    def seen(self, used: int, now_ms: int) -> Decision:
        """The answer to a look at an aligned window's counter."""
        end = self._end(now_ms)
        allowed = used < self.amount
        return self._decide(allowed, used, end, now_ms, 0 if allowed else end - now_ms)

    def _decide(self, allowed: bool, used: int, end: int, now: int, retry: int | None) -> Decision:
        reset = end - now if used else 0
        return Decision(allowed, max(0, self.amount - used), reset, retry, now)

    def _end(self, now_ms: int) -> int:
        if self.aligned:
            return (now_ms // self.period_ms + 1) * self.period_ms
        return now_ms + self.period_ms


def _window(end: int, used: int) -> Window:
    return (end << USED_BITS) + used


def is_counted(hits: Sequence[Hit]) -> bool:
    """Whether a request is one hit of 1, or one look, on a window by the clock.

    A plain counter decides it. That counts refused hits as well, so a hit that may be given back
    needs the script.
    """
    if len(hits) != 1:
        return False
    hit = hits[0]
    quota = hit.quota
    if type(quota) is not FixedWindow or not quota.aligned:
        return False
    return hit.cost == 0 or (hit.cost == 1 and not (hit.forced or hit.refundable or hit.late))
