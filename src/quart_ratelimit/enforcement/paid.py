"""What one request has charged, so that a quota that stands twice is charged once.

A function that is called again charges again: a view may call a helper for several things.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..quotas import Hit

#: What two charges of one counter have in common.
_Name = tuple[str, str, int]


class Paid:
    """The charges of one request, by the names of the functions that made them.

    A counter is charged as often as the one function charged it that did so most often. The first
    charges of a request are only kept: most requests never look them up.
    """

    __slots__ = ("_by_function", "_new", "_shared", "_total")

    def __init__(self) -> None:
        self._new: list[tuple[str, Sequence[Hit]]] = []
        self._total: dict[_Name, int] = {}
        self._by_function: dict[tuple[str, _Name], int] = {}
        self._shared: set[_Name] = set()

    def add(self, by: str, hits: Sequence[Hit]) -> None:
        """Note what a function charged."""
        self._new.append((by, hits))

    def covers(self, by: str, hit: Hit) -> bool:
        """Return whether others charged this hit, and more often than this function did.

        A charge that its own response decides on is shared with none.
        """
        if hit.refundable or not (self._new or self._total):
            return False
        self._count()
        name = _name(hit)
        return self._by_function.get((by, name), 0) < self._total.get(name, 0)

    def share(self, by: str, hits: Sequence[Hit]) -> None:
        """Note which charges of others count for this function as well."""
        self._shared = {_name(hit) for hit in hits}
        for name in self._shared:
            self._by_function[by, name] = self._by_function.get((by, name), 0) + 1

    def is_shared(self, hit: Hit) -> bool:
        """Return whether the last function to be charged shares this charge."""
        return not hit.refundable and _name(hit) in self._shared

    def forget(self, hits: Sequence[Hit]) -> None:
        """Note that charges are given back."""
        self._count()
        for name in [_name(hit) for hit in hits if not hit.refundable]:
            self._total[name] = self._total.get(name, 0) - 1

    def _count(self) -> None:
        for by, hits in self._new:
            for name in [_name(hit) for hit in hits if not hit.refundable]:
                self._total[name] = self._total.get(name, 0) + 1
                self._by_function[by, name] = self._by_function.get((by, name), 0) + 1
        self._new.clear()


def _name(hit: Hit) -> _Name:
    return hit.quota.tag, hit.key, hit.cost
