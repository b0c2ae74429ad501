"""Finds what of the package holds a client's text."""

import collections
import functools
import gc
import sys
import types
from collections.abc import Iterator

import quart_ratelimit

#: What is looked into: the package's own objects, and these.
CONTAINERS = (
    dict,
    list,
    tuple,
    set,
    frozenset,
    collections.deque,
    functools.partial,
    types.CellType,
    types.CoroutineType,
    types.FrameType,
    types.MethodType,
    types.TracebackType,
)


#: Named by their own modules; a cache of functools is one.
FUNCTIONS = (types.FunctionType, type(functools.lru_cache(len)))


def is_ours(thing: object) -> bool:
    """Whether it is an object or a function of the package."""
    kind = thing if isinstance(thing, FUNCTIONS) else type(thing)
    return str(kind.__module__).startswith(quart_ratelimit.__name__)


def roots() -> Iterator[object]:
    """The package's objects that are alive, and its modules' variables."""
    gc.collect()
    yield from [one for one in gc.get_objects() if is_ours(one)]
    for name, module in list(sys.modules.items()):
        if name.startswith(quart_ratelimit.__name__):
            yield vars(module)


def ways_to(part: str) -> list[str]:
    """The ways from the package's objects to each text with this part, as text or as bytes."""
    raw = part.encode()
    found: list[str] = []
    #: What was seen, each with the object that it was reached by, so that no number is used again.
    seen: dict[int, tuple[object, object]] = {}
    to_see: list[tuple[object, object]] = [(one, None) for one in roots()]
    while to_see:
        thing, by = to_see.pop()
        if isinstance(thing, (str, bytes, bytearray)):
            if len(thing) >= len(part) and (
                part in thing if isinstance(thing, str) else raw in thing
            ):
                found.append(" > ".join([*reversed(_names(by, seen)), type(thing).__name__]))
        elif id(thing) not in seen and (isinstance(thing, CONTAINERS) or is_ours(thing)):
            seen[id(thing)] = (thing, by)
            to_see += [(held, thing) for held in gc.get_referents(thing)]
    return found


def _names(thing: object, seen: dict[int, tuple[object, object]]) -> list[str]:
    """The types of the objects that a thing was reached by, the nearest first."""
    names: list[str] = []
    while thing is not None:
        names.append(type(thing).__qualname__)
        thing = seen[id(thing)][1]
    return names
