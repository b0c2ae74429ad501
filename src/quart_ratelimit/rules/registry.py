"""What decorators leave behind: which functions and blueprints are limited, which are exempt."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import CodeType
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from ..callables import UserFunction, chain, core
from ..clients.keys import KeyForm
from ..constants import ExemptionScope
from ..errors import ConfigurationError
from ..quotas import Quota
from .limits import Limit

if TYPE_CHECKING:
    from quart import Blueprint, Quart

V = TypeVar("V")


class HasRegistry(Protocol):
    """A limiter, as far as this file knows it."""

    @property
    def _registry(self) -> Registry: ...


class WeakTable(Generic[V]):
    """Values by the identity of functions. An entry ends with its function.

    Functions may be objects without a hash. What cannot be referenced weakly is kept.
    """

    def __init__(self) -> None:
        self._entries: dict[int, tuple[object, V]] = {}

    def get(self, function: object) -> V | None:
        """Return the function's value."""
        entry = self._entries.get(id(core(function)))
        return None if entry is None else entry[1]

    def set(self, function: object, value: V) -> None:
        """Set the function's value."""
        function, entries = core(function), self._entries
        number = id(function)
        kept: object = function
        with suppress(TypeError):
            kept = weakref.ref(function, lambda _: entries.pop(number, None))
        entries[number] = (kept, value)

    def values(self) -> list[V]:
        """Return the values of all functions that live."""
        return [value for _, value in list(self._entries.values())]


@dataclass(eq=False, slots=True)
class LimitedFunction:
    """A function or a block of code, and the limits that are checked where it is called."""

    #: For messages, and to know an inner function that is defined again in each request.
    name: str
    limits: list[Limit] = field(default_factory=list)
    function: Callable[..., object] | None = None
    #: What is limited inside it, the outermost first, where other decorators stand between.
    inside: Sequence[LimitedFunction] = ()

    @property
    def by(self) -> str:
        """What one request calls it: it has the name of what it wraps."""
        return f"{self.name}, {len(self.inside)} inside" if self.inside else self.name

    def add(self, limit: Limit) -> None:
        """Limit it by this, too. The same limit twice counts once.

        Raises `ConfigurationError` for another one of the same name that would count in its stead.
        """
        if limit in self.limits:
            return
        for known in (*self.limits, *(one for inner in self.inside for one in inner.limits)):
            if limit.name is not None and known != limit and _count_as_one(known, limit):
                raise ConfigurationError(
                    f"{self.name} has two limits with name={limit.name!r}, which names one count; "
                    "write two names, or one text: '1/second; 100/day'"
                )
        self.limits.append(limit)


@dataclass(frozen=True, slots=True, weakref_slot=True, kw_only=True, eq=False)
class OwnLimit:
    """What a decorated function charges by itself, and what belongs to no rule."""

    #: "rate_limit", "in_flight" or "messages".
    kind: str
    #: The function's name in the code.
    name: str
    #: The quotas, by the limiter's strategy.
    quotas: Callable[[str | None], Sequence[Quota]]
    #: Where a request to an endpoint with an HTTP method counts, within the context of its app.
    counters: Callable[[str, str], Sequence[KeyForm]]
    #: What names the client; None: the limiter's own function.
    key_func: UserFunction[object] | None = None
    #: The limiter of the limit; None: the app's first limiter.
    limiter: HasRegistry | None = None
    #: Whether its refusal is in JSON whatever the client takes.
    says_json: bool = False


#: What belongs to no limiter. Its function keeps it: strongly held here, it would keep the app.
_own_limits: WeakTable[weakref.ref[OwnLimit]] = WeakTable()


def note_own_limit(function: Callable[..., object], own: OwnLimit) -> None:
    """Remember what a function charges by itself."""
    if own.limiter is None:
        _own_limits.set(function, weakref.ref(own))
    else:
        own.limiter._registry.own_limits.set(function, own)


def own_limits(function: object, registry: Registry) -> tuple[OwnLimit, ...]:
    """Return what this function, and those inside it, charge by themselves; the innermost first.

    Without what they charge by a limiter with another registry.
    """
    found: list[OwnLimit | None] = []
    for inner in chain(function):
        known = _own_limits.get(inner)
        found += [registry.own_limits.get(inner), None if known is None else known()]
    return tuple(own for own in reversed(found) if own is not None)


def all_own_limits(registry: Registry) -> list[OwnLimit]:
    """Return what all functions of the process charge by themselves, as `own_limits`."""
    known = [own for each in _own_limits.values() if (own := each()) is not None]
    return [*known, *registry.own_limits.values()]


