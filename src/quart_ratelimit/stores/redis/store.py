"""Keeps state in Redis: one pipeline for all hits that arrive while the last one is under way.

Hits that need the script go in shares, so that Redis runs one while the last one's callers go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import redis.asyncio

from ...findings import Finding
from ...quotas import Decision, Hit
from ...quotas.fixed_window import is_counted
from ..piggyback import Piggyback
from . import script
from .carrier import own_keys
from .checkup import client_findings, deadline_findings, distance_findings, server_findings
from .connections import BUDGET
from .failures import in_time
from .link import Link, PerLoop
from .uri import Opener, check_own, checked_client, checked_connections, opener, opener_of

#: Seconds that `RedisStore.start`, which opens every connection, and each step of
#: `RedisStore.clear` may take.
START_DEADLINE = 1.0
#: Keys asked for at a time by `RedisStore.clear`.
SCAN_COUNT = 500


class RedisStore:
    """Counts in Redis, shared by all workers, exact whatever their clocks say.

    ``source`` is a URI (``redis://``, ``rediss://``, ``unix://``, ``redis+sentinel://``, or
    ``valkey`` for ``redis``), a callable that opens a ``redis.asyncio`` client, or a client, which
    its owner closes; nothing is opened before the first hit or `start`. With a URI the option
    ``connection_pool`` is used instead of it.
    ``deadline`` (seconds) covers all that one hit may wait for. None: 0.05, or four round trips to
    a Redis that is farther away, at most 1. Raises `ConfigurationError`.
    """

    def __init__(
        self,
        source: str | Opener | redis.asyncio.Redis,
        *,
        prefix: str = "rate_limit",
        deadline: float | None = None,
        max_connections: int = 4,
        **options: Any,
    ) -> None:
        check_own(prefix, deadline)
        self._prefix = prefix
        self._deadline = deadline
        self._max_connections = checked_connections(max_connections)
        if isinstance(source, str) and "connection_pool" not in options:
            self._open = opener(source, max_connections, options)
        elif callable(source):
            self._open = source
        else:
            handed = options.get("connection_pool")
            pool = checked_client(source).connection_pool if handed is None else handed
            self._open = opener_of(pool)
        self._links = PerLoop(self._open_link)
        #: What its batches take along.
        self.piggybacks: list[Piggyback] = []
        #: See `StoreThatConnects.connected`.
        self.connected: Callable[[], None] = _nothing

    async def start(self) -> None:
        """Connect and see what this Redis can do. Raises `StoreError`."""
        link = self._links.get()
        patience = max(START_DEADLINE, self._deadline or 0)
        await in_time(patience, link.connections.open(), link.pool, "connecting")

    async def aclose(self) -> None:
        """Close the connections. A later hit opens them again."""
        await self._links.aclose()

    def hit(self, hits: Sequence[Hit]) -> asyncio.Future[list[Decision]]:
        """Carry out all hits or none; see `Store.hit`.

        They are in the batch that goes out next as soon as this is called.
        """
        link = self._links.get()
        counted = link.counts and is_counted(hits)
        return (link.counters if counted else link.scripts).join(hits)

    def known_refusal(self, hits: Sequence[Hit]) -> None:
        """None: this store remembers no refusal; see `Store.known_refusal`."""

    async def carry(self) -> None:
        """Send what is due now, without a batch. Raises `StoreError`."""
        link = self._links.get()
        await in_time(link.deadline, link.carry(), link.pool, "ZADD")

    async def reset(self, hits: Sequence[Hit]) -> int:
        """Forget the state behind these hits; how many keys there were. Raises `StoreError`."""
        link = self._links.get()

        async def unlink() -> int:
            await link.connections.ready()
            now = link.clock.now_ms()
            keys = {f"{self._prefix}:{hit.quota.state_key(hit.key, now)}" for hit in hits}
            return int(await link.ask("UNLINK", *keys)) if keys else 0

        return await in_time(link.deadline, unlink(), link.pool, "UNLINK")

    async def clear(self, owns: Callable[[str], bool] | None = None) -> int:
        """Forget keys under this store's prefix, by SCAN; see `Store.clear`."""
        pattern = script.pattern(self._prefix)
        link, patience = self._links.get(), max(START_DEADLINE, self._deadline or 0)
        cursor, count = b"", 0
        own = own_keys(self._prefix, self.piggybacks)
        while cursor != b"0":
            scan = link.ask("SCAN", cursor or 0, "MATCH", pattern, "COUNT", SCAN_COUNT)
            cursor, found = await in_time(patience, scan, link.pool, "SCAN")
            keys = [key for key in script.owned(found, self._prefix, owns) if key not in own]
            if keys:
                unlink = link.ask("UNLINK", *keys)
                count += int(await in_time(patience, unlink, link.pool, "UNLINK"))
        return count

    def findings(self) -> list[Finding]:
        """What of the client should be otherwise. Opens nothing, and needs an event loop."""
        link = self._links.get()
        found = client_findings(link.client, deadline=link.deadline)
        return [*deadline_findings(link.deadline), *found]

    async def server_findings(self) -> list[Finding]:
        """What of the server should be known. Raises `StoreError`."""
        link = self._links.get()
        # The link opens no connection to a server that cannot count, and INFO says why it cannot.
        info: Any = await in_time(BUDGET, link.client.info(), link.pool, "INFO")
        return [*server_findings(info), *distance_findings(link.distance)]

    def _open_link(self) -> Link:
        client = checked_client(self._open())
        return Link(
            client,
            self._prefix,
            self._deadline,
            self._max_connections,
            self._note_connected,
            piggybacks=self.piggybacks,
        )

    def _note_connected(self) -> None:
        self.connected()


def _nothing() -> None:
    """Nobody has to know."""
