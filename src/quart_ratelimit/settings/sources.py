"""Chooses between the sources of a setting: the keyword, else the variable, else the default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..rules.kinds import checked
from .table import Setting


class Sources:
    """The keywords and variables that were given. None and empty values count as not given."""

    def __init__(self, keywords: Mapping[str, object], config: Mapping[str, object]) -> None:
        self._keywords = keywords
        self._config = config

    def read(self, row: Setting) -> object:
        """Return what counts, as the row's kind converts it.

        Raises `ConfigurationError`, which names the keyword or the variable, also for a value that
        does not count.
        """
        found = [checked(row.kind, place, value) for place, value in self._given(row)]
        return found[0] if found else row.default

    def raw(self, row: Setting) -> list[object]:
        """Return what was given, the value that counts first."""
        return [value for _, value in self._given(row)]

    def origin(self, row: Setting) -> str:
        """Return the keyword or the variable that counts."""
        return next((place for place, _ in self._given(row)), row.keyword)

    def _given(self, row: Setting) -> Iterator[tuple[str, object]]:
        if row.is_required and row.keyword in self._keywords:
            yield row.keyword, self._keywords[row.keyword]
            return
        sources = ((row.keyword, self._keywords), (row.variable, self._config))
        for place, values in sources:
            value = values.get(place)
            is_empty = isinstance(value, (str, list, tuple, dict)) and not value
            if value is not None and not is_empty:
                yield place, value
