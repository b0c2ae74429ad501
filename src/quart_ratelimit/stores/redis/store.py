"""Keeps state in Redis: one pipeline for all hits that arrive while the last one is under way.

Hits that need the script go in shares, so that Redis runs one while the last one's callers go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ...findings import Finding
from ...quotas import Decision, Hit
from ...quotas.fixed_window import is_counted
from ..piggyback import Piggyback
from ..tasks import spawn
from .arguments import Opener, check_own, checked_connections
from .per_loop import PerLoop

if TYPE_CHECKING:
    from .link import Link


class RedisStore:
    """Counts in Redis, shared by all workers, exact whatever their clocks say.

    ``RedisStore("redis://localhost:6379/0")``. Nothing is opened before the first hit or `start`.

    - ``source``: a URI (``redis://``, ``rediss://``, ``unix://``, ``redis+sentinel://``, or
      ``valkey`` for ``redis``), or a function that opens a ``redis.asyncio`` client in the event
      loop that will use it.
    - ``prefix``: the start of every key (default "rate_limit").
    - ``deadline``: the longest wait of one hit, in seconds (default: 0.05, or four round trips to
      a Redis that is farther away, at most 1).
    - ``max_connections``: connections of one worker (default 4).
    - ``options``: options of redis-py.

    Raises `ConfigurationError`.
    """

    def __init__(
        self,
        source: str | Opener,
        *,
        prefix: str = "rate_limit",
        deadline: float | None = None,
        max_connections: int = 4,
        **options: Any,
    ) -> None:
        # redis-py takes as long to import as the rest of the package, and is not always needed.
        from .link import Link  # noqa: PLC0415
        from .uri import checked_opener, opener  # noqa: PLC0415

        check_own(prefix, deadline)
        most = checked_connections(max_connections)
        if isinstance(source, str):
            open_client = opener(source, most, options)
        else:
            open_client = checked_opener(source)

        def open_link() -> Link:
            told, beside = self._note_connected, self.piggybacks
            return Link(open_client(), prefix, deadline, most, told, piggybacks=beside)

        self._links = PerLoop(open_link)
        self._tasks: set[asyncio.Task[Any]] = set()
        #: What its batches take along.
        self.piggybacks: list[Piggyback] = []
        #: See `StoreThatConnects.connected`.
        self.connected: Callable[[], None] = _nothing

    async def start(self) -> None:
        """Connect and see what this Redis can do. Raises `StoreError`."""
        await self._links.get().start()

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
        await self._links.get().carry()

    async def reset(self, hits: Sequence[Hit]) -> int:
        """Forget the state behind these hits; how many keys there were. Raises `StoreError`.

        A caller that is cancelled leaves it to its end: a connection with a reply to come would be
        closed.
        """
        return await asyncio.shield(spawn(self._tasks, self._links.get().reset(hits)))

    async def clear(self, owns: Callable[[str], bool] | None = None) -> int:
        """Forget keys under this store's prefix, by SCAN; see `Store.clear`.

        A caller that is cancelled leaves it to its end, as `reset`.
        """
        return await asyncio.shield(spawn(self._tasks, self._links.get().clear(owns)))

    def findings(self) -> list[Finding]:
        """What of the client should be otherwise. Opens nothing, and needs an event loop."""
        return self._links.get().findings()

    async def server_findings(self) -> list[Finding]:
        """What of the server should be known. Raises `StoreError`."""
        return await self._links.get().server_findings()

    def _note_connected(self) -> None:
        self.connected()


def _nothing() -> None:
    """Do nothing: nothing waits for a connection."""
