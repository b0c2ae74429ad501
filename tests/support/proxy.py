"""A TCP proxy that does to a connection what networks and failovers do."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable

#: What becomes of a reply: itself, other bytes, or None to reset the client's connection.
Fault = Callable[[bytes], "bytes | None"]


def deliver(reply: bytes) -> bytes | None:
    return reply


def lose(reply: bytes) -> bytes | None:
    """The request was carried out; the client hears nothing."""
    return b""


def reset(reply: bytes) -> bytes | None:
    """The request was carried out; the client's connection is reset."""
    return None


def add_stray(reply: bytes) -> bytes | None:
    """One reply too many, which a careless client takes for the answer to its next request."""
    return reply + b":666\r\n"


def answer(garbage: bytes) -> Fault:
    """Other bytes instead of the reply."""
    return lambda _: garbage


def cut(length: int) -> Fault:
    """The first bytes of the reply, then silence."""
    return lambda reply: reply[:length]


class Broken(bytes):
    """Bytes after which the connection is closed."""


def break_at(length: int) -> Fault:
    """The first bytes of the reply, then the end of the connection."""
    return lambda reply: Broken(reply[:length])


class Proxy:
    """Forwards to a port that may change; ``match`` arms the fault for requests that hold it."""

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.port = 0
        self.fault: Fault = deliver
        self.match = b""
        self.times = 1_000_000
        #: Seconds before each reply, and before the first byte of a connection is forwarded.
        self.delay = 0.0
        #: Forward nothing, answer nothing.
        self.silent = False
        #: So many bytes of an armed request reach the server, then both connections end.
        self.request_cut: int | None = None
        #: Seconds between the bytes of a reply.
        self.trickle = 0.0
        self.requests = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._server.close()
        self.drop_all()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def drop_all(self) -> None:
        """Reset every connection, idle ones too."""
        for writer in list(self._writers):
            _reset(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            await asyncio.sleep(self.delay)
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.upstream)
            armed: list[Fault] = []
            self._writers.add(up_writer)
            try:
                await asyncio.gather(
                    self._up(reader, up_writer, writer, armed),
                    self._down(up_reader, writer, armed),
                )
            finally:
                self._writers.discard(up_writer)
                up_writer.close()
        except (OSError, asyncio.CancelledError):
            pass  # the proxy ends; a cancelled handler would be logged as a failure
        finally:
            self._writers.discard(writer)
            self._tasks.discard(task)
            writer.close()

    async def _up(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        client: asyncio.StreamWriter,
        armed: list[Fault],
    ) -> None:
        try:
            while data := await reader.read(65_536):
                self.requests += 1
                if self.silent:
                    continue
                if self.request_cut is not None and self.match in data and self.times > 0:
                    self.times -= 1
                    writer.write(data[: self.request_cut])
                    await writer.drain()
                    client.close()
                    break
                if self.fault is not deliver and self.match in data and self.times > 0:
                    self.times -= 1
                    armed.append(self.fault)
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass  # the client's end was reset
        finally:
            writer.close()

    async def _down(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, armed: list[Fault]
    ) -> None:
        async for data in self._late(reader):
            fault = armed.pop(0) if armed else deliver
            reply = fault(data)
            if reply is None:
                _reset(writer)
                return
            await self._deliver(writer, reply)
            if isinstance(reply, Broken):
                break
        writer.close()

    async def _late(self, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
        """What is read, each part as late as it would be without the others."""
        loop = asyncio.get_running_loop()
        parts: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def read() -> None:
            data = b"..."
            while data:
                data = b""
                with contextlib.suppress(OSError):
                    data = await reader.read(65_536)
                parts.put_nowait((loop.time() + self.delay, data))

        reading = loop.create_task(read())
        try:
            while True:
                due, data = await parts.get()
                if due > loop.time():
                    await asyncio.sleep(due - loop.time())
                if not data:
                    return
                yield data
        finally:
            reading.cancel()

    async def _deliver(self, writer: asyncio.StreamWriter, reply: bytes) -> None:
        pieces = [reply[n : n + 1] for n in range(len(reply))] if self.trickle else [reply]
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            if self.trickle:
                await asyncio.sleep(self.trickle)


def _reset(writer: asyncio.StreamWriter) -> None:
    """RST instead of FIN."""
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError, AttributeError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
