"""The connections to one server: opened in the background, kept between exchanges, closed here.

Opening one takes several round trips: TCP, TLS, the login, preparing the server. A request that
waits for it may leave at its deadline; the opening goes on, within a budget of its own.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple, Protocol

from redis.asyncio.connection import AbstractConnection as Connection

from ...clock import monotonic_ms
from ...errors import StoreError, StoreTimeout
from ..tasks import spawn
from . import wire
from .batcher import copy_of
from .failures import too_late

#: Seconds that opening one connection may take.
BUDGET = 2.0
#: Seconds before another attempt while no request waits: at first, and at most.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 0.5
#: Seconds after which an attempt is taken for lost, so that another one is begun in parallel.
LOST = 0.15
#: Seconds after the last request that wanted a connection in which attempts go on.
WANTED_FOR = 2.0
#: What ends an exchange or an attempt while its event loop runs. After the loop's end Python throws
#: `GeneratorExit`: no task can start then, and `_sever` closes what is open.
FAILED = (Exception, asyncio.CancelledError)


class Pool(Protocol):
    """Where connections come from: a pool of redis-py, or one node of a cluster."""

    async def get_connection(self) -> Connection:
        """A connection that is open and logged in."""

    async def release(self, connection: Connection) -> None:
        """Take it back, open or closed."""

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Close the connections that were given back, and on request the ones in use."""


class Unpooled:
    """Opens connections and keeps none: `Connections` does. ``place``: as errors name it."""

    def __init__(self, new_connection: Callable[[], Any], most: int, **place: object) -> None:
        self._new_connection = new_connection
        self.max_connections: int = most + 1
        self.connection_kwargs = place

    async def get_connection(self) -> Connection:
        """A connection that is open and logged in."""
        connection: Any = self._new_connection()
        try:
            await connection.connect()
        except BaseException:
            await self.release(connection)
            raise
        opened: Connection = connection
        return opened

    async def release(self, connection: Connection) -> None:
        """Close it."""
        wire.abort(connection)
        await connection.disconnect(nowait=True)

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """No connection is kept here."""


class Exchanged(NamedTuple):
    """Replies, and between which two moments they were made, in ms of the monotonic clock."""

    replies: list[object]
    sent_ms: int
    received_ms: int


