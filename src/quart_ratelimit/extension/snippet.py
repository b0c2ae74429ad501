"""``@rate_limit``: the well-known Flask snippet's limiter, as a decorator for views."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec

from quart import jsonify
from werkzeug.sansio.response import Response

from ..callables import UserFunction, check_called, check_user_function
from ..current import current_app_or_none
from ..enforcement.stage import Stage
from ..errors import ConfigurationError, RateLimitExceeded
from ..quotas import Quota
from ..rules.notation import read_limit
from ..rules.registry import OpenAPINote
from ..rules.resolved import RuntimeLimit
from ..rules.views import name_in_code, wrap_view
from ..settings.table import Settings
from .binding import Binding, binding_of
from .limiter import EXTENSION, Limiter

P = ParamSpec("P")

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
    scope: str | None = None,
    message: str = MESSAGE,
) -> Callable[[Callable[P, Any]], Callable[P, Awaitable[Any]]]:
    """Limit a view, under its route decorator: ``@rate_limit("10/minute")``.

    Without a ``scope`` a client has one counter for all views of the same period, in the Flask
    snippet's own keys; with one, those views have a counter of their own. Refused: 429 with
    ``Retry-After`` and ``{"message": message}``, unless the app handles `RateLimitExceeded`.
    Raises `ConfigurationError` at once for a limit that cannot be read, and when the view is
    called in an app without a `Limiter`. Response fields call a limit without a scope
    "rate_limit", unless it is a `Quota` with a name.
    """
    check_called(limit, "rate_limit", 'rate_limit("10/minute")')
    if key is not None:
        check_user_function(key, "rate_limit(key=...)")
    note = OpenAPINote(read_limit(limit, requests, duration), says_json=True)

    def stage_for(settings: Settings) -> Stage:
        key_func, join = key or settings.key_func, settings.keys.join
        limits = tuple(
            RuntimeLimit(quota, key_func, scope, error_message=message)
            for quota in read_limit(limit, requests, duration, settings.strategy)
        )
        scopes = (scope or NAME,) * len(limits)

        def key_form(_: RuntimeLimit, client: str, name: str) -> tuple[list[str], str]:
            return [client, name], join(*((client,) if scope is None else (scope, client)))

        return Stage(
            kept=True,
            limits=limits,
            key_form=key_form,
            fixed=True,
            key_func=key_func,
            scopes=scopes,
            body=_json,
        )

    def decorate(view: Callable[P, Any]) -> Callable[P, Awaitable[Any]]:
        known: tuple[Settings, Stage] | None = None

        def charge() -> Awaitable[None] | None:
            nonlocal known
            binding = _current_binding(view)
            if binding is None or not binding.is_active:
                return None
            settings = binding.settings
            if known is None or known[0] is not settings:
                known = settings, stage_for(settings)
            return binding.hooks.charge(known[1])

        return wrap_view(view, "rate_limit(...)", charge, note=note)

    return decorate


def _current_binding(view: Callable[..., Any]) -> Binding | None:
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