class Registry:
    """One limiter's notes on blueprints and exempt functions."""

    def __init__(self) -> None:
        #: Another number after each change.
        self.version: int = 0
        #: Each blueprint's limits.
        self.blueprints: dict[Blueprint, list[Limit]] = {}
        self.exempt_blueprints: dict[Blueprint, ExemptionScope] = {}
        #: Functions that say how much is allowed.
        self.providers: weakref.WeakSet[Callable[..., object]] = weakref.WeakSet()
        #: What functions charge by themselves, by this limiter.
        self.own_limits: WeakTable[OwnLimit] = WeakTable()
        self._limited: WeakTable[LimitedFunction] = WeakTable()
        self._exempt: WeakTable[ExemptionScope] = WeakTable()

    def limit_blueprint(self, blueprint: Blueprint, limit: Limit) -> None:
        """Limit each view of a blueprint by this, too. The same limit twice counts once."""
        self.version += 1
        limits = self.blueprints.setdefault(blueprint, [])
        if limit not in limits:
            limits.append(limit)

    def exempt_blueprint(self, blueprint: Blueprint, flags: ExemptionScope) -> None:
        """Exempt the views of a blueprint."""
        self.version += 1
        self.exempt_blueprints[blueprint] = flags

    def note_limited(self, function: Callable[..., object], limited: LimitedFunction) -> None:
        """Remember a function as the limited one of these limits."""
        self._limited.set(function, limited)

    def all_limited(self) -> list[LimitedFunction]:
        """Return all limited functions that live."""
        return self._limited.values()

    def limited_itself(self, function: object) -> LimitedFunction | None:
        """Return what limits this function, whatever is limited inside it; None: nothing does."""
        return self._limited.get(function)

    def limited(self, function: object) -> tuple[LimitedFunction, ...]:
        """Return what limits this function, and those inside it; the outermost first."""
        found = (self._limited.get(inner) for inner in chain(function))
        return tuple(limited for limited in found if limited is not None)

    def exempt(self, function: object, flags: ExemptionScope) -> None:
        """Exempt a function, with all decorators above it."""
        self.version += 1
        self._exempt.set(function, flags)

    def exemption(self, function: object) -> ExemptionScope:
        """Return what this function, or one inside it, is exempt from."""
        found = (self._exempt.get(inner) for inner in chain(function))
        return next((flags for flags in found if flags is not None), ExemptionScope.NONE)


def limited_by(limiter: HasRegistry, function: object) -> tuple[LimitedFunction, ...]:
    """Return what this limiter knows of a function that it limits, as `Registry.limited`."""
    return limiter._registry.limited(function)


def check_function(target: object, decorator: str) -> Callable[..., object]:
    """Return the function. Raises `ConfigurationError` unless it can be a view or a helper."""
    if isinstance(target, type):
        raise ConfigurationError(
            f"{target.__qualname__} is a class: write decorators = [{decorator}] in it, or "
            "decorate its methods"
        )
    if isinstance(target, (staticmethod, classmethod)):
        kind = type(target).__name__
        name = getattr(target, "__qualname__", kind)
        raise ConfigurationError(f"{name}: write @{kind} above {decorator}, and not below it")
    if hasattr(target, "asgi_app"):  # an app is callable, too
        raise ConfigurationError(
            f"{decorator} limits functions, and not an app: write application_limits=[...] or "
            "default_limits=[...] in Limiter(app=app, ...)"
        )
    if not callable(target):
        raise ConfigurationError(
            f"{decorator} limits functions, and {type(target).__name__} is not a function: limit a "
            "blueprint by limiter.limit(...)(blueprint)"
        )
    return target


@dataclass(eq=False, slots=True)
class _Wrapping:
    """A function around another one that limits it."""

    outer: weakref.ref[Callable[..., object]]
    #: The limiter; None: any app's that uses the function.
    limiter: weakref.ref[HasRegistry] | None
    #: Whether an app has been seen to use it.
    used: bool = False


#: By the inner function, and by the outer one.
_wrappings: WeakTable[list[_Wrapping]] = WeakTable()
_by_outer: WeakTable[_Wrapping] = WeakTable()
#: The code of functions that are limited, and of what limits them: ``while_serving`` keeps no
#: function, and calls it where it is registered.
_codes: WeakTable[bool] = WeakTable()
_apps: weakref.WeakSet[Quart] = weakref.WeakSet()


def known_apps() -> list[Quart]:
    """Return the apps of the process that have a limiter."""
    return list(_apps)


