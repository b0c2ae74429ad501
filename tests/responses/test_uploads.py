"""Uploads that real servers refuse: their clients read the 429, and connections stay open."""

import asyncio
import http.client
import socket
import struct
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from ..support.http2 import Http2
from ..support.serving import hypercorn, serving

APP = "tests.support.upload_app:app"
#: The piece that a slow client sends at once, and the pause after it, in seconds.
PIECE, PAUSE = 64 * 1024, 0.003
MB = 1024 * 1024
SERVERS = {
    "hypercorn": ("hypercorn", "--graceful-timeout", "0", "-b", "127.0.0.1:{port}", APP),
    "uvicorn": ("uvicorn", "--port", "{port}", APP),
    "granian": ("granian", "--interface", "asgi", "--port", "{port}", APP),
}


@pytest.fixture(scope="module", params=SERVERS)
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """A server whose limit is spent."""
    pytest.importorskip(request.param)
    with serving(*SERVERS[request.param], env={}) as port:
        assert upload(port, 1) == 200
        yield port


@pytest.fixture(scope="module")
def hypercorn_port() -> Iterator[int]:
    with hypercorn("--graceful-timeout", "0", app=APP, env={}) as port:
        assert upload(port, 1) == 200
        yield port


def upload(port: int, size: int, *, chunked: bool = False) -> int:
    """The status that a slow client reads when it has sent all."""

    def pieces() -> Iterator[bytes]:
        for start in range(0, size, PIECE):
            yield b"x" * min(PIECE, size - start)
            time.sleep(PAUSE)

    fields = {} if chunked else {"Content-Length": str(size)}
    url = f"http://127.0.0.1:{port}/upload"
    request = urllib.request.Request(url, pieces(), fields, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [PIECE, 4 * PIECE, MB])
def test_a_client_that_reads_when_it_has_sent_all_reads_the_429(
    port: int, size: int, chunked: bool
) -> None:
    assert [upload(port, size, chunked=chunked) for _ in range(3)] == [429] * 3


def test_a_connection_serves_the_next_request_after_a_refused_upload(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.connect()
    first = connection.sock
    for _ in range(3):
        connection.request("POST", "/upload", b"x" * MB)
        answer = connection.getresponse()
        assert (answer.status, answer.read() != b"") == (429, True)
        assert connection.sock is first
    connection.close()


def test_a_client_that_reads_while_it_sends_finds_the_refusal_of_a_large_upload(
    port: int,
) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        client.sendall(b"POST /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\n")
        client.sendall(b"x" * PIECE)
        assert client.recv(100).startswith(b"HTTP/1.1 429 ")


def test_another_stream_of_the_connection_is_answered(hypercorn_port: int) -> None:
    connection = Http2(hypercorn_port)
    other = connection.request("GET", "/beside")
    refused = connection.request("POST", "/upload")
    connection.upload(refused, MB)
    assert (connection.wait_for(refused), connection.wait_for(other)) == (429, 200)
    connection.close()


def test_a_stream_that_is_reset_while_it_is_drained_ends_alone(hypercorn_port: int) -> None:
    connection = Http2(hypercorn_port)
    for _ in range(20):
        stream = connection.request("POST", "/upload")
        connection.upload(stream, PIECE - 1)
        connection.reset(stream)
    assert connection.wait_for(connection.request("GET", "/beside")) == 200
    connection.close()


async def test_a_crowd_that_never_ends_its_uploads_or_resets_them_stops_no_other_client(
    hypercorn_port: int,
) -> None:
    async def one(number: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", hypercorn_port)
        writer.write(
            b"POST /upload HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx"
        )
        if number % 2:
            await asyncio.sleep(0.2)
            raw: socket.socket = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.close()
            return b""
        head = await reader.readline()
        writer.close()
        return head

    crowd = [asyncio.create_task(one(number)) for number in range(200)]
    await asyncio.sleep(0.3)
    assert await asyncio.to_thread(upload, hypercorn_port, MB) == 429
    heads = await asyncio.gather(*crowd)
    assert [head[9:12] for head in heads] == [b"429", b""] * 100


def test_a_worker_that_is_stopped_while_it_drains_stops_in_time() -> None:
    with hypercorn("--graceful-timeout", "1", app=APP, env={}) as port:
        upload(port, 1)
        client = socket.create_connection(("127.0.0.1", port), 10)
        client.sendall(b"POST /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n")
        time.sleep(0.1)
        begun = time.monotonic()
    assert time.monotonic() - begun < 5
    client.close()
