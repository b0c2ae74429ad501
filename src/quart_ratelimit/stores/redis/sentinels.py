"""Where the master of a service is, by the word of its Sentinels; each of them is subscribed to."""

from __future__ import annotations

import asyncio
import random
import weakref
from collections.abc import Callable, Iterable
from typing import Any, TypeGuard, cast

from redis.asyncio.connection import AbstractConnection as Connection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff

from ..tasks import spawn
from . import wire
from .connections import BUDGET, FIRST_PAUSE
from .packing import command
from .sockets import prompt
from .uri import NO_MAINTENANCE

#: Seconds before a lost Sentinel is called again, at most.
LONGEST_PAUSE = 1.0
#: Seconds between two PINGs, and each must be answered before the next.
BEAT = 5.0
#: What a Sentinel publishes when the master is another one.
SWITCH, MONITOR = "+switch-master", "+monitor"

Address = tuple[str, int]

#: One reply each, also if that is an error.
_SUBSCRIBE = command("SUBSCRIBE", SWITCH) + command("SUBSCRIBE", MONITOR)
_PING = command("PING")


class Sentinels:
    """Follows the master of one service.

    Every Sentinel of the URI is subscribed to, because one may be lost together with the master.
    The newest word counts: an event, or what a Sentinel says at first, if no Sentinel that is heard
    knows a newer configuration. ``switched`` is called at another address than the one before.
    The tasks end with `aclose`, or with this object.
    """

    #: What redis-py's connections look at, to which this is their pool.
    is_master: bool = True
    check_connection: bool = False

    def __init__(self, pool: SentinelConnectionPool, switched: Callable[[], None]) -> None:
        self._pool = pool
        self._switched = switched
        self._manager: Any = cast("Any", pool).sentinel_manager
        self._address: Address | None = None
        #: Done at the next word or failure.
        self._news: asyncio.Future[None] | None = None
        self._watchers: list[Watcher] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @staticmethod
    def can_follow(pool: Any) -> TypeGuard[SentinelConnectionPool]:
        """Whether a pool finds its master as redis-py does, and not in a way of its own."""
        is_usual = type(pool) is SentinelConnectionPool and pool.is_master
        return is_usual and type(pool.sentinel_manager) is Sentinel

    def new_connection(self) -> Connection:
        """A connection to the master, not yet open."""
        own = {"connection_pool": weakref.proxy(self), "retry": Retry(NoBackoff(), 0)}
        made: Connection = self._pool.connection_class(**{**self._pool.connection_kwargs, **own})
        return made

    async def get_master_address(self) -> Address:
        """The address, once a Sentinel says it. Raises `MasterNotFoundError` if none can."""
        if not self._tasks:
            self._start()
        while self._address is None:
            errors = [watcher.error for watcher in self._watchers]
            if all(errors):
                # redis-py 8 has errors whose repr lacks their text.
                told = [f"{type(e).__name__}({e})" for e in errors if not _is_unknown(e)]
                raise MasterNotFoundError(f"no master: {', '.join(told)}")
            if self._news is None or self._news.done():
                self._news = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._news)
        return self._address

    async def aclose(self) -> None:
        """End every subscription and close its connection."""
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks, timeout=0.1)
        self._watchers.clear()
        self._address = None

    def sever(self) -> None:
        """Close every connection after the end of its event loop."""
        for watcher in self._watchers:
            if watcher.connection is not None:
                wire.sever(watcher.connection)

    def heard(self, watcher: Watcher, address: Address | None, epoch: int | None) -> None:
        """A Sentinel's word and how new it is (None: an event, newer than all); or its failure."""
        newest = max((other.epoch for other in self._watchers if other is not watcher), default=-1)
        watcher.epoch = max(newest, watcher.epoch) + 1 if epoch is None else epoch
        if address is not None and watcher.epoch >= newest:
            before, self._address = self._address, address
            if before not in (None, address):
                self._switched()
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def _start(self) -> None:
        service = self._pool.service_name
        ip = getattr(self._manager, "_force_master_ip", None)  # redis-py 5.3 does not have it
        for sentinel in self._manager.sentinels:
            watcher = Watcher(sentinel.connection_pool, service, weakref.WeakMethod(self.heard), ip)
            self._watchers.append(watcher)
            spawn(self._tasks, watcher.run())
        loop = asyncio.get_running_loop()
        weakref.finalize(self, _cancel, loop, list(self._tasks)).atexit = False


