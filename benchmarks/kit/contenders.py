"""Ours and its peers as functions that decide one hit in Redis; peers set up as their docs show.

Each is an async context manager: given a Redis URL it yields ``ask(key)``, which answers whether
the hit was allowed and raises when it was not decided by Redis.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta

from quart_ratelimit import Hit, Quota
from quart_ratelimit.quotas import GCRA, FixedWindow, MovingWindow, SlidingWindow, StrictWindow
from quart_ratelimit.stores import GuardedStore, RedisStore

Ask = Callable[[str], Awaitable[bool]]
Contender = Callable[[str], AbstractAsyncContextManager[Ask]]

#: So much that nothing is refused while it is measured.
AMOUNT, PERIOD = 1_000_000, 3600
#: Several limits of one request: so much a minute, an hour and a day.
PERIODS = (60, 3600, 86_400)


class DecidedElsewhere(Exception):
    """Ours answered, but Redis was not asked or did not answer in time."""


def ours(*quotas: Quota) -> Contender:
    """Our store with all that an app puts around it: the guard and its memory of refusals."""

    @asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Ask]:
        store = GuardedStore(RedisStore(url), remember_ms=1000)
        await store.start()

        async def ask(key: str) -> bool:
            decisions = await store.hit([Hit(quota, key) for quota in quotas])
            if decisions[0].by != "store":
                raise DecidedElsewhere
            return decisions[0].allowed

        yield ask
        await store.aclose()

    return opened


def pipeline(*periods: int, blocking: bool = False) -> Contender:
    """By hand: one pipeline a call of INCR and EXPIRE NX. ``blocking`` waits for a connection."""

    @asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Ask]:
        import redis.asyncio

        if blocking:
            pool = redis.asyncio.BlockingConnectionPool.from_url(
                url, max_connections=64, timeout=None
            )
            client = redis.asyncio.Redis.from_pool(pool)
        else:
            client = redis.asyncio.Redis.from_url(url)

        async def ask(key: str) -> bool:
            async with client.pipeline(transaction=False) as pipe:
                for period in periods:
                    name = f"{key}:{int(time.time()) // period}"
                    pipe.incr(name)
                    pipe.expire(name, period, nx=True)
                replies = await pipe.execute()
            return all(count <= AMOUNT for count in replies[::2])

        yield ask
        await client.aclose()

    return opened


def limits_aio(strategy: str, periods: Sequence[int] = (PERIOD,)) -> Contender:
    """``limits.aio`` with redis-py; several limits are asked one after the other, as it must."""

    @asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Ask]:
        from limits import RateLimitItemPerSecond
        from limits.aio import strategies
        from limits.aio.storage import RedisStorage

        storage = RedisStorage(f"async+{url}", implementation="redispy")
        limiter = getattr(strategies, strategy)(storage)
        items = [RateLimitItemPerSecond(AMOUNT, period) for period in periods]

        async def ask(key: str) -> bool:
            for item in items:
                if not await limiter.hit(item, key):
                    return False
            return True

        yield ask
        await storage.bridge.storage.aclose()

    return opened


def throttled(using: str) -> Contender:
    """throttled-py's async limiter."""

    @asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Ask]:
        from throttled.asyncio import RedisStore as PeerStore
        from throttled.asyncio import Throttled, per_hour

        peer = Throttled(using=using, quota=per_hour(AMOUNT), store=PeerStore(server=url))

        async def ask(key: str) -> bool:
            return not (await peer.limit(key)).limited

        yield ask

    return opened


@asynccontextmanager
async def quart_rate_limiter(url: str) -> AsyncIterator[Ask]:
    """The calls that quart-rate-limiter makes for a request with one limit: three GET, one SET."""
    from quart_rate_limiter.redis_store import RedisStore as PeerStore

    store = PeerStore(url)
    await store.before_serving()
    step = timedelta(seconds=PERIOD / AMOUNT)

    async def read(key: str) -> datetime:
        now = datetime.now(UTC)
        stored = await store.get(key, now)
        return max(stored if stored.tzinfo else stored.astimezone(UTC), now)

    async def ask(key: str) -> bool:
        ahead = await read(key) - datetime.now(UTC)
        await store.set(key, await read(key) + step)
        await read(key)  # for the response's fields
        return ahead.total_seconds() <= PERIOD

    yield ask
    await store.after_serving()


BASE = "one pipeline a call"
FIXED = "ours: fixed window by the clock"
SCRIPTED: dict[str, Contender] = {
    "ours: fixed window": ours(FixedWindow(AMOUNT, PERIOD)),
    "ours: sliding window": ours(SlidingWindow(AMOUNT, PERIOD)),
    "ours: strict window": ours(StrictWindow(AMOUNT, PERIOD)),
    "ours: moving window": ours(MovingWindow(AMOUNT, PERIOD)),
    "ours: GCRA": ours(GCRA(AMOUNT, PERIOD)),
}
PEERS: dict[str, Contender] = {
    "limits.aio: fixed window": limits_aio("FixedWindowRateLimiter"),
    "limits.aio: sliding window": limits_aio("SlidingWindowCounterRateLimiter"),
    "limits.aio: moving window": limits_aio("MovingWindowRateLimiter"),
    "throttled-py: fixed window": throttled("fixed_window"),
    "throttled-py: GCRA": throttled("gcra"),
    "quart-rate-limiter's calls": quart_rate_limiter,
}
#: All that decide one limit a request.
SINGLE: dict[str, Contender] = {
    FIXED: ours(FixedWindow(AMOUNT, PERIOD, aligned=True)),
    **SCRIPTED,
    BASE: pipeline(PERIOD),
    f"{BASE}, waiting for a connection": pipeline(PERIOD, blocking=True),
    **PEERS,
}
#: Three limits a request.
SEVERAL: dict[str, Contender] = {
    "ours: three fixed windows": ours(*[FixedWindow(AMOUNT, period) for period in PERIODS]),
    "one pipeline a call of three": pipeline(*PERIODS),
    "limits.aio: three fixed windows": limits_aio("FixedWindowRateLimiter", PERIODS),
}
