"""Whole pipelines on one of redis-py's connections, at a fifth of what its own pipelines cost."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import redis.asyncio
from redis.asyncio.connection import AbstractConnection as Connection
from redis.exceptions import RedisError, ResponseError

#: Whether there is something to read, or the connection is closed: its name changed in redis-py 8.
_CAN_READ = "can_read" if hasattr(redis.asyncio.Connection, "can_read") else "can_read_destructive"
#: Whether that needs no turn of the event loop, and the system can check a single socket.
CAN_SAY_AT_ONCE = _CAN_READ == "can_read" and hasattr(select, "poll")
#: How a connection reads a reply that does not look at it.
_READ_RESPONSE = redis.asyncio.Connection.read_response
#: What opens a connection, for every caller: redis-py 6 has parted it from `connect`.
_CONNECT = "connect"
if hasattr(redis.asyncio.Connection, "connect_check_health"):
    _CONNECT = "connect_check_health"

#: As the system wants it, a closed socket waits 0 s for what it has not sent.
_DISCARD = struct.pack("ii", 1, 0)


async def replies(connection: Connection, count: int, *, unsent: bytes = b"") -> list[object]:
    """Read ``count`` replies, errors of single commands among them; ``unsent`` is sent before.

    Raises what redis-py raises when the connection fails; then none, some or all was carried out,
    and the connection must not be used again.
    """
    answers: list[object] = []
    read: Callable[[], Awaitable[object]] = connection.read_response
    if unsent:
        await connection.send_packed_command(unsent, check_health=False)
    for _ in range(count):
        try:
            answers.append(await read())
        except ResponseError as error:
            answers.append(error)
        if len(answers) == 1:
            read = _next_reply(connection)
    return answers


def abort(connection: Connection) -> None:
    """Close the socket now: a peer that is silent could hold up a close that says goodbye.

    What the system has not sent yet is discarded: it would reach Redis after what is sent later by
    another connection, a take of a place after its release.
    """
    if has_ended(connection):
        sever(connection)
    writer = getattr(connection, "_writer", None)
    if isinstance(writer, asyncio.StreamWriter):
        system_socket = writer.get_extra_info("socket")
        if system_socket is not None:
            with contextlib.suppress(OSError, ValueError):  # it is closed already
                system_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _DISCARD)
        writer.transport.abort()


def has_ended(connection: Connection) -> bool:
    """Whether nothing can be awaited: no event loop runs, or the connection's own is closed."""
    writer = getattr(connection, "_writer", None)
    loop = getattr(getattr(writer, "transport", None), "_loop", None)
    return asyncio._get_running_loop() is None or (loop is not None and loop.is_closed())


def sever(connection: Connection) -> None:
    """Close the socket from anywhere, even after the end of its event loop.

    asyncio closes a socket in an iteration of its event loop, and there is none any more.
    """
    writer = getattr(connection, "_writer", None)
    if not isinstance(writer, asyncio.StreamWriter):
        return
    own: Any = connection
    own._reader = own._writer = None  # else redis-py warns of it
    transport: Any = writer.transport
    loop = getattr(transport, "_loop", None)
    if loop is not None and not loop.is_closed():
        if asyncio._get_running_loop() is loop:
            transport.abort()
        else:
            loop.call_soon_threadsafe(transport.abort)
        return
    tls = getattr(transport, "_ssl_protocol", None)
    below: Any = transport if tls is None else getattr(tls, "_transport", None)
    with contextlib.suppress(RuntimeError):  # the end of this call would be a later iteration
        transport.abort()
    if getattr(below, "_sock", None) is not None:
        with contextlib.suppress(RuntimeError):
            below._call_connection_lost(None)


def peer(connection: Connection) -> object:
    """The address that a connection leads to; None if it is unknown."""
    writer = getattr(connection, "_writer", None)
    return writer.get_extra_info("peername") if isinstance(writer, asyncio.StreamWriter) else None


def wary(kind: Any) -> Any:
    """Connections of this kind that look before they send, and are opened again if necessary.

    For a client that does not check its pooled ones: closed meanwhile, or with an unexpected
    reply, which would be taken for the next one's and shift all that follow.
    """

    async def connect(self: Any, *args: object, **kwargs: object) -> None:
        self.is_connecting = True  # several replies may be on their way
        try:
            await getattr(kind, _CONNECT)(self, *args, **kwargs)
        finally:
            self.is_connecting = False

    async def send_packed_command(self: Any, packed: bytes, check_health: bool = True) -> None:
        if self.is_connected and not self.is_connecting and not await is_fresh(self):
            await self.disconnect(nowait=True)
        await kind.send_packed_command(self, packed, check_health)

    if getattr(kind, "is_wary", False):
        return kind
    own: dict[str, object] = {"is_wary": True, "is_connecting": False}
    own |= {_CONNECT: connect, "send_packed_command": send_packed_command}
    return type(kind.__name__, (kind,), own)


def free_writer(connection: Connection) -> asyncio.StreamWriter | None:
    """What sends without waiting; None if it is closed, or there is something to read from it.

    Also nothing that the event loop has not seen yet, as the end of what Redis just closed.
    """
    writer = getattr(connection, "_writer", None)
    if not CAN_SAY_AT_ONCE or not isinstance(writer, asyncio.StreamWriter):
        return None
    look = is_fresh(connection)
    try:
        look.send(None)
    except StopIteration as told:
        fresh = told.value
    else:  # it would have to wait
        look.close()
        return None
    system_socket = writer.get_extra_info("socket")
    if not fresh or system_socket is None:  # another event loop may have none
        return None
    poll = select.poll()
    poll.register(system_socket, select.POLLIN)
    return None if poll.poll(0) else writer


def _next_reply(connection: Connection) -> Callable[[], Awaitable[object]]:
    """Reads a reply that has come along with the one before: errors are returned, not raised.

    By redis-py's parser, as all that its connection does for a reply was done for the first; but
    not where the connection looks at replies itself, as Sentinel's do.
    """
    reader = connection
    if type(connection).read_response is _READ_RESPONSE:
        reader = getattr(connection, "_parser", connection)
    read: Callable[[], Awaitable[object]] = reader.read_response
    return read


async def is_fresh(connection: Connection) -> bool:
    """Whether there is nothing to read from it, not even its end.

    redis-py's own check sees an end, but not that the connection was reset while it was idle.
    """
    writer = getattr(connection, "_writer", None)
    if isinstance(writer, asyncio.StreamWriter) and writer.is_closing():
        return False
    try:
        return not await getattr(connection, _CAN_READ)()
    except (RedisError, OSError):
        return False


async def refresh(connection: Any) -> None:
    """Connect it again if it was closed or reset, or if there is a stray reply."""
    if not await is_fresh(connection):
        await connection.disconnect(nowait=True)
        await connection.connect()