class Watcher:
    """One Sentinel: subscribed to, called again when it is lost, and silent at most for a beat."""

    def __init__(
        self,
        pool: Any,
        service: str,
        heard: weakref.WeakMethod[Callable[[Watcher, Address | None, int | None], None]],
        forced_ip: str | None,
    ) -> None:
        self._pool = pool
        self._service = service
        self._heard = heard
        self._forced_ip = forced_ip
        self.connection: Any = None
        #: How new its word is; -1 while it is not heard.
        self.epoch = -1
        #: Why it was not heard at the last attempt; None before the end of the first.
        self.error: Exception | None = None
        #: Whether the last PING is not answered yet.
        self._was_silent = False
        self._timer: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Subscribe again and again, until cancelled."""
        pause = FIRST_PAUSE
        while True:
            if await self._follow():
                pause = FIRST_PAUSE
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311  # no secret
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _follow(self) -> bool:
        """Hear one connection to its end; whether it was subscribed."""
        connection = self.connection = self._new_connection()
        is_subscribed = False
        try:
            async with asyncio.timeout(BUDGET):
                await connection.connect()
                asked = command("SENTINEL", "MASTER", self._service) + _SUBSCRIBE
                master, *subscribed = await wire.replies(connection, 3, unsent=asked)
            self._note_master(master)
            for refusal in subscribed:
                if isinstance(refusal, Exception):  # by its ACL: it is called again after a pause
                    return False
            is_subscribed = True
            self._await_beat(connection)
            while True:
                self._note_message(await connection.read_response())
                self._was_silent = False
        except Exception as error:  # redis-py lets AttributeError and similar errors escape, too
            self.error = error
            self._tell(None, -1)
            return is_subscribed
        finally:
            if self._timer is not None:
                self._timer.cancel()
            wire.abort(connection)
            await connection.disconnect(nowait=True)

    def _new_connection(self) -> Any:
        """Of RESP 2, in which a subscription's messages are replies."""
        own = {"protocol": 2, "retry": Retry(NoBackoff(), 0), "socket_timeout": None}
        own |= {"health_check_interval": 0, **NO_MAINTENANCE}
        return prompt(self._pool.connection_class)(**{**self._pool.connection_kwargs, **own})

    def _await_beat(self, connection: Connection) -> None:
        self._was_silent = False
        self._timer = asyncio.get_running_loop().call_later(BEAT, self._beat, connection)

    def _beat(self, connection: Any) -> None:
        """Close what is silent since the last PING: a host that is gone says no goodbye."""
        if self._was_silent:
            wire.abort(connection)
            return
        connection._writer.write(_PING)
        self._was_silent = True
        self._timer = asyncio.get_running_loop().call_later(BEAT, self._beat, connection)

    def _note_master(self, master: object) -> None:
        """Its reply to SENTINEL MASTER: names and values in turn."""
        if isinstance(master, Exception):
            raise master
        words = _words(master)
        told = dict(zip(words[::2], words[1::2], strict=True))
        self.error = None
        self._tell((told["ip"], int(told["port"])), int(told["config-epoch"]))

    def _note_message(self, message: object) -> None:
        """A message, or the PONG to a PING."""
        kind, channel, *text = _words(message)
        if kind != "message":
            return
        words = text[0].split(" ")
        if channel == SWITCH:  # service, then the old address and the new one
            service, _, _, ip, port = words[:5]
        else:  # "master", service, address, "quorum", number
            _, service, ip, port = words[:4]
        if service == self._service:
            self._tell((ip, int(port)), None)

    def _tell(self, address: Address | None, epoch: int | None) -> None:
        heard = self._heard()
        if heard is not None:
            if address is not None and self._forced_ip is not None:
                address = (self._forced_ip, address[1])
            heard(self, address, epoch)


def _words(reply: object) -> list[str]:
    """A reply's texts. Raises what an unusual reply is not fit for."""
    parts: Iterable[object] = reply if isinstance(reply, list) else [reply]
    return [part.decode() if isinstance(part, bytes) else str(part) for part in parts]


def _is_unknown(error: Exception | None) -> bool:
    """Whether a Sentinel answered that it does not watch such a master."""
    return "No such master" in str(error)


def _cancel(loop: asyncio.AbstractEventLoop, tasks: Iterable[asyncio.Task[None]]) -> None:
    """End the tasks of objects without references, perhaps in another thread."""
    for task in tasks:
        if not loop.is_closed() and not task.done():
            loop.call_soon_threadsafe(task.cancel)
