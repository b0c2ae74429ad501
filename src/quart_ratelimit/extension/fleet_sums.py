"""The sums of all workers, in the store while a viewer looks at them.

A viewer sets a mark among the workers of the `Fleet`, which each worker reads when it registers.
While the mark stands, a worker writes the rows of its tally that changed. A row has the sums since
the worker began to count, and the history of its last minute and hour. A write that is lost or
repeated therefore harms nothing. Without a viewer no command is sent.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Sequence
from contextlib import suppress

from ..clock import Clock, monotonic_ms
from ..errors import StoreError
from ..stores.fleet import Fleet, fleet_of
from ..stores.piggyback import CarryingStore, Command, pairs_of
from .fleet_rows import KEPT_MS, FleetView, Sums, Worker, merged
from .tally import Row, Tally

#: Between two writings while a viewer looks, in ms.
SEEN_MS = 1_000
#: How long a worker waits for a batch that takes along what is due, in ms.
SLACK_MS = 50
#: Rows that a worker writes at once.
ROWS = 100
#: How often a worker writes all of its rows again, in ms: a row that is not written ends.
AGAIN_MS = KEPT_MS // 2


class FleetSums:
    """One limiter's sums in this process, as a `Piggyback` of its store.

    ``prefix``: the limiter's ``key_prefix``, as several may share a store.
    """

    key_name = "sums"

    def __init__(self, limiter: object, *, now_ms: Clock = monotonic_ms) -> None:
        self._token = secrets.token_hex(4)
        self.prefix: str = ""
        self._limiter = limiter
        self._now_ms = now_ms
        self._tally: Tally | None = None
        #: Whether the tally counts also without a viewer, for a dashboard.
        self._keeps = False
        #: When the next rows are to be written, if a viewer looks.
        self._due_ms = now_ms()
        #: How many look now.
        self._looking = 0
        self._found: FleetView | None = None
        #: Fields that were too old at the last look, and which of them the next look removes.
        self._stale: frozenset[str] = frozenset()
        self._removed: list[str] = []
        #: When all rows must be written again.
        self._again_ms = now_ms() + AGAIN_MS
        #: Why the store refused a command, such as a user without the right to it.
        self._error: Exception | None = None
        #: Rows whose writing is not confirmed.
        self._writing: list[Row] = []
        self._store: CarryingStore | None = None
        self._fleet: Fleet = Fleet(1)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._carrying: asyncio.Task[None] | None = None

    def share(self, store: object) -> None:
        """Write to this store, if its batches take commands along."""
        if isinstance(store, CarryingStore) and self not in store.piggybacks:
            self._fleet = fleet_of(store)
            store.piggybacks.append(self)
            self._store = store

    def keep(self) -> Tally:
        """The tally of this process, which counts from now on whether a viewer looks or not."""
        self._keeps = True
        return self._begin()

    async def look(self, store: object) -> FleetView | None:
        """What all workers wrote; None for a store that they do not share. Raises `StoreError`."""
        if not isinstance(store, CarryingStore):
            return None
        self.share(store)
        self._looking, self._found, self._error = self._looking + 1, None, None
        try:
            while self._found is None:  # a batch may have taken the commands along
                self._fleet.look()
                await store.carry()
                error = self._error or self._fleet.error
                if error is not None:
                    raise StoreError(f"Redis refuses the sums of the workers: {error}")
        finally:
            self._looking -= 1
        return self._found

    @property
    def _is_seen(self) -> bool:
        return self._now_ms() < self._fleet.seen_until_ms

    def is_due(self) -> bool:
        """Whether rows must be written, or read."""
        return self._looking > 0 or (self._is_seen and self._now_ms() >= self._due_ms)

    def commands(self, key: str, now_ms: int) -> Sequence[Command]:
        """Write what changed while a viewer looks; the viewer's process reads all."""
        self._due_ms = self._now_ms() + SEEN_MS
        found = self._written(self._begin(), key, now_ms)
        if self._removed:
            found.append(("HDEL", key, *self._removed))
            self._removed = []
        return [*found, ("HGETALL", key)] if self._looking else found

    def _written(self, tally: Tally, key: str, now_ms: int) -> list[Command]:
        for row in self._writing:  # what was not confirmed is written again
            row.changed = True
        if self._now_ms() >= self._again_ms:
            self._again_ms = self._now_ms() + AGAIN_MS
            tally.renew()
        self._writing = tally.take(ROWS)
        worker, values = self._worker(), list[str | int]()
        for row in self._writing:
            value = Sums.of_row(row, tally.second).as_json(now_ms, self.prefix, worker)
            # A process that was forked from this one has the same token.
            values += [f"{self._token}.{worker.pid}|{row.number}", value]
        return [("HSET", key, *values), ("PEXPIRE", key, KEPT_MS)] if values else []

    def _worker(self) -> Worker:
        """This process, by its name in the fleet."""
        return Worker(self._fleet.name, socket.gethostname(), os.getpid())

    def read(self, replies: Sequence[object], now_ms: int) -> None:
        """Note that rows were written, and what there is to see."""
        self._error = next((reply for reply in replies if isinstance(reply, Exception)), None)
        if self._error is not None:
            return
        self._writing = []
        if replies and isinstance(replies[-1], (dict, list)):
            self._found = merged(pairs_of(replies[-1]), self.prefix, now_ms)
            # A worker that sees the mark writes such a row again: only a second look removes it.
            self._removed = sorted(self._stale & self._found.stale)[:ROWS]
            self._stale = self._found.stale

    def close(self) -> None:
        """Write no more in this event loop."""
        if self._timer is not None:
            self._timer.cancel()
        if self._carrying is not None:
            self._carrying.cancel()
        self._timer = self._carrying = None

    def _begin(self) -> Tally:
        if self._tally is None:
            self._tally = Tally(self._limiter, woken=self._wake)
        else:
            self._tally.listen()
        return self._tally

    def _wake(self) -> None:
        """Have what is counted written, or the mark read, although no batch may come."""
        if self._timer is not None and self._loop is not None and not self._loop.is_closed():
            return
        if not self._keeps and not self._is_seen and self._tally is not None:
            self._tally.close()
            return
        if self._store is None or self._tally is None or not self._tally.has_changed:
            return
        with suppress(RuntimeError):  # no event loop
            self._loop = asyncio.get_running_loop()
            due_ms = self._due_ms if self._is_seen else max(self._due_ms, self._fleet.due_ms)
            pause_ms = max(0, due_ms - self._now_ms()) + SLACK_MS
            self._timer = self._loop.call_later(pause_ms / 1000, self._start_carrying)

    def _start_carrying(self) -> None:
        self._timer = None
        if self._tally is not None:
            self._tally.fold()
        if not self.is_due() and not self._fleet.is_due():  # a batch took the commands along
            self._wake()
        elif self._store is not None and self._loop is not None:
            self._carrying = self._loop.create_task(self._carry(self._store))

    async def _carry(self, store: CarryingStore) -> None:
        try:
            await store.carry()
        except StoreError:  # while it is away, the next decision wakes this
            self._due_ms = self._now_ms() + SEEN_MS
        else:
            self._wake()
