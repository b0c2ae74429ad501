"""Stores for tests: every kind that there is, and one that fails when it is told to."""

import itertools
from collections.abc import AsyncIterator, Sequence
from copy import copy
from typing import Any

import pytest

from quart_ratelimit import Decision, Hit, Quota, StoreError
from quart_ratelimit.stores import (
    Breaker,
    ClusterStore,
    GuardedStore,
    MemoryStore,
    RedisStore,
    Store,
)

_numbers = itertools.count()


@pytest.fixture(params=["memory", "redis", "redis-script", "cluster"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """Every store there is; ``redis-script`` counts as on a server without EXPIRE NX."""
    if request.param == "memory":
        yield MemoryStore()
        return
    if request.param == "cluster":
        cluster = request.getfixturevalue("redis_cluster")
        cluster.flush()
        in_cluster = ClusterStore(cluster.url, deadline=5)
        yield in_cluster
        await in_cluster.aclose()
        return
    store = RedisStore(request.getfixturevalue("redis_url"), deadline=5)
    await store.start()
    if request.param == "redis-script":
        store._links.get().counts = False
    yield store
    await store.aclose()


def who() -> str:
    return f"client-{next(_numbers)}"


def hit(quota: Quota, key: str, cost: int = 1, **more: object) -> Hit:
    """A hit that takes a lease of its own."""
    return Hit(quota, key, cost, lease=f"lease-{next(_numbers)}")._replace(**more)  # type: ignore[arg-type]


class Clock:
    """Milliseconds that a test turns."""

    now = 0

    def __call__(self) -> int:
        return self.now


class Moody(MemoryStore):
    """A store that raises what it is told to, and counts how often it is asked."""

    error: StoreError | None = None
    asked = 0

    async def start(self) -> None:
        if self.error:
            raise copy(self.error)

    async def hit(self, hits: Sequence[Hit]) -> list[Decision]:
        self.asked += 1
        if self.error:
            raise copy(self.error)  # what was raised holds the frames of its callers
        return await super().hit(hits)


class Outside:
    """Any store, not taken for one in memory."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def guarded(policy: str = "local") -> tuple[GuardedStore, Moody, Clock]:
    clock, store = Clock(), Moody()
    return GuardedStore(store, policy=policy, breaker=Breaker(now_ms=clock)), store, clock
