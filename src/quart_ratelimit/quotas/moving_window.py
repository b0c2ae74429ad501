"""The exact log: every unit is remembered with its time, and forgotten a period later.

Never more than the amount in any trailing period, and no unit comes back late. It costs 8 bytes a
unit and key, so it is for small amounts.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import ClassVar

from ..errors import InvalidLimit
from .quota import Decision, Hit, Quota

#: The most units that a log may hold: 8 MB a key.
LONGEST = 1_000_000


@dataclass(frozen=True, slots=True)
class MovingWindow(Quota):
    """Allows while fewer than the amount were used in the period that ends now."""

    algorithm: ClassVar[str] = "moving_window"

    def __post_init__(self) -> None:
        Quota.__post_init__(self)
        if self.amount > LONGEST:
            raise InvalidLimit(
                f"'{self}': a moving window remembers every unit, at most {LONGEST}; "
                "use 'sliding-window-counter'"
            )

    def resume(self, decision: Decision, now_ms: int) -> array[int]:
        """All that was used, as if with the newest unit."""
        newest = min(now_ms, now_ms + decision.reset_ms - self.period_ms)
        return array("q", [newest]) * (self.amount - decision.remaining)

    def heal(self, state: array[int], now_ms: int) -> array[int]:
        """No unit is from the future."""
        if not state or state[-1] <= now_ms:
            return state
        return array("q", [min(at, now_ms) for at in state])

    def advance(
        self, state: array[int] | None, now_ms: int, hit: Hit
    ) -> tuple[array[int], Decision]:
        """Decide by the units whose period has not passed."""
        log = array("q") if state is None else state
        log = log[bisect_right(log, now_ms - self.period_ms) :]
        cost = hit.cost
        if cost < 0:
            first, after = bisect_left(log, hit.at_ms), bisect_right(log, hit.at_ms)
            log = log[:first] + log[min(after, first - cost) :]
        elif len(log) + (cost or 1) <= self.amount or hit.forced:
            log = log + array("q", [now_ms]) * cost
        else:
            return log, self._decide(False, log, now_ms, self._retry(log, cost or 1, now_ms))
        return log, self._decide(True, log, now_ms, 0)

    def _retry(self, log: array[int], units: int, now_ms: int) -> int | None:
        if units > self.amount:
            return None
        return log[len(log) + units - self.amount - 1] + self.period_ms - now_ms

    def _decide(self, allowed: bool, log: array[int], now_ms: int, retry: int | None) -> Decision:
        reset = log[-1] + self.period_ms - now_ms if log else 0
        return Decision(allowed, max(0, self.amount - len(log)), reset, retry, now_ms)
