"""What was allowed and refused in each of the last seconds or minutes. Bounded; no I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

#: Spans of time that a history keeps: seconds of a minute, or minutes of an hour.
SPANS = 60


class History:
    """Counts of the last seconds and minutes in which there was anything, `SPANS` of each."""

    def __init__(self) -> None:
        #: [second, allowed, refused], the latest last.
        self._seconds: deque[list[int]] = deque(maxlen=SPANS)
        #: [minute, allowed, refused] without the latest second.
        self._minutes: deque[list[int]] = deque(maxlen=SPANS)
        self._latest = [0, 0, 0]

    def add(self, second: int, *, is_allowed: bool, count: int = 1) -> None:
        """Count ``count`` decisions."""
        if self._latest[0] != second:
            self._begin(second)
        self._latest[1 if is_allowed else 2] += count

    def _begin(self, second: int) -> None:
        """Add the latest second to its minute, once it is over."""
        at, allowed, refused = self._latest
        if allowed or refused:
            if not self._minutes or self._minutes[-1][0] != at // 60:
                self._minutes.append([at // 60, 0, 0])
            self._minutes[-1][1] += allowed
            self._minutes[-1][2] += refused
        self._latest = [second, 0, 0]
        self._seconds.append(self._latest)

    def seconds(self, first: int) -> list[list[int]]:
        """[second, allowed, refused] of the seconds from this one on."""
        return [one for one in self._seconds if one[0] >= first]

    def minutes(self, first: int) -> list[list[int]]:
        """[minute, allowed, refused] of the minutes from this one on, the last one in two parts."""
        at, allowed, refused = self._latest
        return [one for one in (*self._minutes, [at // 60, allowed, refused]) if one[0] >= first]


def packed(counts: Sequence[Sequence[int]]) -> list[object]:
    """[span, allowed, refused] of some spans in fewer characters; see `unpacked`."""
    last = counts[-1][0] if counts else 0
    return [last, *([last - at, allowed, refused] for at, allowed, refused in counts)]


def unpacked(given: Sequence[Any]) -> list[list[int]]:
    """What was packed. Raises `ValueError`, `TypeError` for anything else."""
    last, *counts = given
    return [[int(last - ago), int(allowed), int(refused)] for ago, allowed, refused in counts]


def series(counts: Iterable[Iterable[int]], span: int) -> list[tuple[int, int]]:
    """How many were allowed and refused in each of `SPANS` spans, this one last.

    ``counts`` are [span, allowed, refused] in any order; counts of one span are added.
    """
    first = span - SPANS + 1
    found = [(0, 0)] * SPANS
    for at, allowed, refused in counts:
        if first <= at <= span:
            known = found[at - first]
            found[at - first] = (known[0] + allowed, known[1] + refused)
    return found
