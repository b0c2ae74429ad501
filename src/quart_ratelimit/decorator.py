"""``@rate_limit``: the well-known Flask snippet's limiter, as a decorator for views."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, ParamSpec, cast

from quart import current_app, jsonify
from werkzeug.exceptions import HTTPException

from .errors import ConfigurationError, RateLimitExceeded
from .evaluate import refuse
from .limiter import EXTENSION, KeyFunction, Limiter
from .marks import note_wrapped
from .quotas import Decision, Hit, Quota
from .strategies import read_limit

P = ParamSpec("P")

#: The Flask snippet's own words.
MESSAGE = "Too many requests. Please try again later."


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
    key: KeyFunction | None = None,
    scope: str | None = None,
    message: str = MESSAGE,
) -> Callable[[Callable[P, Any]], Callable[P, Awaitable[Any]]]:
    """Limit a view, under its route decorator: ``@rate_limit("10/minute")``.

    Without a ``scope`` a client has one counter for all views of the same period, in the Flask
    snippet's own keys; with one, those views have a counter of their own. Refused: 429 with
    ``Retry-After`` and ``{"message": message}``, unless the app handles `RateLimitExceeded`.
    Raises `ConfigurationError` at once for a limit that cannot be read, and when the view is
    called in an app without a `Limiter`.
    """
    read_limit(limit, requests, duration)

    def decorate(view: Callable[P, Any]) -> Callable[P, Awaitable[Any]]:
        @functools.wraps(view)
        async def limited(*args: P.args, **kwargs: P.kwargs) -> Any:
            limiter = _current_limiter(view)
            who = await limiter.identify(key)
            parts = (who,) if scope is None else (scope, who)
            bucket = limiter.keys.join(*parts)
            quotas = limiter.quotas(limit, requests=requests, duration=duration)
            hits = [Hit(quota, bucket) for quota in quotas]
            decisions = await limiter.charge(hits)
            for quota, decision in zip(quotas, decisions, strict=True):
                if not decision.allowed:
                    limiter.note_refused(hits, key)
                    raise await _refusal(SnippetLimit(quota, scope, message), decision)
            return await current_app.ensure_async(view)(*args, **kwargs)

        note_wrapped(view, limited)
        return limited

    return decorate


def _current_limiter(view: Callable[..., Any]) -> Limiter:
    limiter = current_app.extensions.get(EXTENSION)
    if limiter is None:
        raise ConfigurationError(
            f"{view.__qualname__} is rate limited, but the app has no Limiter: "
            "write Limiter(app=app) or limiter.init_app(app)"
        )
    return cast(Limiter, limiter)


async def _refusal(limit: SnippetLimit, decision: Decision) -> HTTPException:
    error = refuse(limit, decision)
    if isinstance(error, RateLimitExceeded):
        error.response = jsonify(message=limit.error_message)
        error.response.status_code = 429
        if error.retry_after is not None:
            error.response.headers["Retry-After"] = str(error.retry_after)
    return error