def note_app(app: Quart) -> None:
    """Remember an app with a limiter: its views use what limits them."""
    _apps.add(app)


def note_wrapped(
    inner: Callable[..., object], outer: Callable[..., object], limiter: HasRegistry | None = None
) -> None:
    """Remember that ``outer`` limits ``inner``, so that a route on ``inner`` is found.

    The note outlives ``outer``: in an app factory nothing keeps a function above its route.
    """
    wrapping = _Wrapping(weakref.ref(outer), None if limiter is None else weakref.ref(limiter))
    _by_outer.set(outer, wrapping)
    for function in (*chain(inner), getattr(outer, "func", outer)):
        code: CodeType | None = getattr(function, "__code__", None)
        if code is not None:
            _codes.set(code, True)
    for function in chain(inner):
        known = _wrappings.get(function) or []
        # One lost function per limiter says as much as many: a view may decorate a helper again.
        lost = {id(each.limiter): each for each in known if each.outer() is None and not each.used}
        living = [each for each in known if each.outer() is not None]
        _wrappings.set(function, [*lost.values(), *living, wrapping])


def functions_of(app: Quart) -> list[Callable[..., object]]:
    """Return the functions that an app calls.

    They are views, error handlers, and the hooks around each request and websocket, at the app's
    start and end, and for templates and URLs.
    """
    found: list[Callable[..., object]] = [
        *app.view_functions.values(),
        *app.before_serving_funcs,
        *app.after_serving_funcs,
        *app.teardown_appcontext_funcs,
        *app.shell_context_processors,
    ]
    for around in (
        app.before_request_funcs,
        app.after_request_funcs,
        app.teardown_request_funcs,
        app.before_websocket_funcs,
        app.after_websocket_funcs,
        app.teardown_websocket_funcs,
        app.template_context_processors,
        app.url_value_preprocessors,
        app.url_default_functions,
    ):
        for functions in around.values():
            found += functions
    for by_code in app.error_handler_spec.values():
        for by_class in by_code.values():
            found += by_class.values()
    return found


def limits_messages(view: object, registry: Registry) -> bool:
    """Return whether a view, or a method of a class-based view, limits a websocket's messages."""
    kind = getattr(view, "view_class", None)
    names = [
        "dispatch_request",
        *(method.lower() for method in getattr(kind, "methods", None) or ()),
    ]
    functions = [view, *(getattr(kind, name, None) for name in names if kind is not None)]
    found = [own for function in functions for own in own_limits(function, registry)]
    return any(own.kind == "messages" for own in found)


def called_without_limits(app: Quart) -> Iterator[tuple[Callable[..., object], str]]:
    """Yield the functions of an app that no limit can apply to, each with how Quart calls it."""
    how: dict[str, list[Iterable[Callable[..., object]]]] = {
        "without await": [
            app.shell_context_processors,
            *app.url_value_preprocessors.values(),
            *app.url_default_functions.values(),
        ],
        "without a request": [
            app.before_serving_funcs,
            app.after_serving_funcs,
            app.teardown_appcontext_funcs,
        ],
        "after the view has answered": [
            *app.after_request_funcs.values(),
            *app.after_websocket_funcs.values(),
            *app.teardown_request_funcs.values(),
            *app.teardown_websocket_funcs.values(),
        ],
    }
    for text, groups in how.items():
        for functions in groups:
            for function in functions:
                yield function, text


def is_of_limited(running: object) -> bool:
    """Return whether a coroutine or a generator is of a function that is limited."""
    codes = [getattr(running, name, None) for name in ("ag_code", "cr_code", "gi_code")]
    return any(_codes.get(code) for code in codes if code is not None)


def note_used() -> None:
    """Remember which functions that limit others the known apps use."""
    for app in _apps:
        for view in functions_of(app):
            for function in chain(view):
                wrapping = _by_outer.get(function)
                if wrapping is not None:
                    wrapping.used = True


def is_lost(view: Callable[..., object], limiter: HasRegistry) -> bool:
    """Return whether this view has been limited by functions that no app uses.

    That is a limit above its route: the route has the view without it.
    """
    known = _wrappings.get(view) or ()
    own = [each for each in known if each.limiter is None or each.limiter() is limiter]
    return bool(own) and not any(each.used for each in own)


def _count_as_one(one: Limit, other: Limit) -> bool:
    """Whether both count the same client under the same name."""
    return (one.name, one.key_function, one.scope, one.shared, one.per_method) == (
        other.name, other.key_function, other.scope, other.shared, other.per_method
    )  # fmt: skip
