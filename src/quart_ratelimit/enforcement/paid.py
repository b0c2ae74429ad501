"""What one request has charged, so that a quota that stands twice is charged once.

A function that is called again charges again: a view may call a helper for several things. A charge
that the response decides on is kept if one of the limits that share it is to be charged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..callables import UserFunction
from ..quotas import Hit

#: Whether the response is charged; None: each response is.
_Decider = UserFunction[bool] | None

#: What two charges of one counter have in common.
_Name = tuple[str, str, int]


class Paid:
    """The charges of one request, by the names of the functions that made them.

    A counter is charged as often as the one function charged it that did so most often. The first
    charges of a request are only kept: most requests never look them up.
    """

    __slots__ = ("_by_function", "_deciders", "_new", "_shared", "_total")

    def __init__(self) -> None:
        self._new: list[tuple[str, Sequence[Hit]]] = []
        self._total: dict[_Name, int] = {}
        self._by_function: dict[tuple[str, _Name], int] = {}
        self._shared: set[_Name] = set()
        self._deciders: dict[_Name, list[_Decider]] = {}

    def __bool__(self) -> bool:
        """Return whether there is a charge to share."""
        return bool(self._new or self._total)

    def add(self, by: str, hits: Sequence[Hit]) -> None:
        """Note what a function charged."""
        self._new.append((by, hits))

    def covers(self, by: str, hit: Hit) -> bool:
        """Return whether others charged this hit, and more often than this function did."""
        self._count()
        name = _name(hit)
        return self._by_function.get((by, name), 0) < self._total.get(name, 0)

    def share(self, by: str, covered: Iterable[tuple[Hit, _Decider]]) -> None:
        """Note which charges of others count for this function, and what decides on them."""
        self._shared = set()
        for hit, decider in covered:
            name = _name(hit)
            self._shared.add(name)
            self._by_function[by, name] = self._by_function.get((by, name), 0) + 1
            self._deciders.setdefault(name, []).append(decider)

    def deciders(self, hit: Hit) -> Sequence[_Decider]:
        """Return what decides on this charge, in addition to the limit that charged it."""
        return self._deciders.get(_name(hit), ())

    def is_shared(self, hit: Hit) -> bool:
        """Return whether the last function to be charged shares this charge."""
        return _name(hit) in self._shared

    def forget(self, hits: Sequence[Hit]) -> None:
        """Note that charges are given back."""
        self._count()
        for name in map(_name, hits):
            self._total[name] = self._total.get(name, 0) - 1

    def restart(self) -> None:
        """Share none of the charges until now with later functions."""
        self._new, self._total, self._by_function, self._shared = [], {}, {}, set()

    def _count(self) -> None:
        for by, hits in self._new:
            for name in map(_name, hits):
                self._total[name] = self._total.get(name, 0) + 1
                self._by_function[by, name] = self._by_function.get((by, name), 0) + 1
        self._new.clear()


def _name(hit: Hit) -> _Name:
    return hit.quota.tag, hit.key, hit.cost