class Connections:
    """At most ``most`` connections at a time, each for one exchange at a time.

    ``prepare`` is called with a connection before the first exchange, and again after all
    connections were lost: the server may have been restarted or replaced. A connection has one
    owner: an exchange, the list of idle ones, or the task that opens it. An exchange that did not
    end closes its connection, so a late reply is never taken for another exchange's.
    """

    def __init__(
        self,
        pool: Pool,
        prepare: Callable[[Connection], Awaitable[None]],
        *,
        most: int,
        patience: Callable[[], float],
        budget: float = BUDGET,
    ) -> None:
        self._pool = pool
        self._prepare = prepare
        self._most = most
        #: Seconds after which one that waits for a connection has no time left to use it.
        self._patience = patience
        self._budget = budget
        #: How many are kept: a pool's last connection is left to its other users.
        self._keep = min(most, getattr(pool, "max_connections", most + 1) - 1)
        self._idle: list[Connection] = []
        #: Those that are idle or in an exchange; closed also if this is not closed.
        self._open: set[Connection] = set()
        weakref.finalize(self, _sever, self._open, os.getpid()).atexit = False
        #: Who waits for a connection, since when, and in which task.
        self._waiters: deque[
            tuple[asyncio.Future[Connection], float, asyncio.Task[object] | None]
        ] = deque()
        self._wanted_at = 0.0
        #: Seconds that the last connection took to open.
        self._took = 0.0
        self._is_wanted = asyncio.Event()
        #: Attempts to open, and what they started; cancelled when this is closed.
        self._opening: set[asyncio.Task[None]] = set()
        self._openers: dict[asyncio.Task[None], float] = {}  # and since when
        #: Connections on their way back to the pool; never cancelled.
        self._closing: set[asyncio.Task[None]] = set()
        #: Whether the server that the open connections lead to is prepared.
        self.is_prepared: bool = False

    def exchange(self, packed: bytes, replies: int) -> Coroutine[object, object, Exchanged]:
        """The replies, errors of single commands among them.

        Sent by this very call if an idle connection takes it, else when the result is awaited.
        Raises what redis-py raises when the connection fails; then none, some or all was carried
        out.
        """
        writer = wire.free_writer(self._idle[-1]) if self._idle else None
        if writer is not None:
            connection = self._idle.pop()
            sent_ms = monotonic_ms()
            try:
                writer.write(packed)
            except BaseException:
                self._drop(connection)
                raise
            return self._replies(connection, replies, sent_ms)
        return self._exchange(packed, replies)

    def is_awaited_by(self, task: asyncio.Task[None]) -> bool:
        """Whether a task waits for a connection, so that it has sent nothing."""
        return any(task is one and not waiter.done() for waiter, _, one in self._waiters)

    async def ready(self, *, however_long: bool = False) -> None:
        """Wait until a connection is open and the server is prepared.

        Raises `StoreTimeout` if that took longer than a hit can wait; or not, ``however_long``.
        """
        if not self.is_prepared:
            await self._release(await self._take(math.inf if however_long else None))

    async def open(self) -> None:
        """Open all connections that are kept, so that none is opened under load."""
        await self.ready(however_long=True)
        missing = self._keep - len(self._open) - len(self._openers)
        attempts = [spawn(self._opening, self._attempt()) for _ in range(missing)]
        if attempts:
            await asyncio.wait(attempts)

    def drop_idle(self) -> None:
        """Close the connections that are not in use."""
        while self._idle:
            self._drop(self._idle.pop())

    def leave(self) -> None:
        """Close all connections, also those in use, and open another: the server has moved."""
        self.drop_idle()
        for connection in self._open:  # its exchange fails, and drops it
            wire.abort(connection)
        self._open.clear()
        self.is_prepared = False
        for task in self._opening:
            task.cancel()
        self._openers.clear()
        self._want(least=1)

    def sever(self) -> None:
        """Close every connection of an event loop that has ended."""
        _sever(self._open, os.getpid())
        self._open.clear()
        self._idle.clear()

    async def aclose(self) -> None:
        """End every attempt and close every connection."""
        while self._opening:
            for task in self._opening:
                task.cancel()
            # redis-py on Python 3.11 can swallow a cancellation.
            await asyncio.wait(self._opening, timeout=0.1)
        self._fail_waiters(StoreError("the connections to Redis were closed"))
        for connection in list(self._open):
            self._drop(connection)
        self._idle.clear()
        while self._closing:
            await asyncio.wait(self._closing)
        await asyncio.sleep(0)  # asyncio closes a socket in the next iteration

    async def _exchange(self, packed: bytes, replies: int) -> Exchanged:
        if self._idle:
            await asyncio.sleep(0)  # the loop may not have seen yet that Redis has closed it
        connection = await self._take()
        return await self._replies(connection, replies, monotonic_ms(), unsent=packed)

    async def _replies(
        self, connection: Connection, count: int, sent_ms: int, *, unsent: bytes = b""
    ) -> Exchanged:
        try:
            replies = await wire.replies(connection, count, unsent=unsent)
        except FAILED:
            self._drop(connection)
            raise
        exchanged = Exchanged(replies, sent_ms, monotonic_ms())
        if not self._give(connection):
            await self._release(connection)
        return exchanged

    async def _take(self, since: float | None = None) -> Connection:
        """An open connection, which the caller releases or drops; it waits ``since`` then."""
        while self._idle:
            connection = self._idle.pop()
            try:
                fresh = await wire.is_fresh(connection)
            except FAILED:
                self._drop(connection)
                raise
            if fresh:
                return connection
            self._drop(connection)  # closed meanwhile, or with a stray reply
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Connection] = loop.create_future()
        began = loop.time() if since is None else since
        self._waiters.append((waiter, began, asyncio.current_task()))
        self._want()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and not waiter.exception():
                await self._release(waiter.result())
            raise

    def _want(self, least: int = 0) -> None:
        """Have as many connections opened as requests wait for, and ``least`` of them anyway."""
        self._wanted_at = asyncio.get_running_loop().time()
        self._is_wanted.set()
        waiting = max(least, sum(not waiter.done() for waiter, *_ in self._waiters))
        begun = sum(self._wanted_at - since < LOST for since in self._openers.values())
        room = self._most - len(self._open) - len(self._openers)
        for _ in range(min(waiting - begun, room)):
            task = spawn(self._opening, self._opens())
            self._openers[task] = self._wanted_at
            task.add_done_callback(lambda ended: self._openers.pop(ended, None))

    async def _opens(self) -> None:
        """Open one connection, by several attempts if need be.

        An attempt that fails while requests wait is their error, and the next request starts
        another one; but one task goes on if connecting takes longer than a request can wait.
        """
        pause = FIRST_PAUSE
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        while True:
            try:
                await self._attempt()
            except Exception as error:
                if self._fail_waiters(error) and self._took <= self._patience():
                    return
            else:
                return
            is_wanted = loop.time() - self._wanted_at <= WANTED_FOR
            if task not in self._openers or len(self._openers) > 1 or not is_wanted:
                return
            self._openers[task] = math.inf  # the next request wakes it
            self._is_wanted.clear()
            wanted = loop.create_task(self._is_wanted.wait())
            try:
                jitter = random.uniform(0.5, 1)  # noqa: S311  # no secret
                await asyncio.wait({wanted}, timeout=pause * jitter)
            finally:
                wanted.cancel()
            self._openers[task] = loop.time()
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _attempt(self) -> None:
        """Open one connection within the budget."""
        task = spawn(self._opening, self._connect())
        await asyncio.wait({task}, timeout=self._budget)
        if not task.done():
            task.cancel()
            raise too_late(self._budget, self._pool, "connecting")
        task.result()

    async def _connect(self) -> None:
        began = asyncio.get_running_loop().time()
        try:
            connection = await self._pool.get_connection()
        except FAILED:
            spawn(self._closing, self._drop_half_open())
            raise
        self._open.add(connection)
        try:
            await wire.refresh(connection)  # it may have been idle in the pool
            if not self.is_prepared:
                await self._prepare(connection)
                self.is_prepared = connection in self._open
        except FAILED:
            self._drop(connection)
            raise
        self._took = asyncio.get_running_loop().time() - began
        await self._release(connection)

    async def _drop_half_open(self) -> None:
        """Close what is idle in the pool: redis-py leaves a failed login's connection there."""
        for connection in getattr(self._pool, "_available_connections", ()):
            wire.abort(connection)
        await self._pool.disconnect(inuse_connections=False)

    def _give(self, connection: Connection) -> bool:
        """Whether one that waits takes it, or it is kept.

        One that would send now and leave before the reply comes would cost the connection, and the
        next one that waits would find itself in the same place.
        """
        if connection not in self._open:  # the server has moved
            return False
        while self._waiters:
            waiter, since, _ = self._waiters.popleft()
            waited = asyncio.get_running_loop().time() - since
            if waiter.done():
                continue
            if waited <= self._patience():
                waiter.set_result(connection)
                return True
            late = StoreTimeout("Redis was connected too late for this hit")
            late.was_sent = False
            waiter.set_exception(late)
        if len(self._idle) < self._keep:
            self._idle.append(connection)
            return True
        return False

    async def _release(self, connection: Connection) -> None:
        if not self._give(connection):
            self._open.discard(connection)
            await asyncio.shield(spawn(self._closing, self._pool.release(connection)))

    def _drop(self, connection: Connection) -> None:
        wire.abort(connection)
        self._open.discard(connection)
        if not self._open:
            self.is_prepared = False
        spawn(self._closing, self._disconnect(connection))

    async def _disconnect(self, connection: Connection) -> None:
        try:
            await connection.disconnect(nowait=True)
        finally:
            await self._pool.release(connection)

    def _fail_waiters(self, error: Exception) -> bool:
        """Wake every request that waits; return whether one did."""
        waiting = [waiter for waiter, *_ in self._waiters if not waiter.done()]
        self._waiters.clear()
        for waiter in waiting:
            copied = copy_of(error)
            copied.__dict__["was_sent"] = False  # see `store_error`
            waiter.set_exception(copied)
        return bool(waiting)


def _sever(connections: set[Connection], pid: int) -> None:
    """Close what was open when the last reference to its owner went."""
    if pid == os.getpid():  # a child's copies are its parent's connections
        for connection in connections:
            wire.sever(connection)
