"""GCRA, the token bucket that keeps one number: a steady rate with a burst apart.

Source: ITU-T I.371, "Generic Cell Rate Algorithm", in its leaky form: every unit adds a debt that
drains at the rate; a hit is allowed while the debt stays within the burst. The debt is an integer
in parts of a millisecond, so nothing drifts. Worst case in any time t: burst + rate * t.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from ..errors import InvalidLimit
from .quota import (
    LONGEST_PERIOD,
    MAX_EXACT,
    Decision,
    Hit,
    Quota,
    check_whole,
    decided,
    share_of,
)

#: The debt, and when it was that much (ms since the epoch).
Debt = tuple[int, int]


@dataclass(frozen=True, slots=True)
class GCRA(Quota):
    """A token bucket: ``GCRA(100, 60, burst=20)`` allows 100 per minute, and 20 of them at once.

    - ``amount``: units per period, refilled evenly.
    - ``period``: seconds.
    - ``burst``: units that are allowed at once (default: the amount).

    After the amount of a named limit is lowered, a debt without new hits expires in Redis at the
    latest when it would have drained under the old amount. Raises `InvalidLimit`.
    """

    algorithm: ClassVar[str] = "gcra"

    burst: int | None = field(default=None, kw_only=True)
    #: The rate as a fraction: `_drain` parts of debt go each ms, a unit adds `_unit`. It is reduced
    #: unless debts are to mean the same whatever the amount, and are small enough for that.
    _drain: int = field(init=False, repr=False, compare=False)
    _unit: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_whole("amount", self.amount)
        check_whole("period", self.period, LONGEST_PERIOD)
        if self.burst is None:
            object.__setattr__(self, "burst", self.amount)
        check_whole("burst", self.burst)
        shared = math.gcd(self.amount, self.period * 1000)
        if (self.counted_as or self.name) and self.capacity * self.period * 1000 <= MAX_EXACT:
            shared = 1
        object.__setattr__(self, "_drain", self.amount // shared)
        object.__setattr__(self, "_unit", self.period * 1000 // shared)
        Quota.__post_init__(self)
        if self.capacity * self._unit > MAX_EXACT:
            raise InvalidLimit(
                f"'{self}' is too fine to be exact: choose a rounder amount or a smaller burst"
            )

    @property
    def capacity(self) -> int:
        """The burst: the highest cost that can ever be allowed."""
        return self.burst or self.amount

    def spec(self) -> tuple[str | int, ...]:
        """Amount and period in ms, the burst, and the rate as the twin counts it."""
        return (
            self.algorithm, self.amount, self.period_ms, self.capacity, self._drain, self._unit
        )  # fmt: skip

    def scale(self) -> tuple[str | int, ...]:
        """The period in ms, and the debt of a unit."""
        return (self.algorithm, self.period_ms, self._unit)

    def share(self, workers: int, place: int) -> Quota | None:
        """A share of the burst, at the rate's share: the rates of all places add up as well.

        A burst smaller than the number of workers belongs to as many workers as it has units.
        """
        workers = min(workers, self.capacity)
        burst = share_of(self.capacity, workers, place) if place < workers else 0
        if not burst:
            return None
        unit = self._unit * workers
        if burst * unit > MAX_EXACT:  # a part was rounded up to more than can be exact
            burst -= 1
        share = self._shared(burst=burst)
        # Not by a constructor: the period of a share may be longer than any that an app declares.
        rate = {
            "period": self.period * workers, "period_ms": self.period_ms * workers,
            "_drain": self._drain, "_unit": unit,
        }  # fmt: skip
        for name, value in rate.items():
            object.__setattr__(share, name, value)
        return share

    def resume(self, decision: Decision, now_ms: int) -> Debt:
        """The debt that drains by the time that the decision reported."""
        debt = decision.reset_ms * self._drain  # rounded up, by less than a millisecond's worth
        if decision.remaining:
            debt = min(debt, (self.capacity - decision.remaining) * self._unit)
        return (debt, now_ms)

    def heal(self, state: Debt, now_ms: int) -> Debt:
        """No debt is from the future: it drains from now on."""
        return state if state[1] <= now_ms else (state[0], now_ms)

    def more_ms(self, decision: Decision) -> int | None:
        """Until the next unit has drained, unless a refused hit waits for several."""
        if not decision.allowed:
            return decision.retry_ms
        kept = self.capacity - decision.remaining - 1  # units that may still be owed by then
        return max(0, decision.reset_ms - kept * self._unit // self._drain)

    def advance(self, state: Debt | None, now_ms: int, hit: Hit) -> tuple[Debt, Decision]:
        """Decide by the debt that is left of all hits before."""
        drain, unit = self._drain, self._unit
        full = self.capacity * unit
        debt, at = state or (0, now_ms)
        debt = max(0, debt - (now_ms - at) * drain)
        cost = hit.cost
        if cost < 0:
            # At least so much of that charge has not drained yet, whatever else was charged.
            left = max(0, -cost * unit - max(0, now_ms - hit.at_ms) * drain)
            debt = max(0, debt - left)
            return (debt, now_ms), self._decide(True, debt, now_ms, 0)
        wanted = debt + (cost or 1) * unit
        if wanted <= full or hit.forced:
            debt = min(debt + cost * unit, MAX_EXACT)
            return (debt, now_ms), self._decide(True, debt, now_ms, 0)
        retry = -((full - wanted) // drain) if (cost or 1) <= self.capacity else None
        return (debt, now_ms), self._decide(False, debt, now_ms, retry)

    def __str__(self) -> str:
        text = Quota.__str__(self)
        return f"{text} burst {self.burst}"  # also if it is the amount: it shows the algorithm

    def _decide(self, allowed: bool, debt: int, now_ms: int, retry: int | None) -> Decision:
        remaining = max(0, (self.capacity * self._unit - debt) // self._unit)
        return decided((allowed, remaining, -(-debt // self._drain), retry, now_ms, "store", None))
