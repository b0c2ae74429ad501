"""Whole pipelines on redis.asyncio's connections, at a fifth of what its own pipelines cost."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import redis.asyncio
from redis.exceptions import RedisError, ResponseError

#: Whether there is something to read, or the connection is closed: its name changed in redis-py 8.
_CAN_READ = "can_read" if hasattr(redis.asyncio.Connection, "can_read") else "can_read_destructive"
#: Whether that needs no turn of the event loop, and the system can be asked for a single socket.
CAN_SAY_AT_ONCE = _CAN_READ == "can_read" and hasattr(select, "poll")
#: How a connection reads a reply that does not look at it.
_READ_RESPONSE = redis.asyncio.Connection.read_response
#: What opens a connection, whoever asks: redis-py 6 has parted it from `connect`.
_CONNECT = "connect"
if hasattr(redis.asyncio.Connection, "connect_check_health"):
    _CONNECT = "connect_check_health"


class Wire:
    """Sends what was packed, once, and reads all replies to it.

    A connection is kept between exchanges, as taking one from a pool costs more than the exchange.
    One whose exchange did not end is closed: a late reply is never taken for another's.
    """

    def __init__(self, pool: redis.asyncio.ConnectionPool) -> None:
        self._pool: Any = pool  # redis-py types its methods in part
        self._kept: Any = None
        #: A pool of one connection is not robbed of it.
        self._keeps = getattr(pool, "max_connections", 2) > 1

    def exchange(self, packed: bytes, replies: int) -> Coroutine[Any, Any, list[Any]]:
        """The replies, errors of single commands among them.

        Sent by this very call if the kept connection takes it, else when the replies are awaited.
        Raises what redis-py raises when the connection fails; then none, some or all was carried
        out.
        """
        connection = self._kept
        if connection is None or not _takes_at_once(connection):
            return self._exchange(packed, replies)
        self._kept = None
        connection._writer.write(packed)
        return self._replies(connection, replies)

    async def _exchange(self, packed: bytes, replies: int) -> list[Any]:
        if self._kept is not None:
            await asyncio.sleep(0)  # the loop may not have seen yet that Redis has closed it
        connection, self._kept = self._kept, None
        if connection is None or not await _is_fresh(connection):
            connection = await self._another(connection)
        return await self._replies(connection, replies, unsent=packed)

    async def _replies(self, connection: Any, count: int, *, unsent: bytes = b"") -> list[Any]:
        answers: list[Any] = []
        read = connection.read_response
        try:
            if unsent:
                await connection.send_packed_command(unsent, check_health=False)
            for _ in range(count):
                try:
                    answers.append(await read())
                except ResponseError as error:
                    answers.append(error)
                if len(answers) == 1:
                    read = _next_reply(connection)
        except BaseException:
            await asyncio.shield(self._discard(connection))
            raise
        if self._kept is None and self._keeps:
            self._kept = connection
        else:
            await self._pool.release(connection)
        return answers

    async def aclose(self) -> None:
        """Close the connection that is kept; another is opened when it is needed."""
        connection, self._kept = self._kept, None
        if connection is not None:
            await self._discard(connection)

    async def _another(self, connection: Any) -> Any:
        if connection is not None:  # closed meanwhile, or with a reply that nobody asked for
            await self._discard(connection)
        return await self._pool.get_connection()

    async def _discard(self, connection: Any) -> None:
        try:
            await connection.disconnect(nowait=True)
        finally:
            await self._pool.release(connection)


def wary(kind: Any) -> Any:
    """Connections of this kind that look before they send, and are opened anew if need be.

    For a client that does not check its pooled ones: closed meanwhile, or with a reply that nobody
    asked for, which would be taken for the next one's and shift all that follow.
    """

    async def connect(self: Any, *args: Any, **kwargs: Any) -> None:
        self.is_connecting = True  # several replies may be on their way
        try:
            await getattr(kind, _CONNECT)(self, *args, **kwargs)
        finally:
            self.is_connecting = False

    async def send_packed_command(self: Any, packed: Any, check_health: bool = True) -> None:
        if self.is_connected and not self.is_connecting and not await _is_fresh(self):
            await self.disconnect(nowait=True)
        await kind.send_packed_command(self, packed, check_health)

    if getattr(kind, "is_wary", False):
        return kind
    own: dict[str, Any] = {"is_wary": True, "is_connecting": False}
    own |= {_CONNECT: connect, "send_packed_command": send_packed_command}
    return type(kind.__name__, (kind,), own)


def _takes_at_once(connection: Any) -> bool:
    """Whether it can be sent to without waiting: it is open, and there is nothing to read from it.

    Also nothing that the event loop has not seen yet, as the end of what Redis just closed.
    """
    writer = getattr(connection, "_writer", None)
    if not CAN_SAY_AT_ONCE or not isinstance(writer, asyncio.StreamWriter) or writer.is_closing():
        return False
    look = _is_fresh(connection)
    try:
        look.send(None)
    except StopIteration as told:
        fresh = told.value
    else:  # it would have to wait
        look.close()
        return False
    socket = writer.get_extra_info("socket")
    if not fresh or socket is None:  # another event loop may have none
        return False
    poll = select.poll()
    poll.register(socket, select.POLLIN)
    return not poll.poll(0)


def _next_reply(connection: Any) -> Callable[[], Awaitable[Any]]:
    """Reads a reply that has come along with the one before: errors are returned, not raised.

    By redis-py's parser, as all that its connection does for a reply was done for the first; but
    not where the connection looks at replies itself, as Sentinel's do.
    """
    reader = connection
    if type(connection).read_response is _READ_RESPONSE:
        reader = getattr(connection, "_parser", connection)
    read: Callable[[], Awaitable[Any]] = reader.read_response
    return read


async def _is_fresh(connection: Any) -> bool:
    """Whether there is nothing to read from it, not even its end."""
    try:
        return not await getattr(connection, _CAN_READ)()
    except (RedisError, OSError):
        return False
