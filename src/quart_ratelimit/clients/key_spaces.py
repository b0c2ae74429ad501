"""The space of a key function: no client that it names is a client of another function.

A space is the same in all workers and after a restart, so nothing in it comes from an address in
memory or from a hash with a new seed per process.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import sys
import weakref
from collections.abc import Callable, Iterable
from decimal import Decimal
from enum import Enum
from hashlib import blake2b
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from operator import attrgetter, itemgetter, methodcaller
from pathlib import Path, PurePath
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    MappingProxyType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any, NamedTuple
from uuid import UUID

from ..current import current_request_or_none

#: Bytes of a space's digest, written in hex.
DIGEST = 6

#: What Python calls the module that it was started with, also in processes that this one started.
MAIN = ("__main__", "__mp_main__")

#: How deep values are described that hold others.
DEPTH = 8

#: Values that are written as they are, and how. Floats are not among them: many are times.
_PLAIN: dict[type, Callable[[Any], str]] = {
    Enum: lambda member: str(member.name),
    str: str.__repr__,
    bytes: bytes.__repr__,
    int: int.__repr__,
    type(None): repr,
    type(...): repr,
    **dict.fromkeys((IPv4Address, IPv4Network, IPv6Address, IPv6Network, re.Pattern), repr),
    **dict.fromkeys((bytearray, range, slice, Decimal, PurePath, UUID), repr),
    ModuleType: lambda module: module_name(module.__name__),
    MethodDescriptorType: lambda method: str(method.__qualname__),
}
#: Values that hold others in no order that is the same in all workers.
_UNORDERED = (set, frozenset, dict, MappingProxyType)
#: Functions without code of their own, and what they were made with.
_GETTERS = (attrgetter, itemgetter, methodcaller)
_CALLABLE = (FunctionType, MethodType, BuiltinFunctionType, functools.partial, *_GETTERS)
#: All that counts by its value, apart from dataclasses.
_BY_VALUE = (*_PLAIN, *_UNORDERED, *_CALLABLE, tuple, list, type)

#: By the id of a function: what keeps the entry, and the space.
_known: dict[int, tuple[object, str]] = {}


def space_of(key_func: Callable[..., object]) -> str:
    """The module and the name of a key function, and a digest of what else distinguishes it.

    The digest covers the code, and the values that the function was made with: closure, defaults,
    arguments of a partial, attributes of an object. The values of a function that is made within a
    request do not count: a block's ``key_func=lambda: user`` is one space in all requests.
    """
    number = id(key_func)
    known = _known.get(number)
    if known is not None:
        return known[1]
    is_declared = current_request_or_none() is None
    space = _space(key_func, is_declared)
    try:
        _known[number] = (weakref.ref(key_func, lambda _: _known.pop(number, None)), space)
    except TypeError:
        if is_declared:  # an object of a rule, which is kept anyway
            _known[number] = (key_func, space)
    return space


def _space(key_func: Callable[..., object], with_values: bool) -> str:
    function: object = key_func
    while isinstance(function, functools.partial):
        function = function.func
    whole = function.__self__ if isinstance(function, MethodType) else function
    text = _Description(whole, with_values).text(key_func, DEPTH)
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=DIGEST).hexdigest()
    # In a key ":" ends the kind of a scope.
    return f"{_name(function)}#{digest}".replace(":", ".")


def module_name(name: str) -> str:
    """A module's name, also of the one that Python was started with.

    That one is ``__main__`` there and has its own name in a server's workers.
    """
    main = sys.modules.get(name) if name in MAIN else None
    if main is None:
        return name
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    return spec.name if spec else Path(file).stem if file else name


def _name(thing: object) -> str:
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{module_name(named.__module__)}.{named.__qualname__}"


class _Description(NamedTuple):
    """Makes a text that differs for functions that differ, as far as they are described."""

    #: The object that is the key function, or has it as a method. Objects that it holds may be
    #: anything, such as the app, and count by their type.
    whole: object
    #: Whether the values count that functions were made with.
    with_values: bool

    def text(self, thing: object, depth: int) -> str:
        """The text of a value; what lies deeper than ``depth`` counts by its type."""
        for plain, write in _PLAIN.items():
            if isinstance(thing, plain):
                return f"{type(thing).__name__} {write(thing)}"
        if depth == 0:
            return _name(type(thing))
        texts = [self.text(one, depth - 1) for one in self._parts(thing)]
        if isinstance(thing, _UNORDERED):
            texts.sort()
        # With its length no text is taken for two.
        name = _name(thing if isinstance(thing, (type, FunctionType)) else type(thing))
        return f"{name}[{''.join(f'{len(text)}:{text}' for text in texts)}]"

    def _parts(self, thing: object) -> Iterable[object]:
        for kinds, parts in _PARTS:
            if isinstance(thing, kinds):
                return parts(thing)
        if isinstance(thing, functools.partial):
            given = (thing.args, *sorted(thing.keywords.items())) if self.with_values else ()
            return (thing.func, *given)
        if isinstance(thing, FunctionType):
            return (thing.__code__, *(_values_of(thing) if self.with_values else ()))
        is_described = thing is self.whole or dataclasses.is_dataclass(thing)
        return _state(thing) if self.with_values and is_described else ()


def _code(code: CodeType) -> Iterable[object]:
    numbers = [repr(one) for one in code.co_consts if isinstance(one, (float, complex))]
    return (code.co_code, code.co_names, code.co_freevars, code.co_consts, *numbers)


#: What values consist of that are described by their parts, whoever holds them.
_PARTS: tuple[tuple[type | tuple[type, ...], Callable[[Any], Iterable[object]]], ...] = (
    ((tuple, list, set, frozenset), iter),
    ((dict, MappingProxyType), lambda mapping: mapping.items()),
    (CodeType, _code),
    (MethodType, lambda method: (method.__func__, method.__self__)),
    (BuiltinFunctionType, lambda function: (function.__qualname__, function.__self__)),
    (_GETTERS, lambda getter: getter.__reduce__()),
)


def _values_of(function: FunctionType) -> tuple[object, ...]:
    """The values that a function was made with."""
    keywords = sorted((function.__kwdefaults__ or {}).items())
    return (function.__defaults__, *keywords, *map(_content, function.__closure__ or ()))


def _state(thing: object) -> list[object]:
    """The fields of a dataclass; of another object, the attributes that hold plain values."""
    if dataclasses.is_dataclass(thing):
        return [getattr(thing, field.name, None) for field in dataclasses.fields(thing)]
    slots = [name for kind in type(thing).__mro__ for name in vars(kind).get("__slots__", ())]
    found = {name: getattr(thing, name) for name in slots if hasattr(thing, name)}
    found |= getattr(thing, "__dict__", {})
    return [(name, found[name]) for name in sorted(found) if isinstance(found[name], _BY_VALUE)]


def _content(cell: object) -> object:
    try:
        return getattr(cell, "cell_contents", None)
    except ValueError:  # not assigned yet
        return None
