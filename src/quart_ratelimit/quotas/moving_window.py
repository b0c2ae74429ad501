"""The exact log: every unit is remembered with its time, and forgotten a period later.

Never more than the amount in any trailing period, and no unit comes back late. It costs memory for
each unit and key, so it is for small amounts; a hit costs the same however long the log is.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import ClassVar

from ..errors import InvalidLimit
from .quota import Decision, Hit, Quota, decided

#: The most units that a log may hold: about 10 MB a key.
LONGEST = 1_000_000


@dataclass(frozen=True, slots=True)
class MovingWindow(Quota):
    """A log of all units in the last period: ``MovingWindow(100, 60)``.

    - ``amount``: units in any period, at most 1,000,000.
    - ``period``: seconds.

    A forced hit is stored as at most the amount: more would change no decision. Raises
    `InvalidLimit`.
    """

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
        past = bisect_right(state, now_ms)
        return state[:past] + array("q", [now_ms]) * (len(state) - past)

    def advance(
        self, state: array[int] | None, now_ms: int, hit: Hit
    ) -> tuple[array[int], Decision]:
        """Decide by the units whose period has not passed."""
        log = array("q") if state is None else state
        first = bisect_right(log, now_ms - self.period_ms)
        used, units, cost = len(log) - first, hit.cost or 1, min(hit.cost, self.amount)
        if cost < 0:
            start, after = bisect_left(log, hit.at_ms, first), bisect_right(log, hit.at_ms, first)
            after = min(after, start + min(-cost, self.amount))
            log, used = log[first:start] + log[after:], used - (after - start)
        elif used + units <= self.amount or hit.forced:
            if cost:  # a refusal and a look copy nothing
                log, used = log[first:] + array("q", [now_ms]) * cost, used + cost
        else:
            retry = None
            if units <= self.amount:
                retry = log[len(log) + units - self.amount - 1] + self.period_ms - now_ms
            return log, self._decide(False, log, used, now_ms, retry)
        return log, self._decide(True, log, used, now_ms, 0)

    def _decide(
        self, allowed: bool, log: array[int], used: int, now_ms: int, retry: int | None
    ) -> Decision:
        reset = log[-1] + self.period_ms - now_ms if used else 0
        return decided((allowed, max(0, self.amount - used), reset, retry, now_ms, "store", None))
