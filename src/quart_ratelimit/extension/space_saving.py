"""Who is seen most, in bounded memory.

Source: Metwally, Agrawal, El Abbadi, "Efficient Computation of Frequent and Top-k Elements in Data
Streams" (2005), the algorithm Space-Saving.
"""

from __future__ import annotations


class SpaceSaving:
    """Counts of the keys seen most. A count is never too low, and too high by ``excess`` at most.

    Whoever makes up more than one part in ``size`` of all that is seen is among them.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._counts: dict[str, int] = {}
        #: The lowest count when it was last looked up, and the keys that had it then.
        self._lowest = 0
        self._rarest: list[str] = []

    @property
    def excess(self) -> int:
        """How much too high a count can be: 0 while all keys seen have found room."""
        return min(self._counts.values()) if len(self._counts) >= self._size else 0

    def add(self, key: str, times: int = 1) -> None:
        """See a key ``times`` times; a new key takes over the place and count of the rarest."""
        count = self._counts.get(key)
        if count is None:
            count = 0
            if len(self._counts) >= self._size:
                count = self._counts.pop(self._rare())
        self._counts[key] = count + times

    def _rare(self) -> str:
        """A key of the lowest count; all are looked through when the known ones ran out."""
        while True:
            while self._rarest:
                key = self._rarest.pop()
                if self._counts.get(key) == self._lowest:
                    return key
            self._lowest = min(self._counts.values())
            self._rarest = [key for key, count in self._counts.items() if count == self._lowest]

    def count(self, key: str) -> int:
        """How often it was seen, as far as is known; 0 if it has no place."""
        return self._counts.get(key, 0)

    def top(self, most: int) -> list[tuple[str, int]]:
        """The keys seen most and their counts, most first."""
        return sorted(self._counts.items(), key=lambda item: -item[1])[:most]
