"""A load generator for machines without ``wrk``: keep-alive GETs over raw sockets, one thread.

``python -m benchmarks.kit.load PORT SECONDS CONNECTIONS`` prints requests, seconds, and others than
2xx.
"""

from __future__ import annotations

import asyncio
import sys
import time

REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


class Client(asyncio.Protocol):
    """One connection that asks again as soon as it is answered."""

    def __init__(self, end: float) -> None:
        self._end = end
        self._buffer = b""
        self.done = asyncio.get_running_loop().create_future()
        self.count = 0
        self.others = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        self._buffer = b""
        self.count += 1
        self.others += head[9:10] != b"2"
        if time.perf_counter() < self._end:
            self._transport.write(REQUEST)
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(exc)


async def load(port: int, seconds: float, connections: int) -> str:
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    clients = []
    for _ in range(connections):
        _, client = await loop.create_connection(
            lambda: Client(started + seconds), "127.0.0.1", port
        )
        clients.append(client)
    await asyncio.gather(*[client.done for client in clients])
    elapsed = time.perf_counter() - started
    count, others = sum(c.count for c in clients), sum(c.others for c in clients)
    return f"{count} {elapsed} {others}"


def read(line: str) -> tuple[int, float, int]:
    """What this command printed."""
    count, elapsed, others = line.split()
    return int(count), float(elapsed), int(others)


if __name__ == "__main__":
    print(asyncio.run(load(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))))
