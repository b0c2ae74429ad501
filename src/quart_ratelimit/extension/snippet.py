"""``@rate_limit``: the well-known Flask snippet's limiter, as a decorator for views."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from quart import Quart, current_app, jsonify
from werkzeug.sansio.response import Response

from ..callables import UserFunction, chain, check_called, check_user_function
from ..clients.key_functions import address_function
from ..clients.key_spaces import space_of
from ..clients.keys import KeyForm, bounded, key_parts
from ..current import current_app_or_none, current_request_or_none, handler_of
from ..enforcement.stage import Stage
from ..errors import ConfigurationError, RateLimitExceeded
from ..quotas import Quota
from ..rules.kinds import checked, policy, text
from ..rules.notation import one_per_counter, read_limit
from ..rules.registry import OwnLimit, WeakTable, check_function
from ..rules.resolved import RuntimeLimit
from ..rules.views import ViewDecorator, name_in_code, wrap_view
from ..settings.table import Settings
from .binding import EXTENSION, Binding, binding_of
from .limiter import Limiter

#: The Flask snippet's own words.
MESSAGE = "Too many requests. Please try again later."
#: The start of a limit's name in response fields, if it has no scope.
NAME = "rate_limit"


def rate_limit(
    limit: str | Quota | None = None,
    *,
    requests: int | None = None,
    duration: int | None = None,
    key: UserFunction[str] | None = None,
    scope: str | None = "",
    message: str = MESSAGE,
    on_store_error: str | None = None,
) -> ViewDecorator:
    """Limit a view, below its route: ``@rate_limit("10/minute")``.

    A client has a counter per view. A refusal is a 429 with ``Retry-After`` and ``{"message":
    message}``, unless the app handles `RateLimitExceeded`.

    - ``limit``: ``"10/minute"``, or a `Quota`. Response fields call it "rate_limit", unless it has
      a name or a scope.
    - ``requests``, ``duration``: the limit as two numbers, ``duration`` in seconds.
    - ``key``: a function that returns what is counted (default: the limiter's ``key_func``).
    - ``scope``: views with one scope share a counter (default ``""``: each view has its own); None
      selects the Flask snippet's key, ``rate_limit:{client}:{window}``, for all views of one
      period.
    - ``message``: the message of a refusal.
    - ``on_store_error``: what decides while the store is away, "local", "open", "closed" or "raise"
      (default: the limiter's).

    Raises `ConfigurationError`: at once for a limit that cannot be read, and when the view is
    called in an app without a `Limiter`.
    """
    check_called(limit, "rate_limit", 'rate_limit("10/minute")')
    checked(text, "rate_limit(message=...)", message)
    if scope is not None:
        checked(text, "rate_limit(scope=...)", scope)
    if key is not None:
        check_user_function(key, "rate_limit(key=...)")
        space_of(key)  # as in `Limit`
    own = "" if on_store_error is None else checked(policy, "on_store_error", on_store_error)
    quotas = functools.partial(read_limit, limit, requests, duration)
    declared = _Declared(scope, key, quotas, quotas(None), message, own)

    def decorate(view: Callable[..., object]) -> Any:
        check_function(view, "rate_limit(...)")
        _check_below(view, declared)
        space_of(view)  # as of a key function
        known: tuple[Settings, _Place, dict[_Where, Stage]] | None = None

        def place_in(settings: Settings) -> _Place:
            return _Place(view, scope, _number(view, declared, settings.key_func))

        def charge() -> Awaitable[None] | None:
            nonlocal known
            binding = _current_binding(view)
            if binding is None or not binding.is_active:
                return None
            settings = binding.settings
            if known is None or known[0] is not settings:
                known = settings, place_in(settings), {}
            _, place, stages = known
            where = place.of_request()
            stage = stages.get(where)
            if stage is None:
                stage = stages[where] = _stage(declared, where, settings, name_in_code(view))
            return binding.hooks.charge(stage)

        def counters(endpoint: str, method: str) -> Sequence[KeyForm]:
            binding = _current_binding(view)
            if binding is None:
                return []
            where = place_in(binding.settings).at(current_app, endpoint, method)
            return [_form(declared, where, binding.settings, by) for by in _names(key, binding)]

        note = OwnLimit(
            kind=NAME,
            name=name_in_code(view),
            quotas=quotas,
            counters=counters,
            key_func=key,
            says_json=True,
        )
        twin = wrap_view(view, "rate_limit(...)", charge, own=note)
        _declared.set(twin, declared)
        return twin

    return decorate


@dataclass(frozen=True, slots=True)
class _Declared:
    """One ``@rate_limit``."""

    scope: str | None
    key: UserFunction[str] | None
    #: The quotas, by the limiter's strategy.
    read: Callable[[str | None], Sequence[Quota]]
    #: The same, by the usual strategy.
    quotas: Sequence[Quota]
    message: str
    on_store_error: str


#: By the limited function.
_declared: WeakTable[_Declared] = WeakTable()


def _below(view: object, own: _Declared) -> list[_Declared]:
    """Each ``@rate_limit`` below this one that has its scope."""
    below = (_declared.get(each) for each in chain(view))
    return [one for one in below if one is not None and one.scope == own.scope]


def _charge_one(one: _Declared, other: _Declared) -> bool:
    """Whether two of one scope would charge a counter twice if they name the same clients."""
    counters = {quota.counter for quota in one.quotas}
    return any(quota.counter in counters for quota in other.quotas)


def _check_below(view: object, own: _Declared) -> None:
    """Raise `ConfigurationError` if one in the snippet's keys would charge a counter again."""
    for one in _below(view, own) if own.scope is None else ():
        if one.key == own.key and _charge_one(one, own):
            raise ConfigurationError(
                "two @rate_limit(..., scope=None) of one period charge one counter twice per "
                "request; write only the smaller limit, or leave out scope=None"
            )


def _number(view: object, own: _Declared, usual: UserFunction[object]) -> str:
    """What distinguishes a ``@rate_limit`` from others below it; "" for the lowest.

    Those with one scope share their counters with other views, so only one that would charge a
    counter again has a number. ``usual`` names the clients where no function is given.
    """
    found = _below(view, own)
    if own.scope:
        key = own.key or usual
        found = [one for one in found if (one.key or usual) == key and _charge_one(one, own)]
    return str(len(found) or "")


class _Where(NamedTuple):
    """What one ``@rate_limit`` counts in one request."""

    #: The kind of the scope, see `key_parts`.
    kind: str
    #: The endpoint of a view, or the space of a helper; "" with a scope.
    place: str
    endpoint: str
    #: Whether it limits the view of the request, and no helper.
    of_view: bool


class _Place:
    """Where one ``@rate_limit`` counts: at the endpoint, or at the function itself."""

    def __init__(self, function: Callable[..., object], scope: str | None, number: str) -> None:
        self._function = function
        self._scope = scope
        #: See `_number`.
        self._number = number
        #: The helper's own.
        self._space = space_of(function)
        self._known: dict[tuple[str, str], _Where] = {}

    def of_request(self) -> _Where:
        """The kind of the scope, and the endpoint or the function."""
        app, request = current_app_or_none(), current_request_or_none()
        endpoint = request.endpoint if request else None
        if app is None or request is None or endpoint is None:
            return self._where("", "")
        name = (endpoint, request.method)
        where = self._known.get(name)
        if where is None:
            where = self._known[name] = self.at(app, *name)
        return where

    def at(self, app: Quart, endpoint: str, method: str) -> _Where:
        """As `of_request`, for requests to this endpoint."""
        return self._where(self._kind(app.view_functions.get(endpoint), method), endpoint)

    def _where(self, kind: str, endpoint: str) -> _Where:
        """By the kind of a view's scope; "" for a helper."""
        of_view = bool(kind)
        if self._scope != "":
            return _Where(f"shared{self._number}", "", endpoint, of_view)
        if of_view:
            return _Where(kind, endpoint, endpoint, of_view)
        return _Where(f"function{self._number}", self._space, "", of_view)

    def _kind(self, view: object, method: str) -> str:
        """Of a view; a method of a class-based view counts by itself; "" for a helper."""
        own = next(chain(self._function))
        if any(function is own for function in chain(view)):
            return f"view{self._number}"
        if any(function is own for function in chain(handler_of(view, method))):
            return f"view{self._number}.{getattr(self._function, '__name__', '')}"
        return ""


def _stage(own: _Declared, where: _Where, settings: Settings, function: str) -> Stage:
    """What one ``@rate_limit`` charges there; ``function`` is its function's name in the code."""
    key_func, name = own.key or settings.key_func, str(own.scope or NAME)
    limits = [
        RuntimeLimit(
            quota,
            key_func,
            own.scope,
            error_message=own.message,
            told_as=own.scope or where.endpoint or function,
            on_store_error=own.on_store_error,
        )
        for quota in one_per_counter(own.read(settings.strategy))
    ]

    def key_form(limit: RuntimeLimit, client: str, _: str) -> tuple[list[str], str]:
        form = _form(own, where, settings, limit.key_func)
        before = [] if form.scope is None else form.before
        return [*before, bounded(client), name], form.of(settings.keys, client)

    return Stage(
        kept=True,
        limits=tuple(limits),
        key_form=key_form,
        fixed=True,
        of_view=where.of_view,
        key_func=key_func,
        scopes=(name,) * len(limits),
        body=_json,
    )


def _form(
    own: _Declared, where: _Where, settings: Settings, key_func: UserFunction[object]
) -> KeyForm:
    """The keys of one ``@rate_limit`` there, of clients that this function names."""
    prefix = settings.key_prefix
    if own.scope is None:
        return KeyForm((prefix,) if prefix else (), None)
    space, scope = settings.space(key_func), own.scope or NAME
    return KeyForm.of_parts(key_parts(prefix, space, "", scope, kind=where.kind, place=where.place))


def _names(key: UserFunction[str] | None, binding: Binding) -> list[UserFunction[object]]:
    """What names the clients: the key function, and what counts those that it does not name."""
    own = binding.settings.key_func
    return [key or own, address_function(own)]


def _current_binding(view: Callable[..., object]) -> Binding | None:
    """The binding of the app's first limiter; None where the limiter is disabled."""
    app = current_app_or_none()
    limiter: Limiter | None = app.extensions.get(EXTENSION) if app else None
    if app is None or limiter is None:
        raise ConfigurationError(
            f"{name_in_code(view)} is rate limited, but the app has no Limiter: "
            "write Limiter(app=app) or limiter.init_app(app)"
        )
    return binding_of(limiter, app)


def _json(error: RateLimitExceeded) -> Response:
    """The snippet's body of a refusal."""
    response: Response = jsonify(message=error.description)
    response.status_code = 429
    response.headers["Cache-Control"] = "no-store"
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    return response
