"""What decorators leave behind: which functions and blueprints are limited, which are exempt."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..constants import ExemptionScope
from ..errors import ConfigurationError
from ..quotas import Quota
from .limits import Limit

#: The attribute of a limited function: limiter -> `LimitedFunction`. ``functools.wraps`` copies it
#: to decorators above, so that the view under the route is known as limited.
ATTRIBUTE = "_quart_ratelimit"

#: Functions inside limited ones, with the limited ones.
_inside: weakref.WeakKeyDictionary[Any, list[weakref.ref[Any]]] = weakref.WeakKeyDictionary()


@dataclass(eq=False, slots=True)
class LimitedFunction:
    """A function or a block of code, and its limits."""

    #: For messages, and to know an inner function that is defined anew in each request.
    name: str
    limits: list[Limit] = field(default_factory=list)
    function: Callable[..., Any] | None = None

    def add(self, limit: Limit) -> None:
        """Limit it by this, too. The same limit twice counts once.

        Raises `ConfigurationError` for another one of the same name that would count in its stead.
        """
        if limit in self.limits:
            return
        for known in self.limits:
            if limit.name is not None and _count_as_one(known, limit):
                raise ConfigurationError(
                    f"{self.name} has two limits with name={limit.name!r}, which names one count; "
                    "write two names, or one text: '1/second; 100/day'"
                )
        self.limits.append(limit)


#: The attribute of a function that charges by itself; handed on as `ATTRIBUTE` is.
_OWN = "_quart_ratelimit_own"


class OpenAPINote(NamedTuple):
    """Limits that a function charges by itself, and that belong to no rule."""

    quotas: Sequence[Quota]
    #: Whether its refusal is in JSON whatever the client takes.
    says_json: bool = False


def note_for_openapi(function: Callable[..., Any], own: OpenAPINote) -> None:
    """Remember what a function charges by itself."""
    setattr(function, _OWN, (*openapi_notes(function), own))


def openapi_notes(function: Callable[..., Any]) -> tuple[OpenAPINote, ...]:
    """What this function, and those that it wraps, charge by themselves."""
    noted: tuple[OpenAPINote, ...] = getattr(function, _OWN, ())
    return noted


class Registry:
    """One limiter's notes on blueprints and exempt functions."""

    def __init__(self) -> None:
        #: Another number after each change.
        self.version = 0
        #: Each blueprint's limits.
        self.blueprints: dict[Any, list[Limit]] = {}
        self.exempt_blueprints: dict[Any, ExemptionScope] = {}
        #: Functions that say how much is allowed.
        self.providers: weakref.WeakSet[Any] = weakref.WeakSet()
        self._exempt: weakref.WeakKeyDictionary[Any, ExemptionScope] = weakref.WeakKeyDictionary()

    def limit_blueprint(self, blueprint: Any, limit: Limit) -> None:
        """Limit each view of a blueprint by this, too. The same limit twice counts once."""
        self.version += 1
        limits = self.blueprints.setdefault(blueprint, [])
        if limit not in limits:
            limits.append(limit)

    def exempt_blueprint(self, blueprint: Any, flags: ExemptionScope) -> None:
        """Exempt the views of a blueprint."""
        self.version += 1
        self.exempt_blueprints[blueprint] = flags

    def exempt(self, function: Any, flags: ExemptionScope) -> None:
        """Exempt a function, with all decorators above it."""
        self.version += 1
        self._exempt[core_function(function)] = flags

    def exemption(self, function: Callable[..., Any] | None) -> ExemptionScope:
        """What this function, or one that it wraps, is exempt from."""
        while self._exempt and function is not None:
            flags = self._exempt.get(core_function(function))
            if flags is not None:
                return flags
            function = getattr(function, "__wrapped__", None)
        return ExemptionScope.NONE


def limited_by(limiter: Any, function: Callable[..., Any] | None) -> LimitedFunction | None:
    """What this limiter knows of a function that it limits; None: it does not limit it."""
    registry: dict[Any, LimitedFunction] = getattr(function, ATTRIBUTE, {})
    return registry.get(limiter)


def check_function(target: Any, decorator: str) -> None:
    """Raise `ConfigurationError` unless it can be decorated as a view or a helper can."""
    if isinstance(target, type):
        raise ConfigurationError(
            f"{target.__qualname__} is a class: write decorators = [{decorator}] in it, or "
            "decorate its methods"
        )
    if not callable(target):
        raise ConfigurationError(
            f"{decorator} goes onto a function, and {type(target).__name__} is none: limit a "
            "blueprint by limiter.limit(...)(blueprint)"
        )


def limiting(function: Callable[..., Any]) -> list[Any]:
    """The functions that limit this one, as `note_wrapped` noted them."""
    return [
        outer for ref in _inside.get(core_function(function), ()) if (outer := ref()) is not None
    ]


def note_wrapped(inner: Callable[..., Any], outer: Callable[..., Any]) -> None:
    """Remember that ``outer`` limits ``inner``, so that a route on ``inner`` is found out."""
    living = [ref for ref in _inside.get(core_function(inner), ()) if ref() is not None]
    _inside[core_function(inner)] = [*living, weakref.ref(outer)]


def _count_as_one(one: Limit, other: Limit) -> bool:
    """Whether both count the same client under the same name."""
    return (one.name, one.key_function, one.scope, one.shared, one.per_method) == (
        other.name, other.key_function, other.scope, other.shared, other.per_method
    )  # fmt: skip


def core_function(function: Callable[..., Any]) -> Any:
    """The function of a bound method, which is made anew each time it is asked for."""
    return getattr(function, "__func__", function)
