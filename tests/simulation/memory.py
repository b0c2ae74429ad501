"""What still holds a client's long name: the texts themselves are looked for.

Traced memory would not do. A table of one entry per run grows as well, by a piece as large as a
name, and that is not a name that is kept.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence

from .plan import Action

TEXTS = (str, bytes, bytearray)


def kept_names(names: Sequence[str]) -> list[str]:
    """The texts that hold one of these names, each by its kind, its length and what holds it.

    The names that a plan holds do not count.
    """
    parts = [part for name in set(names) for part in (name, name.encode())]
    shortest = min(map(len, names), default=0)
    objects = _objects()
    own = {id(one.key) for one in objects if type(one) is Action}
    own.update(map(id, parts))
    found = []
    for text in _texts(objects):
        if len(text) < shortest or id(text) in own:
            continue
        if _holds_any(text, parts):
            own.add(id(text))
            found.append(f"{len(text):,} characters of {type(text).__name__} in {_holders(text)}")
    return found


def _holds_any(text: str | bytes | bytearray, parts: Sequence[str | bytes]) -> bool:
    kind = str if isinstance(text, str) else bytes  # one is never a part of the other
    return any(isinstance(part, kind) and part in text for part in parts)  # type: ignore[operator]


def _objects() -> list[object]:
    """Every container that the garbage collector knows, the frozen ones among them."""
    is_frozen = gc.get_freeze_count() > 0
    if is_frozen:
        gc.unfreeze()
    objects: list[object] = gc.get_objects()
    if is_frozen:
        gc.freeze()
    return objects


def _texts(objects: list[object]) -> Iterator[str | bytes | bytearray]:
    """Every text in these containers, and in those in them that the collector passes by."""
    seen: set[int] = set()
    inside = objects
    while inside:
        for one in inside:
            if issubclass(type(one), dict):  # the collector passes by keys that are text
                yield from (key for key in list(one) if isinstance(key, str))  # type: ignore[call-overload]
        untracked: list[object] = []
        for one in gc.get_referents(*inside):
            kind = type(one)  # a weak proxy would pretend to be what it stands for, or raise
            if issubclass(kind, TEXTS):
                yield one
            elif issubclass(kind, (tuple, dict)) and not gc.is_tracked(one) and id(one) not in seen:
                seen.add(id(one))
                untracked.append(one)
        inside = untracked


def _holders(text: object) -> str:
    """The kinds of the containers that hold a text."""
    kinds = {type(one).__qualname__ for one in gc.get_referrers(text)} - {"frame", "generator"}
    return ", ".join(sorted(kinds)) or "an object that is being called"
