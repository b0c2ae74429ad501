"""The worker's end of a connection: what asyncio calls a transport, and the system's part of it."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .network import Connection

#: What a stream's end and a reset look like among the bytes of a connection.
END, RESET = object(), object()


class ClientTransport(asyncio.Transport):
    """The worker's end, which its event loop reads when it comes round to it."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self.connection = connection
        self._loop = connection.loop
        self._protocol: Any = None
        #: What the system has received and the event loop has not read.
        self.received: deque[object] = deque()
        self._closing = False
        self._is_reading = True
        self.is_gone = False
        self._loop.transports.add(self)

    def arrived(self, what: object) -> None:
        """Bytes, an end or a reset has come."""
        if self.is_gone:
            return
        if what is RESET and self.connection.stream.random() < 0.5:
            self.received.clear()  # the system may throw away what was not read
        self.received.append(what)
        if self._is_reading:
            self._loop.readable(self)

    def read_ready(self) -> None:
        """As `asyncio.selector_events`' transport reads."""
        if self._closing or not self.received or self._protocol is None:
            return
        what = self.received.popleft()
        if isinstance(what, bytes):
            while self.received and isinstance(self.received[0], bytes):
                what += self.received.popleft()
            self._protocol.data_received(what)
        elif what is END:
            if not self._protocol.eof_received():
                self.close()
        else:
            self._close(ConnectionResetError(104, "Connection reset by peer"))
            return
        if self.received:
            self._loop.readable(self)

    def write(self, data: Any) -> None:
        if not self._closing and data:
            self.connection.network.world.note(f"{self.connection.worker}>{len(data)};")
            self.connection.to_server.send(bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        self._close(None)

    def abort(self) -> None:
        self._close(None)

    def _close(self, error: Exception | None) -> None:
        if self._closing:
            return
        self._closing = True
        self._loop.transports.discard(self)
        self.is_gone = True
        self.connection.to_server.send(RESET if self.connection.discards else END)
        self._loop.call_soon(self._protocol.connection_lost, error)

    def is_closing(self) -> bool:
        return self._closing

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol
        if self.received and self._is_reading:  # what came before the loop knew who reads
            self._loop.readable(self)

    def get_protocol(self) -> Any:
        return self._protocol

    def pause_reading(self) -> None:
        self._is_reading = False

    def resume_reading(self) -> None:
        self._is_reading = True
        if self.received:
            self._loop.readable(self)

    def is_reading(self) -> bool:
        return self._is_reading

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "peername":
            return (self.connection.server.name, 6379)
        if name == "socket":
            return Socket(self)
        return default

    def get_write_buffer_size(self) -> int:
        return 0

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return (0, 65_536)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def can_write_eof(self) -> bool:
        return False


class Socket:
    """What redis-py sets options of, and `Poll` looks into."""

    def __init__(self, transport: ClientTransport) -> None:
        self.transport = transport

    def setsockopt(self, level: int, option: int, value: object) -> None:
        if option == socket.SO_LINGER:
            self.transport.connection.discards = True


class Poll:
    """`select.poll` for one simulated socket."""

    def __init__(self) -> None:
        self._sockets: list[Socket] = []

    def register(self, one: Socket, _: int) -> None:
        self._sockets.append(one)

    def poll(self, _: int) -> list[Socket]:
        return [one for one in self._sockets if one.transport.received]
