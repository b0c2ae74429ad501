"""The Quart extension: the only room that knows a request."""

from __future__ import annotations

import functools
import inspect
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from quart import Quart, has_request_context, request

from .errors import ConfigurationError, InvalidLimit, LimiterUnavailable, RateLimitExceeded
from .keys import join_key
from .notation import FORM, parse_many
from .quotas import Decision, Hit, Quota
from .settings import aligned_window, pick, strategy
from .stores import GuardedStore, MemoryStore, Store, store_from_uri

#: Where `rate_limit` finds the app's limiter.
EXTENSION = "quart_ratelimit"

#: Whom a request counts for.
KeyFunction = Callable[[], "str | Awaitable[str]"]

_log = logging.getLogger("quart_ratelimit")


def get_remote_address() -> str:
    """The address of the peer that the request came from; no header can change it."""
    return request.remote_addr or "127.0.0.1"


class Limiter:
    """Rate limiting for a Quart app; `init_app` may bind it later."""

    def __init__(
        self,
        key_func: KeyFunction = get_remote_address,
        *,
        app: Quart | None = None,
        storage_uri: str | None = None,
        storage_options: dict[str, Any] | None = None,
        store: Store | None = None,
        strategy: str | None = None,
        key_prefix: str = "",
        on_store_error: str = "local",
        enabled: bool = True,
    ) -> None:
        self._key_func = key_func
        self._storage_uri = storage_uri
        self._storage_options = storage_options or {}
        self._store = store
        self._strategy = strategy
        self._key_prefix = key_prefix
        self._on_store_error = on_store_error
        self.enabled = enabled
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Quart) -> None:
        """Bind the limiter to an app. Opens nothing. Raises `ConfigurationError`."""
        config = app.config
        self.enabled = config.setdefault("RATELIMIT_ENABLED", self.enabled)
        app.extensions[EXTENSION] = self
        self._strategy = pick(self._strategy, config, "RATELIMIT_STRATEGY", "fixed-window")
        strategy(self._strategy)
        if not self.enabled:
            return
        if self._store is None:
            self._store = self._open_store(config)
        app.before_serving(self._store.start)
        app.after_serving(self._store.aclose)

    @property
    def store(self) -> Store:
        """Where the limiter counts. Raises `ConfigurationError` before `init_app`."""
        if self._store is None:
            raise ConfigurationError("this Limiter is bound to no app: call limiter.init_app(app)")
        return self._store

    async def hit(
        self,
        limit: str | Quota | None = None,
        key: str | None = None,
        *,
        requests: int | None = None,
        duration: int | None = None,
        cost: int = 1,
    ) -> Decision:
        """Charge a key, by default the request's: true while the limit allows it.

        ``hit("10/minute", key)`` or ``hit(requests=10, duration=60)`` (seconds). With several
        limits in the text, all or none are charged, and the answer is that of the one that
        refused, else of the one with least left.
        Raises `InvalidLimit`; what happens when the store is away is the limiter's policy.
        """
        quotas = self.quotas(limit, requests=requests, duration=duration)
        bucket = join_key(await self.identify() if key is None else key)
        return min(await self.charge([Hit(quota, bucket, cost) for quota in quotas]), key=tightness)

    async def charge(self, hits: Sequence[Hit]) -> list[Decision]:
        """Charge all hits or none; a disabled limiter allows and charges nothing."""
        if not self.enabled:
            return [Decision(True, hit.quota.amount, 0, 0) for hit in hits]
        return await self.store.hit(hits)

    def quotas(
        self,
        limit: str | Quota | None = None,
        *,
        requests: int | None = None,
        duration: int | None = None,
    ) -> list[Quota]:
        """The quotas of a limit given in any of its spellings. Raises `InvalidLimit`."""
        return read_limit(limit, requests, duration, self._strategy)

    async def identify(self, key: KeyFunction | None = None) -> str:
        """Whom the current request counts for, by this key function or else the limiter's."""
        if not has_request_context():
            raise ConfigurationError("outside a request say whom to count: hit(limit, key)")
        who = (key or self._key_func)()
        return await who if inspect.isawaitable(who) else who

    def _open_store(self, config: Any) -> Store:
        uri = pick(self._storage_uri, config, "RATELIMIT_STORAGE_URI", None)
        options = {**self._storage_options, **config.get("RATELIMIT_STORAGE_OPTIONS", {})}
        store = store_from_uri(uri or "memory://", **options)
        if isinstance(store, MemoryStore):
            _log.warning("rate limits are kept in memory: each worker counts alone")
            return store
        return GuardedStore(store, policy=self._on_store_error)


@functools.lru_cache(maxsize=1024, typed=True)
def read_limit(
    limit: str | Quota | None,
    requests: int | None = None,
    duration: int | None = None,
    strategy_name: str | None = None,
) -> list[Quota]:
    """A limit given as text, a quota or the Flask snippet's numbers. Raises `InvalidLimit`."""
    make = aligned_window if strategy_name in (None, "fixed-window") else strategy(strategy_name)
    if limit is not None:
        if requests is not None or duration is not None:
            raise InvalidLimit("give either a limit or requests and duration, not both")
        return [limit] if isinstance(limit, Quota) else parse_many(limit, make)
    if requests is None and duration is None:
        raise InvalidLimit(f"no limit is given; {FORM}, or requests=10, duration=60")
    for name, value in (("requests", requests), ("duration", duration)):
        if type(value) is not int or value < 1:
            raise InvalidLimit(
                f"{name}={value!r} is not a positive whole number; write requests=10, duration=60"
            )
    return [make(requests, duration)]


def tightness(decision: Decision) -> tuple[bool, int]:
    """Sorts the first refusal, else the decision with least left, to the front."""
    return (decision.allowed, decision.remaining)


def retry_after(decision: Decision) -> int | None:
    """Whole seconds, rounded up, until the same hit can be allowed; None: never."""
    return None if decision.retry_ms is None else max(1, math.ceil(decision.retry_ms / 1000))


def refuse(limit: Any, decision: Decision, **kwargs: Any) -> RateLimitExceeded | LimiterUnavailable:
    """The HTTP answer to a refusal: 429, or 503 when nothing could decide."""
    if decision.by == "closed":
        return LimiterUnavailable(retry_after=retry_after(decision))
    return RateLimitExceeded(limit, retry_after=retry_after(decision), **kwargs)
