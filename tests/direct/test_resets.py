"""Real Hypercorn, and clients that reset what they began: no place stays taken."""

import asyncio
import random
import socket
import struct
import urllib.request
from collections.abc import Iterator

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes

from ..support.serving import hypercorn

RESETS = 120  # six times the places


@pytest.fixture
def port() -> Iterator[int]:
    with hypercorn(env={}, app="tests.support.held_app:app") as port:
        yield port


async def answers(port: int, path: str = "/stream") -> int:
    url = f"http://127.0.0.1:{port}{path}"
    return await asyncio.to_thread(lambda: urllib.request.urlopen(url).status)  # type: ignore[no-any-return]


async def test_connections_that_are_reset_hold_no_place(port: int) -> None:
    chance = random.Random(2)
    for _ in range(RESETS):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        held: socket.socket = writer.get_extra_info("socket")
        held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.write(b"GET /stream HTTP/1.1\r\nHost: h\r\n\r\n")
        await asyncio.sleep(chance.uniform(0.0002, 0.004))
        writer.close()
    assert await answers(port) == 200


async def test_http2_streams_that_are_reset_hold_no_place(port: int) -> None:
    chance = random.Random(2)
    client = H2Connection(H2Configuration(client_side=True))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def acknowledge() -> None:
        while data := await reader.read(65536):
            client.receive_data(data)
            writer.write(client.data_to_send())

    client.initiate_connection()
    reading = asyncio.create_task(acknowledge())
    head = [(":method", "GET"), (":path", "/stream"), (":scheme", "http"), (":authority", "h")]
    for _ in range(RESETS):
        stream = client.get_next_available_stream_id()
        client.send_headers(stream, head, end_stream=True)
        writer.write(client.data_to_send())
        await asyncio.sleep(chance.uniform(0.0002, 0.004))
        if stream in client.streams and not client.streams[stream].closed:
            client.reset_stream(stream, ErrorCodes.CANCEL)
            writer.write(client.data_to_send())
    assert await answers(port) == 200
    writer.close()
    reading.cancel()
