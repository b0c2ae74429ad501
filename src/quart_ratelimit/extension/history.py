"""What was allowed and refused in each of the last seconds or minutes. Bounded; no I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

#: Spans of time that a history keeps: seconds of a minute, or minutes of an hour.
SPANS = 60


class History:
    """Counts of the last `SPANS` spans of time in which there was anything."""

    def __init__(self) -> None:
        #: [span, allowed, refused], the latest last.
        self._counts: deque[list[int]] = deque(maxlen=SPANS)

    def add(self, span: int, *, is_allowed: bool) -> None:
        """Count a decision in the span of this number."""
        counts = self._counts
        if not counts or counts[-1][0] != span:
            counts.append([span, 0, 0])
        counts[-1][1 if is_allowed else 2] += 1

    def since(self, span: int) -> list[list[int]]:
        """[span, allowed, refused] of the spans from this one on."""
        return [one for one in self._counts if one[0] >= span]


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
