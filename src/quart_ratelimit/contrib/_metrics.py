"""Label values that cannot grow without bound."""

from __future__ import annotations

#: The label of limits past the bound.
OTHER = "other"


class Names:
    """The first ``most`` names heard are told apart, the others are one.

    Limits that a function makes, one a tenant, would otherwise each be a time series for ever.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def bounded(self, name: str) -> str:
        """The name, or `OTHER`."""
        if name not in self._known:
            if len(self._known) >= self._most:
                return OTHER
            self._known.add(name)
        return name
