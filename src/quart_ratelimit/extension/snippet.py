"""``@rate_limit``: the well-known Flask snippet's limiter, as a decorator for views."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from quart import jsonify
from werkzeug.sansio.response import Response

from ..callables import UserFunction, chain, check_called, check_user_function
from ..clients.key_spaces import space_of
from ..clients.keys import key_parts
from ..current import current_app_or_none, current_request_or_none
from ..enforcement.routes import handler_of
from ..enforcement.stage import Stage
from ..errors import ConfigurationError, RateLimitExceeded
from ..quotas import Quota
from ..rules.kinds import checked, policy, text
from ..rules.notation import one_per_counter, read_limit
from ..rules.registry import OpenAPINote, WeakTable
from ..rules.resolved import RuntimeLimit
from ..rules.views import ViewDecorator, name_in_code, wrap_view
from ..settings.table import Settings
from .binding import Binding, binding_of
from .limiter import EXTENSION, Limiter

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
    """Limit a view, under its route decorator: ``@rate_limit("10/minute")``.

    A client has a counter per view. Views with one ``scope`` share a counter; ``scope=None`` is the
    Flask snippet's own key, ``rate_limit:{client}:{window}``, for all views of one period. Refused:
    429 with ``Retry-After`` and ``{"message": message}``, unless the app handles
    `RateLimitExceeded`. Raises `ConfigurationError` at once for a limit that cannot be read, and
    when the view is called in an app without a `Limiter`. Response fields call a limit without a
    scope "rate_limit", unless it is a `Quota` with a name. ``on_store_error``: what decides while
    the store is away, "local", "open", "closed" or "raise" (default: as the limiter says).
    """
    check_called(limit, "rate_limit", 'rate_limit("10/minute")')
    checked(text, "rate_limit(message=...)", message)
    if scope is not None:
        checked(text, "rate_limit(scope=...)", scope)
    if key is not None:
        check_user_function(key, "rate_limit(key=...)")
        space_of(key)  # as in `Limit`
    own = "" if on_store_error is None else checked(policy, "on_store_error", on_store_error)
    note = OpenAPINote(read_limit(limit, requests, duration), says_json=True)

    def decorate(view: Callable[..., object]) -> Any:
        place = _Place(view, scope, _number(view, scope, key, note.quotas))
        known: tuple[Settings, dict[_Where, Stage]] | None = None

        def charge() -> Awaitable[None] | None:
            nonlocal known
            binding = _current_binding(view)
            if binding is None or not binding.is_active:
                return None
            settings = binding.settings
            if known is None or known[0] is not settings:
                known = settings, {}
            where = place.of_request()
            stage = known[1].get(where)
            if stage is None:
                key_func = key or settings.key_func
                told_as = scope or where.endpoint or name_in_code(view)
                limits = [
                    RuntimeLimit(
                        quota,
                        key_func,
                        scope,
                        error_message=message,
                        told_as=told_as,
                        on_store_error=own,
                    )
                    for quota in one_per_counter(
                        read_limit(limit, requests, duration, settings.strategy)
                    )
                ]
                stage = known[1][where] = _stage(limits, where, settings)
            return binding.hooks.charge(stage)

        twin = wrap_view(view, "rate_limit(...)", charge, note=note)
        _declared.set(twin, _Declared(scope, key, note.quotas))
        return twin

    return decorate


@dataclass(frozen=True, slots=True)
class _Declared:
    """One ``@rate_limit`` on a function."""

    scope: str | None
    key: UserFunction[str] | None
    quotas: Sequence[Quota]


#: By the limited function.
_declared: WeakTable[_Declared] = WeakTable()


def _number(
    view: object, scope: str | None, key: UserFunction[str] | None, quotas: Sequence[Quota]
) -> str:
    """What tells a ``@rate_limit`` from those below it; "" for the lowest.

    Raises `ConfigurationError` if one in the snippet's keys would charge a counter again.
    """
    found = [one for each in chain(view) if (one := _declared.get(each)) and one.scope == scope]
    for one in found if scope is None else ():
        counters = {quota.counter for quota in one.quotas}
        if one.key == key and any(quota.counter in counters for quota in quotas):
            raise ConfigurationError(
                "two @rate_limit(..., scope=None) of one period charge one counter twice per "
                "request; write only the smaller limit, or leave out scope=None"
            )
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
        #: The helper's own; found now, as in a request the values of its closure do not count.
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
            kind = self._kind(app.view_functions.get(endpoint), request.method)
            where = self._known[name] = self._where(kind, endpoint)
        return where

    def _where(self, kind: str, endpoint: str) -> _Where:
        """As told by the kind of a view's scope; "" for a helper."""
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


def _stage(limits: Sequence[RuntimeLimit], where: _Where, settings: Settings) -> Stage:
    """What the limits of one ``@rate_limit`` charge there."""
    keys, prefix = settings.keys, settings.key_prefix
    scope = limits[0].scope
    name = str(scope or NAME)

    def key_form(limit: RuntimeLimit, client: str, _: str) -> tuple[list[str], str]:
        if scope is None:
            return [client, name], keys.join(*([prefix] if prefix else []), client)
        space = "" if limit.key_func == settings.key_func else space_of(limit.key_func)
        args = key_parts(prefix, space, client, name, kind=where.kind, place=where.place)
        return args, keys.slot(*args)

    return Stage(
        kept=True,
        limits=tuple(limits),
        key_form=key_form,
        fixed=True,
        of_view=where.of_view,
        key_func=limits[0].key_func,
        scopes=(name,) * len(limits),
        body=_json,
    )


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
