"""The rules: what is limited, for which client, at which cost, and what happens on a breach.

The classes and the order of their fields are Flask-Limiter 4.1.1's. Every callable may be sync or
async and is called within the request.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn, ParamSpec, Protocol, TypeVar, overload

from ..callables import UserFunction, bare, check_user_function
from ..clients.key_spaces import space_of
from ..errors import ConfigurationError
from ..quotas import Quota
from .kinds import ARGUMENTS, checked

if TYPE_CHECKING:
    from quart import Blueprint

P = ParamSpec("P")
T = TypeVar("T")
AsyncView = TypeVar("AsyncView", bound=Callable[..., Awaitable[object]])

#: A limit as text ("10/minute; 100/day"), as a quota, or a function that returns one of them.
Provider = str | Quota | UserFunction[str | Quota | None]


class Applies(Protocol):
    """What a `RouteLimit` needs of its limiter."""

    def _apply_limit(self, limit: RouteLimit, target: object) -> object:
        """Limit a function (the answer is its limited twin) or a blueprint (None)."""

    def _enter_limit(self, limit: RouteLimit, where: str) -> Awaitable[None]:
        """Charge the limit for the block of the caller's caller. Raises `RateLimitExceeded`."""


@dataclass(frozen=True)
class Limit:
    """A rule with options: ``default_limits=[Limit("100/minute", exempt_when=is_internal)]``."""

    #: The limit, or a function that returns it; "" or None from a function means unlimited.
    limit_provider: Provider
    #: Returns the client that is counted; None: the limiter's own function.
    key_function: UserFunction[object] | None = None
    #: Distinguishes counters of one endpoint, or of one block; a function is called with the
    #: endpoint.
    scope: object = None
    #: Units that a request costs; None is 1.
    cost: int | UserFunction[int] | None = None
    #: One counter for all endpoints with this scope.
    shared: bool = False
    #: Only these HTTP methods are limited.
    methods: Sequence[str] | None = None
    #: A counter of its own for each HTTP method.
    per_method: bool = False
    #: What a refused client reads instead of the limit.
    error_message: str | UserFunction[str] | None = None
    #: Limits on how often this one may be breached.
    meta_limits: Iterable[Provider | MetaLimit] | None = None
    #: Whether this request is not limited.
    exempt_when: UserFunction[bool] | None = None
    #: Whether the response is charged; until it is known the cost is reserved.
    deduct_when: UserFunction[bool] | None = None
    #: Called with the `RequestLimit` on a breach. Its result is sent, and may be anything that a
    #: view may return; None: the usual response.
    on_breach: UserFunction[object] | None = None
    #: The limit's name in response fields; with several limits in the text, the start of their
    #: names. When the amount changes, a limit with a name keeps its count.
    name: str | None = field(default=None, kw_only=True)
    #: True: the limit counts and reports, and refuses nothing; None: the limiter's setting. With
    #: ``shadow=`` it replaces no other limits.
    shadow: bool | UserFunction[bool] | None = field(default=None, kw_only=True)
    #: The policy while the store is away: "local", "open", "closed" or "raise"; None: the
    #: limiter's.
    on_store_error: str | None = field(default=None, kw_only=True)
    #: Whether it replaces the limits around it: the defaults, or outer blueprints' limits.
    override_defaults: bool = field(default=False, init=False)
    #: False: cost, per_method, exempt_when and deduct_when are as for all defaults, or for all
    #: application limits.
    finalized: bool = True

    def __post_init__(self) -> None:
        for name, kind in ARGUMENTS.items():
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, checked(kind, name, value))
        if self.key_function is not None:
            if not callable(self.key_function):
                check_user_function(self.key_function, "key_func")
            space_of(self.key_function)  # kept: within a request its values would not count
        if self.shadow:  # what is in force stays in force
            object.__setattr__(self, "override_defaults", False)

    def __hash__(self) -> int:
        """Return the same for equal rules; functions may be objects without a hash."""
        rest = (self.name, self.shared, self.per_method, self.methods)
        try:
            return hash((self.limit_provider, *rest))
        except TypeError:
            return hash(rest)


@dataclass(frozen=True, kw_only=True)
class RouteLimit(Limit):
    """A rule for a view, a helper function, a blueprint or a block of code.

    ``@limiter.limit(...)`` makes them; ``async with limiter.limit(...):`` limits a block.
    """

    override_defaults: bool = False
    limiter: Applies = field(compare=False, repr=False)

    @property
    def __name__(self) -> str:
        """Read by routes; a rule is not a view. Raises `MissingParentheses`."""
        if not callable(self.limit_provider):
            raise AttributeError("__name__")
        raise bare(self.limit_provider, "limiter.limit", 'limiter.limit("10/minute")')

    @overload
    def __call__(self, target: Blueprint) -> None: ...

    # A function of an awaitable is a function as well: the first overload that fits counts.
    @overload
    def __call__(self, target: AsyncView) -> AsyncView: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, target: Callable[P, T]) -> Callable[P, Coroutine[object, object, T]]: ...

    def __call__(self, target: object) -> object:
        """Limit a function, under its route decorator, or a blueprint.

        Returns the limited function, and None for a blueprint.
        """
        return self.limiter._apply_limit(self, target)

    def __aenter__(self) -> Awaitable[None]:
        """Charge the limit. Raises `RateLimitExceeded`."""
        # Not a coroutine function: its caller is the frame that holds the ``async with``.
        frame = sys._getframe(1)
        where = f"{frame.f_code.co_filename}:{frame.f_code.co_name}:{frame.f_lineno}"
        return self.limiter._enter_limit(self, where)

    async def __aexit__(self, *exc_info: object) -> None:
        """Nothing is given back."""

    def __enter__(self) -> NoReturn:
        """Raise `ConfigurationError`: a limit is awaited."""
        form = "async with limiter.limit(...)"
        raise ConfigurationError(f"a limit of a block is async: write {form}")

    def __exit__(self, *exc_info: object) -> None:
        """Nothing was entered."""

    def __hash__(self) -> int:
        return Limit.__hash__(self)


@dataclass(frozen=True, kw_only=True)
class BlockLimit(RouteLimit):
    """A rule as one block has it."""

    #: Where the block stands in the code. It counts by itself, whatever view runs it.
    place: str

    @classmethod
    def of(cls, limit: RouteLimit, place: str) -> BlockLimit:
        """Return the rule for the block at that place."""
        block = object.__new__(cls)  # not called: its fields were checked with the limit's
        vars(block).update(vars(limit), place=place)
        return block

    def __hash__(self) -> int:
        return Limit.__hash__(self)


@dataclass(frozen=True, kw_only=True)
class ApplicationLimit(Limit):
    """A rule for all views together."""

    scope: object = "global"
    shared: bool = field(default=True, init=False)

    def __hash__(self) -> int:
        return Limit.__hash__(self)


@dataclass(frozen=True, kw_only=True)
class MetaLimit(Limit):
    """A rule on how often a client may breach other limits.

    Without a ``key_function`` a meta limit counts the client of its limit.
    """

    key_function: UserFunction[object] | None = None
    scope: object = "meta"
    meta_limits: Iterable[Provider | MetaLimit] | None = field(default=None, init=False)
    deduct_when: UserFunction[bool] | None = field(default=None, init=False)
    shadow: bool | UserFunction[bool] | None = field(default=False, init=False)
    shared: bool = field(default=True, init=False)

    def __hash__(self) -> int:
        return Limit.__hash__(self)
