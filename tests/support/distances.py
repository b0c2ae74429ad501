"""A Redis that is far away, by TLS or not, and how soon it counts after it was lost.

The distance is a proxy's: it delays what Redis sends, and the first byte of each connection.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from types import TracebackType

from quart_ratelimit import FixedWindow, Hit
from quart_ratelimit.stores import GuardedStore, RedisStore

from .certificates import Certificates
from .proxy import Proxy
from .servers import RedisServer, free_port

#: Round trips, in ms.
DISTANCES = (0, 5, 15, 30, 80, 200)
HIT = [Hit(FixedWindow(1_000_000, 86_400, aligned=True), "ann")]


class Far:
    """Two servers, each behind a proxy, and a Sentinel that says which of them is the master."""

    def __init__(self, files: Certificates | None, distance_ms: float) -> None:
        self._is_secure = files is not None
        self._query = "" if files is None else f"?ssl_ca_certs={files.authority}"
        self._ports = [free_port(), free_port()]
        self.servers = [self._start(files, port) for port in self._ports]
        self.watcher = RedisServer("--sentinel", config="")
        self.proxies = [Proxy(port) for port in self._ports]
        self._delay = distance_ms / 1000

    async def __aenter__(self) -> Far:
        for proxy in self.proxies:
            await proxy.__aenter__()
            proxy.delay = self._delay
        await self.watch(0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for proxy in self.proxies:
            await proxy.__aexit__()
        for server in (self.watcher, *self.servers):
            await asyncio.to_thread(server.stop)

    @property
    def url(self) -> str:
        """The first of them."""
        scheme = "rediss" if self._is_secure else "redis"
        return f"{scheme}://127.0.0.1:{self.proxies[0].port}/0{self._query}"

    @property
    def sentinels_url(self) -> str:
        """The one that the Sentinel names."""
        scheme = "rediss" if self._is_secure else "redis"
        query = self._query and f"{self._query}&sentinel_ssl=false"
        return f"{scheme}+sentinel://127.0.0.1:{self.watcher.port}/m{query}"

    async def watch(self, number: int) -> None:
        """Have the Sentinel name the server of this number."""
        if number:
            await self._ask("SENTINEL", "REMOVE", "m")
        await self._ask("SENTINEL", "MONITOR", "m", "127.0.0.1", self.proxies[number].port, 1)

    async def _ask(self, *parts: str | int) -> None:
        await asyncio.to_thread(self.watcher.ask, *parts)

    @staticmethod
    def _start(files: Certificates | None, port: int) -> RedisServer:
        if files is None:
            return RedisServer(port=port)
        return RedisServer(
            "--tls-port", str(port), "--tls-auth-clients", "no",
            "--tls-cert-file", str(files.certificate), "--tls-key-file", str(files.key),
        )  # fmt: skip


async def until_counted(store: GuardedStore, limit: float = 6) -> float:
    """Seconds until Redis counts a hit that begins now or later."""
    began = time.monotonic()
    while time.monotonic() < began + limit:
        (decision,) = await store.hit(HIT)
        if decision.by == "store":
            break
        await asyncio.sleep(0.01)
    return time.monotonic() - began


async def cold(far: Far) -> float:
    """A first hit, without `start`."""
    store = GuardedStore(RedisStore(far.url))
    try:
        return await until_counted(store)
    finally:
        await store.aclose()


async def killed(far: Far) -> float:
    """CLIENT KILL of every connection."""
    store = GuardedStore(RedisStore(far.url))
    await store.start()
    await until_counted(store)
    await asyncio.to_thread(far.servers[0].ask, "CLIENT", "KILL", "TYPE", "normal")
    try:
        return await until_counted(store)
    finally:
        await store.aclose()


async def restarted(far: Far) -> float:
    """From the moment at which the server answers again; callers hit all the time."""
    store = GuardedStore(RedisStore(far.url))
    await store.start()
    await until_counted(store)
    far.servers[0].kill()
    for _ in range(50):
        await store.hit(HIT)
        await asyncio.sleep(0.01)
    await asyncio.to_thread(far.servers[0].start)
    try:
        return await until_counted(store)
    finally:
        await store.aclose()


async def failed_over(far: Far) -> float:
    """From the moment at which the Sentinel names another master; the old one is frozen."""
    store = GuardedStore(RedisStore(far.sentinels_url))
    await store.start()
    await until_counted(store)
    far.servers[0].freeze()
    for _ in range(50):
        await store.hit(HIT)
        await asyncio.sleep(0.01)
    await far.watch(1)
    try:
        return await until_counted(store)
    finally:
        far.servers[0].thaw()
        await store.aclose()


EVENTS: dict[str, Callable[[Far], Awaitable[float]]] = {
    "cold start": cold,
    "CLIENT KILL": killed,
    "restart": restarted,
    "failover": failed_over,
}
