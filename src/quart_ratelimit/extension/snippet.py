"""``@rate_limit``: the well-known Flask snippet's limiter, as a decorator for views."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, cast

from quart import current_app, jsonify

from ..callables import UserFunction, call, check_called, check_user_function
from ..clients.keys import client_text
from ..current import current_app_or_none
from ..errors import ConfigurationError, LimiterUnavailable, RateLimitExceeded
from ..quotas import Decision, Hit, Quota
from ..responses.refusal import refuse
from ..rules.notation import read_limit
from ..rules.registry import OpenAPINote, check_function, note_for_openapi, note_wrapped
from ..settings.table import Settings
from ..signals import limit_decided, send_decided
from .binding import Binding, binding_of
from .limiter import EXTENSION, Limiter

P = ParamSpec("P")

#: The Flask snippet's own words.
MESSAGE = "Too many requests. Please try again later."
#: The start of a limit's name in response fields, if it has no scope.
NAME = "rate_limit"


@dataclass(frozen=True, slots=True)
class SnippetLimit:
    """What a refused view was limited by."""

    limit: Quota
    scope: str | None
    error_message: str


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
    own = OpenAPINote(read_limit(limit, requests, duration), says_json=True)
    quotas_of: dict[str, Sequence[Quota]] = {}  # by strategy

    def decorate(view: Callable[P, Any]) -> Callable[P, Awaitable[Any]]:
        check_function(view, "rate_limit(...)")
        is_async = inspect.iscoroutinefunction(view)

        def refused(hit: Hit, decision: Decision) -> RateLimitExceeded | LimiterUnavailable:
            return _refusal(SnippetLimit(hit.quota, scope, message), decision)

        def hits_of(settings: Settings, who: str) -> list[Hit]:
            bucket = settings.keys.join(*((who,) if scope is None else (scope, who)))
            quotas = quotas_of.get(settings.strategy)
            if quotas is None:
                quotas = read_limit(limit, requests, duration, settings.strategy)
                quotas_of[settings.strategy] = quotas
            return [Hit(quota, bucket) for quota in quotas]

        @functools.wraps(view)
        async def limited(*args: P.args, **kwargs: P.kwargs) -> Any:
            limiter, binding = _at_hand(view)
            if binding is not None and binding.is_active:
                settings, hooks = binding.settings, binding.hooks
                key_func = key or settings.key_func
                who = client_text(await call(key_func))
                hits = hits_of(settings, who)
                tells = settings.headers_enabled
                if tells:
                    await hooks.know_request()
                decisions = await binding.store.hit(hits)
                if limit_decided.receivers:
                    send_decided(limiter, hits, decisions, [scope or NAME] * len(hits))
                for decision in decisions:
                    tells = tells or not decision.allowed
                if tells:
                    error = hooks.teller(who, scope or NAME, refuse=refused)(hits, decisions)
                    if error is not None:
                        hooks.note_refused(hits, key_func)
                        raise error
            if is_async:
                return await cast(Any, view(*args, **kwargs))
            return await current_app.ensure_async(view)(*args, **kwargs)

        note_wrapped(view, limited)
        note_for_openapi(limited, own)
        return limited

    return decorate


def _at_hand(view: Callable[..., Any]) -> tuple[Limiter, Binding | None]:
    """The app's first limiter and, unless it is disabled there, its rooms."""
    app = current_app_or_none()
    limiter: Limiter | None = app.extensions.get(EXTENSION) if app else None
    if app is None or limiter is None:
        raise ConfigurationError(
            f"{view.__qualname__} is rate limited, but the app has no Limiter: "
            "write Limiter(app=app) or limiter.init_app(app)"
        )
    return limiter, binding_of(limiter, app)


def _refusal(limit: SnippetLimit, decision: Decision) -> RateLimitExceeded | LimiterUnavailable:
    error = refuse(limit, decision)
    if isinstance(error, RateLimitExceeded):
        error.response = jsonify(message=limit.error_message)
        error.response.status_code = 429
        error.response.headers["Cache-Control"] = "no-store"
        if error.retry_after is not None:
            error.response.headers["Retry-After"] = str(error.retry_after)
    return error
