"""Finds rules and views that can never work, when the app is built or starts."""

from __future__ import annotations

import functools
from collections.abc import Callable, Container, Coroutine, Iterable, Sequence
from difflib import get_close_matches
from http import HTTPMethod
from types import FunctionType
from typing import TYPE_CHECKING

from ..callables import bare, chain, check_user_function, name_of, takes
from ..errors import ConfigurationError, InvalidLimit
from ..quotas import Penalty, Quota
from .kinds import check_cost
from .limits import Limit, MetaLimit, RouteLimit
from .naming import check_name
from .notation import quotas_of
from .registry import (
    HasRegistry,
    Registry,
    called_without_limits,
    is_lost,
    is_of_limited,
    limits_messages,
    note_used,
    own_limits,
)

if TYPE_CHECKING:
    from quart import Quart

#: HTTP methods that a limit may name, whatever routes there are.
STANDARD_METHODS = frozenset(method.value for method in HTTPMethod)


def check_rule(limit: Limit, where: str, strategy_name: str | None = None) -> None:
    """As `check_limit`, and that its functions can be called: for rules that are made once."""
    check_limit(limit, where, strategy_name)
    functions = {
        "limit_provider": limit.limit_provider if callable(limit.limit_provider) else None,
        "key_func": limit.key_function,
        "exempt_when": limit.exempt_when,
    }
    for name, function in functions.items():
        if function is not None:
            check_user_function(function, f"{where}: {name}")


def check_provider(given: object, registry: Registry) -> None:
    """Note a function that says how much is allowed, so that `check_order` finds it as a view.

    Raises `MissingParentheses` for a function with arguments, which can only be the view under
    ``@limiter.limit`` without a limit; and `InvalidLimit`.
    """
    if not callable(given):
        quotas_of(given)
    elif not takes(given):
        raise bare(given, "limiter.limit", 'limiter.limit("10/minute")')
    elif isinstance(given, FunctionType):
        registry.providers.add(given)


def check_limit(limit: Limit, where: str, strategy_name: str | None = None) -> None:
    """Raise `InvalidLimit`, which says where, for a text that cannot be read.

    Raises `ConfigurationError` for a name that no response field can hold.
    """
    check_name(limit.name)
    metas = [meta for meta in limit.meta_limits or () if not isinstance(meta, MetaLimit)]
    for provider in (limit.limit_provider, *metas):
        if not callable(provider):
            try:
                quotas = quotas_of(provider, strategy_name)
            except InvalidLimit as error:
                own = provider is limit.limit_provider
                which = "" if own else " (it is one of the meta_limits)"
                raise InvalidLimit(f"{where}: {error}{which}") from error
            for quota in quotas:
                check_name(quota.name)
            if provider is limit.limit_provider:
                _check_capacity(limit.cost, quotas, where)
                if limit.deduct_when and any(isinstance(one, Penalty) for one in quotas):
                    raise InvalidLimit(
                        f"{where}: a Penalty gives nothing back, so leave out deduct_when; write "
                        "limit('5/minute', deduct_when=..., meta_limits=[Penalty(...)])"
                    )
    for meta in limit.meta_limits or ():
        if isinstance(meta, MetaLimit):
            check_limit(meta, where, strategy_name)


def _check_capacity(cost: object, quotas: Sequence[Quota], where: str) -> None:
    """Raise `InvalidLimit` for a cost, known now, that a limit always or never allows."""
    if cost is None or callable(cost):
        return
    if check_cost(cost) == 0:
        raise InvalidLimit(f"{where}: cost={cost!r} never reaches its limit; write e.g. cost=1")
    for quota in quotas:
        if check_cost(cost) > quota.capacity:
            raise InvalidLimit(f"{where}: cost={cost} can never be allowed by '{quota}'")


def check_order(
    views: Iterable[Callable[..., object]], limiter: HasRegistry, registry: Registry
) -> None:
    """Raise `ConfigurationError` for a view whose limit is above its route, and so never runs.

    Raises `MissingParentheses` for one that is taken for a function that says how much is allowed.
    """
    note_used()
    for view in views:
        if isinstance(view, FunctionType) and view in registry.providers:
            raise bare(view, "limiter.limit", 'limiter.limit("10/minute"), below its route')
        if isinstance(view, RouteLimit):
            view.__name__  # noqa: B018  # it raises
        if is_lost(view, limiter):
            name = getattr(view, "__qualname__", repr(view))
            raise ConfigurationError(
                f"the limit of {name} stands above its route and never runs: write the route (or "
                "errorhandler, or before_request) first, as in @app.get(...) and below it "
                "@limiter.limit(...)"
            )


def check_kinds(views: Iterable[Callable[..., object]], registry: Registry) -> None:
    """Raise `ConfigurationError` if one of these views of HTTP limits a websocket's messages."""
    for view in views:
        if limits_messages(view, registry):
            raise ConfigurationError(
                f"{name_of(view)}: limits on messages count messages of websockets, and this route "
                "is HTTP: write them under @app.websocket(...), or write limiter.limit(...)"
            )


def check_hooks(app: Quart, registry: Registry) -> None:
    """Raise `ConfigurationError` if a function of the app is limited that no limit can apply to."""
    for function, how in called_without_limits(app):
        if registry.limited(function) or own_limits(function, registry):
            raise _of_no_request(function, how)
    for running in app.while_serving_gens:
        if is_of_limited(running):
            if isinstance(running, Coroutine):
                running.close()
            raise _of_no_request(running, "without a request")


def _of_no_request(called: object, how: str) -> ConfigurationError:
    return ConfigurationError(
        f"{name_of(called)}: Quart calls it {how}, so no limit can apply; write the limit on a "
        "view, or below @app.before_request"
    )


def check_caches(views: Iterable[Callable[..., object]], registry: Registry) -> None:
    """Raise `ConfigurationError` for a limited view below `functools.lru_cache`.

    The cache would keep the coroutine of the limited view, which can be awaited once.
    """
    for view in views:
        for function in chain(view):
            if isinstance(function, functools._lru_cache_wrapper) and (
                registry.limited(function) or own_limits(function, registry)
            ):
                raise ConfigurationError(
                    f"{name_of(view)}: its limit stands below functools.lru_cache, which would "
                    "keep the coroutine of its first call; write the limit above the cache"
                )


def check_methods(limit: Limit, where: str, methods: Container[str]) -> None:
    """Raise `ConfigurationError` for an HTTP method that no standard and no route knows."""
    for method in limit.methods or ():
        if method.upper() not in methods:
            near = get_close_matches(method.upper(), STANDARD_METHODS, 1) or ["GET"]
            raise ConfigurationError(
                f"{where}: methods: no route of the app has {method.upper()!r}; write {near!r}"
            )


def check_views(
    views: Iterable[Callable[..., object]],
    limiter: HasRegistry,
    registry: Registry,
    strategy_name: str,
    methods: Iterable[str] = (),
) -> None:
    """Find the mistakes in an app's views that decorators could not find yet.

    ``methods`` are the HTTP methods of its routes. Raises `ConfigurationError`.
    """
    views = list(views)
    known = STANDARD_METHODS.union(methods)
    check_order(views, limiter, registry)
    check_caches(views, registry)
    for view in views:
        for limited in registry.limited(view):
            for limit in limited.limits:
                check_limit(limit, f"function {limited.name}", strategy_name)
                check_methods(limit, f"function {limited.name}", known)
