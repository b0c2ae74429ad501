"""The names of quart-rate-limiter 0.12, on this package's stores: its code runs, now exact.

It limits with GCRA, as there: ``RateLimit(10, timedelta(minutes=1))`` lets 10 through at once and
then one every 6 seconds. All limits of a request are charged together or not at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar, cast

from quart import Blueprint, Quart, Request, Websocket, current_app
from quart.typing import ResponseTypes
from werkzeug.exceptions import TooManyRequests
from werkzeug.sansio.response import Response

from .callables import Memo, UserFunction, chain, check_user_function
from .clients.key_functions import client_address
from .clients.keys import slot_key
from .current import blueprint_path, current_request_or_none, handler_of
from .errors import ConfigurationError, InvalidLimit, LimiterUnavailable
from .quotas import GCRA, Decision, Hit
from .responses.drain import Drain
from .responses.refusal import retry_after
from .rules.kinds import checked, kind_of, switch
from .rules.registry import WeakTable, check_function
from .rules.truth import truth
from .stores import GuardedStore, MemoryStore, RedisStore, Store

#: The app's variable; it wins over ``enabled``.
ENABLED = "QUART_RATE_LIMITER_ENABLED"

_limits: WeakTable[list[RateLimit]] = WeakTable()
_exempt: WeakTable[bool] = WeakTable()
_TOLD = "_quart_rate_limiter_told"
_REFUSAL = "_quart_rate_limiter_refusal"

_address = client_address()

T = TypeVar("T")
B = TypeVar("B", bound=Blueprint)
R = TypeVar("R", bound=Response)


class RateLimitExceeded(TooManyRequests):
    """HTTP 429 with ``Retry-After`` in seconds; None: the request can never pass."""

    def __init__(self, retry_after: int | None) -> None:
        super().__init__(retry_after=retry_after)


@dataclass(frozen=True)
class RateLimit:
    """``count`` requests in a period; the functions default to the limiter's."""

    count: int
    period: timedelta
    key_function: UserFunction[str] | None = None
    skip_function: UserFunction[bool] | None = None

    @property
    def inverse(self) -> float:
        """Seconds from one request to the next at a steady rate."""
        return self.period.total_seconds() / self.count

    @property
    def key(self) -> str:
        """Count and period as text."""
        return f"{self.count}-{self.period.total_seconds()}"

    @property
    def quota(self) -> GCRA:
        """The same as a quota of whole seconds. Raises `InvalidLimit`."""
        period_ms = self.period // timedelta(milliseconds=1)
        shared = math.gcd(self.count * 1000, period_ms)
        if period_ms <= 0 or period_ms % 1000 == 0:
            return GCRA(self.count, period_ms // 1000, burst=self.count)
        return GCRA(self.count * 1000 // shared, period_ms // shared, burst=self.count)


async def remote_addr_key() -> str:
    """The peer's address, or its network if it is IPv6, in one form; no header can change it."""
    return _address()


def rate_limit(
    limit: int | None = None,
    period: timedelta | None = None,
    key_function: UserFunction[str] | None = None,
    skip_function: UserFunction[bool] | None = None,
    *,
    limits: Sequence[RateLimit] | None = None,
) -> Callable[[T], T]:
    """Limit a view. Raises `InvalidLimit`, or `ValueError` unless given one or the other."""
    added = _given(limit, period, key_function, skip_function, limits)

    def decorate(function: T) -> T:
        check_function(function, "rate_limit(...)")
        _limits.set(function, [*(_limits.get(function) or ()), *added])
        return function

    return decorate


def rate_exempt(function: T) -> T:
    """Exempt a view from all limits."""
    check_function(function, "rate_exempt")
    _exempt.set(function, True)
    return function


def limit_blueprint(
    blueprint: B,
    limit: int | None = None,
    period: timedelta | None = None,
    key_function: UserFunction[str] | None = None,
    skip_function: UserFunction[bool] | None = None,
    *,
    limits: Sequence[RateLimit] | None = None,
) -> B:
    """Limit each view of a blueprint. Raises as `rate_limit` does."""
    if not isinstance(blueprint, Blueprint):
        raise ConfigurationError(f"limit_blueprint: {kind_of(blueprint)} is not a blueprint")
    added = _given(limit, period, key_function, skip_function, limits)
    _limits.set(blueprint, [*(_limits.get(blueprint) or ()), *added])
    return blueprint


class RateLimiter:
    """Limits the views of an app; `init_app` may bind it later.

    ``store`` is one of `quart_ratelimit.stores` (None: in memory), ``on_store_error`` what happens
    while Redis is away.
    """

    def __init__(  # noqa: PLR0917  # quart-rate-limiter's own signature
        self,
        app: Quart | None = None,
        key_function: UserFunction[str] = remote_addr_key,
        store: Store | None = None,
        default_limits: Sequence[RateLimit] | None = None,
        enabled: bool = True,
        skip_function: UserFunction[bool] | None = None,
        *,
        on_store_error: str = "local",
    ) -> None:
        _check_functions(key_function, skip_function)
        self.key_function = key_function
        self.skip_function = skip_function
        self.store: Store = MemoryStore() if store is None else store
        if isinstance(store, RedisStore):
            self.store = GuardedStore(store, policy=on_store_error)
        self._default_limits = _checked(default_limits or ())
        if app is not None:
            self.init_app(app, enabled=enabled)

    def init_app(self, app: Quart, enabled: bool = True) -> None:
        """Bind the limiter to an app. Opens nothing."""
        app.config.setdefault(ENABLED, checked(switch, "enabled", enabled))
        app.asgi_app = Drain(app.asgi_app)  # type: ignore[assignment, method-assign]
        app.before_serving(self.store.start)
        app.after_serving(self.store.aclose)
        app.before_request(self._before_request)
        app.after_request(self._after_request)
        app.before_websocket(self._before_request)
        app.after_websocket(self._after_websocket)

    async def _before_request(self) -> None:
        memo = Memo()
        limits, hits = [], []
        for limit, scope in self._limits():
            if await self._skips(limit, memo):
                continue
            who = await memo.call(limit.key_function or self.key_function)
            limits.append(limit)
            hits.append(Hit(limit.quota, slot_key(current_app.import_name, str(who), scope)))
        if not limits:
            return
        decisions = await self.store.hit(hits)
        refused = [decision for decision in decisions if not decision.allowed]
        told = min(zip(limits, decisions, strict=True), key=lambda pair: pair[0].period)
        setattr(_asked(), _TOLD, {**getattr(_asked(), _TOLD, {}), self: told})
        if refused:
            error = _refusal(refused)
            setattr(_asked(), _REFUSAL, error)
            raise error

    async def _after_request(self, response: R) -> R:
        told = getattr(_asked(), _TOLD, {}).get(self)
        if told is not None:
            limit, decision = told
            response.headers["RateLimit-Limit"] = str(limit.count)
            response.headers["RateLimit-Remaining"] = str(decision.remaining)
            response.headers["RateLimit-Reset"] = str(math.ceil(decision.reset_ms / 1000))
        refusal = getattr(_asked(), _REFUSAL, None)
        if refusal is not None:
            refusal.with_traceback(None)  # whose frames keep all that the request was
        if refusal is not None and response.status_code == refusal.code:
            response.headers.setdefault("Cache-Control", "no-store")
            if refusal.retry_after is not None:
                response.headers.setdefault("Retry-After", str(refusal.retry_after))
        return response

    async def _after_websocket(self, response: ResponseTypes | None) -> ResponseTypes | None:
        return None if response is None else await self._after_request(response)

    def _limits(self) -> list[tuple[RateLimit, str]]:
        """The limits of this request, each with what it counts: the endpoint, or its method."""
        request = _asked()
        endpoint = request.endpoint or ""
        view = current_app.view_functions.get(endpoint)
        handler = handler_of(view, request.method)
        methods, functions = list(chain(handler)), list(chain(view))
        exempt = any(map(_exempt.get, [*methods, *functions]))
        if view is None or not current_app.config[ENABLED] or exempt:
            return []
        blueprints = blueprint_path(current_app, request.blueprint)
        own = _declared(reversed(methods))
        others = [*_declared([*reversed(functions), *reversed(blueprints)]), *self._default_limits]
        method = f"{endpoint}:{getattr(handler, '__name__', '')}"
        return [*((limit, method) for limit in own), *((limit, endpoint) for limit in others)]

    async def _skips(self, limit: RateLimit, memo: Memo) -> bool:
        function = limit.skip_function or self.skip_function
        if function is None:
            return False
        return truth("skip_function", function, await memo.call(function))


def _asked() -> Request | Websocket:
    return cast(Request | Websocket, current_request_or_none())


def _declared(objects: Iterable[object]) -> list[RateLimit]:
    return [limit for one in objects for limit in _limits.get(one) or ()]


def _given(
    limit: int | None,
    period: timedelta | None,
    key_function: UserFunction[str] | None,
    skip_function: UserFunction[bool] | None,
    limits: Sequence[RateLimit] | None,
) -> list[RateLimit]:
    if limit is None and period is None:
        if limits is None:
            raise ValueError("no rate limit is given; write rate_limit(10, timedelta(minutes=1))")
        return _checked(limits)
    if limits is not None:
        raise ValueError("give either a limit and its period, or limits")
    if limit is None or period is None:
        raise ValueError("a limit needs its period; write rate_limit(10, timedelta(minutes=1))")
    return _checked([RateLimit(limit, period, key_function, skip_function)])


def _checked(limits: Sequence[RateLimit]) -> list[RateLimit]:
    """The limits, each tried once, so that one that cannot be kept is an error where it stands."""
    for limit in limits:
        if not isinstance(limit, RateLimit):
            raise InvalidLimit(
                f"{limit!r} is not a limit; write RateLimit(10, timedelta(minutes=1))"
            )
        limit.quota  # noqa: B018
        _check_functions(limit.key_function, limit.skip_function)
    return list(limits)


def _check_functions(key_function: object, skip_function: object) -> None:
    for name, function in (("key_function", key_function), ("skip_function", skip_function)):
        if function is not None:
            check_user_function(function, name)


def _refusal(refused: Sequence[Decision]) -> TooManyRequests | LimiterUnavailable:
    wait = retry_after(*refused)
    if any(decision.by == "closed" for decision in refused):
        return LimiterUnavailable(retry_after=wait)
    return RateLimitExceeded(wait)
