"""A sliding window that never lets more than the amount through in any trailing period.

The period is cut into segments; the running one and all that a trailing period can touch are
counted in full. The price: a unit comes back up to one segment late. A segmented counter that
weighs its oldest segment cannot promise this: its worst case is twice the amount for any number
of segments.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate
from typing import ClassVar

from ..errors import InvalidLimit
from .quota import MAX_EXACT, Decision, Hit, Quota, check_whole, decided

#: A hit costs time for each of them.
MOST_SEGMENTS = 1_000

#: The running segment's number since the epoch, and the units of it and those before, newest first.
Segments = tuple[int, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class StrictWindow(Quota):
    """At most the amount in any period: ``StrictWindow(100, 60)``.

    The window counts the parts of a period, and one part more.

    - ``amount``: units per period.
    - ``period``: seconds.
    - ``segments``: the number of parts (default 10). A unit comes back up to one part late.

    Raises `InvalidLimit`.
    """

    algorithm: ClassVar[str] = "strict_window"

    segments: int = field(default=10, kw_only=True)

    def __post_init__(self) -> None:
        Quota.__post_init__(self)
        check_whole("segments", self.segments, MOST_SEGMENTS)
        if self.period_ms % self.segments:
            raise InvalidLimit(
                f"segments={self.segments} does not divide {self.period_ms} ms; write segments=10"
            )

    def spec(self) -> tuple[str | int, ...]:
        """Amount and period in ms, then the number of segments."""
        return (self.algorithm, self.amount, self.period_ms, self.segments)

    def scale(self) -> tuple[str | int, ...]:
        """The period in ms, and its segments."""
        return (self.algorithm, self.period_ms, self.segments)

    def resume(self, decision: Decision, now_ms: int) -> Segments:
        """All that was used, as if in the running segment."""
        index = now_ms * self.segments // self.period_ms
        return (index, (self.amount - decision.remaining, *(0,) * self.segments))

    def heal(self, state: Segments, now_ms: int) -> Segments:
        """No segment is from the future: the newest is the running one."""
        index = now_ms * self.segments // self.period_ms
        return state if state[0] <= index else (index, state[1])

    def advance(self, state: Segments | None, now_ms: int, hit: Hit) -> tuple[Segments, Decision]:
        """Decide by the sum of all segments that a trailing period can touch."""
        length, kept = self.period_ms // self.segments, self.segments + 1
        index = now_ms // length
        then, counts = state or (index, (0,) * kept)
        counts = ((0,) * min(kept, index - then) + counts)[:kept]
        cost, used = hit.cost, sum(counts)
        if cost < 0:
            age = index - hit.at_ms // length
            if 0 <= age < kept:
                left = max(0, counts[age] + cost)
                counts = (*counts[:age], left, *counts[age + 1 :])
        elif used + (cost or 1) <= self.amount or hit.forced:
            counts = (min(counts[0] + cost, MAX_EXACT), *counts[1:])
        else:
            retry = self._retry(counts, cost or 1, index * length - now_ms)
            return (index, counts), self._decide(False, index, counts, now_ms, retry)
        return (index, counts), self._decide(True, index, counts, now_ms, 0)

    def _retry(self, counts: tuple[int, ...], units: int, since: int) -> int | None:
        """Until the newest segment that leaves no room is out of sight; None: there is never."""
        if units > self.amount:
            return None
        newer = accumulate(counts, initial=units)
        age = next(age for age, count in enumerate(newer) if count > self.amount) - 1
        return since + (len(counts) - age) * (self.period_ms // self.segments)

    def _decide(
        self, allowed: bool, index: int, counts: tuple[int, ...], now_ms: int, retry: int | None
    ) -> Decision:
        newest = next((age for age, count in enumerate(counts) if count), None)
        reset = 0
        if newest is not None:
            length = self.period_ms // self.segments
            reset = (index + len(counts) - newest) * length - now_ms
        remaining = max(0, self.amount - sum(counts))
        return decided((allowed, remaining, reset, retry, now_ms, "store", None))
