"""Collections that keep what is newest, so that nothing a client sends makes them grow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sized
from functools import lru_cache, wraps
from typing import Concatenate, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
K = TypeVar("K", bound=Sized)
V = TypeVar("V")


#: Characters or bytes of a `Recent`'s newer half, if it is not said otherwise.
MOST = 4_000_000


#: Texts that a `Once` remembers, and characters of the longest.
TEXTS, LONGEST_TEXT = 1024, 500


class Once:
    """Says whether a text is new, for a line that is logged once. Long texts are shortened."""

    def __init__(self) -> None:
        self._texts: set[str] = set()

    def is_new(self, text: str) -> bool:
        """Whether the text comes for the first time, or was forgotten among many others."""
        text = text[:LONGEST_TEXT]
        if text in self._texts:
            return False
        if len(self._texts) >= TEXTS:
            self._texts.clear()
        self._texts.add(text)
        return True


class Recent(Generic[K, V]):
    """Keeps the newest entries: at most twice ``size``, and twice ``most`` in length.

    ``most``: the length of the keys and values at which the older entries are forgotten (default:
    `MOST`).
    ``longest``: the length of the longest key that is kept. ``length``: measures a key (default:
    `len`). ``value_length``: measures a value (default: 0, for values of a fixed size).
    """

    def __init__(
        self,
        size: int,
        *,
        most: int = MOST,
        longest: int,
        length: Callable[[K], int] = len,
        value_length: Callable[[V], int] | None = None,
    ) -> None:
        self._size = size
        self._most = most
        self._longest = longest
        self._length = length
        self._value_length = value_length
        # Two generations, so that the older half is forgotten at no cost.
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}
        #: The length of the young entries, or more: an entry that is taken out still counts.
        self._total = 0

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, key: K) -> V | None:
        """The newest entry under this key."""
        found = self._young.get(key)
        return self._old.get(key) if found is None else found

    def put(self, key: K, value: V) -> None:
        """Keep an entry, unless its key is too long."""
        self.update({key: value})

    def update(self, entries: Mapping[K, V]) -> None:
        """Keep some entries at once, but those whose keys are too long."""
        if entries and max(map(self._length, entries)) > self._longest:
            entries = {k: v for k, v in entries.items() if self._length(k) <= self._longest}
        young, value_length = self._young, self._value_length
        self._total += sum([self._length(key) for key in entries if key not in young])
        if value_length is not None:
            self._total += sum(map(value_length, entries.values()))
            self._total -= sum([value_length(young[key]) for key in entries if key in young])
        young.update(entries)
        if len(young) > self._size or self._total > self._most:
            self.turn()

    def turn(self) -> None:
        """Forget the older entries; the others are the older ones from now on."""
        self._old, self._young, self._total = self._young, {}, 0

    def pop(self, key: K) -> V | None:
        """Forget the entry under this key, and return it."""
        old, young = self._old.pop(key, None), self._young.pop(key, None)
        return old if young is None else young

    def clear(self) -> None:
        """Forget every entry."""
        self._young, self._old, self._total = {}, {}, 0


def kept_for_short_texts(
    size: int, longest: int
) -> Callable[[Callable[Concatenate[str, P], R]], Callable[Concatenate[str, P], R]]:
    """Keep the last ``size`` results of a function, but not for a longer first argument.

    ``longest`` is in characters. A client may have a say in the text, so a cache without a bound
    on its length would keep as much memory as the client likes.
    """

    def decorate(
        function: Callable[Concatenate[str, P], R],
    ) -> Callable[Concatenate[str, P], R]:
        kept = lru_cache(maxsize=size)(function)

        @wraps(function)
        def result(text: str, /, *args: P.args, **kwargs: P.kwargs) -> R:
            call = kept if len(text) <= longest else function
            return call(text, *args, **kwargs)  # type: ignore[arg-type]  # hashable by use

        return result

    return decorate
