"""Odd HTTP on real sockets: every request that reaches its view was counted, and none hangs."""

import asyncio
import socket
from collections.abc import Iterator
from http.client import HTTPConnection

import h2.config
import h2.connection
import pytest
from quart import Quart, jsonify, request

from quart_ratelimit import Limiter

from ..support.serving import hypercorn

#: Served by a process of its own, on one worker.
app = Quart(__name__)
limiter = Limiter(app=app, storage_uri="memory://", doctor=False)
AMOUNT = 10
ran: list[str] = []


@app.route("/", methods=["GET", "POST"])
@limiter.limit(f"{AMOUNT}/day")
async def index() -> str:
    ran.append(request.method)
    return f"{len(await request.get_data())} bytes"


@app.get("/slow")
@limiter.limit("1000/day")
async def slow() -> str:
    ran.append("slow")
    await asyncio.sleep(1.5)
    return "at last"


@app.get("/ran")
async def has_run() -> object:
    return jsonify(len(ran))


@pytest.fixture
def port() -> Iterator[int]:
    with hypercorn(env={}, app="tests.responses.test_http:app") as port:
        yield port


def views_run(port: int) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/ran")
    answer = int(connection.getresponse().read())
    connection.close()
    return answer


def exchange(port: int, sent: bytes, until: int | None = None) -> bytes:
    """All that comes back until the server closes, or so many answers have begun."""
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(sent)
        parts = b""
        while until is None or parts.count(b"HTTP/1.") < until:
            part = sock.recv(65_536)
            if not part:
                break
            parts += part
    return parts


def statuses(answers: bytes) -> list[int]:
    return [int(part[2:5]) for part in answers.split(b"HTTP/1.")[1:]]


@pytest.mark.parametrize("keep", [b"", b"Connection: keep-alive\r\n"], ids=["", "keep-alive"])
def test_http_1_0_is_counted_and_refused(port: int, keep: bytes) -> None:
    told = [exchange(port, b"GET / HTTP/1.0\r\n" + keep + b"\r\n", 1) for _ in range(AMOUNT + 2)]
    assert [statuses(answer)[0] for answer in told] == [200] * AMOUNT + [429] * 2
    assert b"\r\nretry-after: " in told[-1].lower()
    assert views_run(port) == AMOUNT


def test_pipelined_requests_are_counted_each(port: int) -> None:
    one = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
    answers = exchange(port, one * (AMOUNT + 3), AMOUNT + 3)
    assert statuses(answers) == [200] * AMOUNT + [429] * 3
    assert views_run(port) == AMOUNT


def test_who_waits_to_be_invited_is_refused_without_its_body(port: int) -> None:
    """The server's own "100 Continue" may come before; the answer never waits for the body."""
    head = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n"
    for _ in range(AMOUNT):
        assert statuses(exchange(port, b"GET / HTTP/1.1\r\nHost: test\r\n\r\n", 1)) == [200]
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(head + b"\r\n")
        answers = b""
        while b"429" not in answers:
            part = sock.recv(65_536)
            assert part, answers
            answers += part
    assert views_run(port) == AMOUNT


def test_a_large_upload_that_is_refused_ends(port: int) -> None:
    for _ in range(AMOUNT):
        exchange(port, b"GET / HTTP/1.1\r\nHost: test\r\n\r\n", 1)
    size = 10_000_000
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n" % size)
        answers = sock.recv(65_536)
        while b"HTTP/1.1 100" in answers and b"429" not in answers:
            answers += sock.recv(65_536)
    assert b"429" in answers
    assert views_run(port) == AMOUNT


def test_streams_that_are_reset_after_their_headers_run_no_view_uncounted(port: int) -> None:
    """HTTP/2: a client that takes back each request at once, a hundred on one connection."""
    client = h2.connection.H2Connection(config=h2.config.H2Configuration(client_side=True))
    client.initiate_connection()
    head = [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "test")]
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        for _ in range(100):
            stream = client.get_next_available_stream_id()
            client.send_headers(stream, head, end_stream=True)
            client.reset_stream(stream)
        sock.sendall(client.data_to_send())
        sock.settimeout(0.5)
        try:
            while sock.recv(65_536):
                pass
        except TimeoutError:
            pass
    reached = views_run(port)
    assert reached <= AMOUNT
    # What was counted for requests that were taken back stays counted.
    rest = [statuses(exchange(port, b"GET / HTTP/1.0\r\n\r\n", 1))[0] for _ in range(AMOUNT + 1)]
    assert rest.count(200) + reached <= AMOUNT
    assert rest[-1] == 429


async def test_a_server_that_is_told_to_stop_answers_what_it_has_begun() -> None:  # T-25
    log: list[str] = []
    with hypercorn(env={}, app="tests.responses.test_http:app", log=log) as port:
        callers = [await asyncio.open_connection("127.0.0.1", port) for _ in range(50)]
        for _, writer in callers:
            writer.write(b"GET /slow HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        while views_run(port) < 50:  # noqa: ASYNC110  # another process' count
            await asyncio.sleep(0.02)
    # It was told to stop, and has ended.
    answers = [await reader.read() for reader, _ in callers]
    for _, writer in callers:
        writer.close()
        await writer.wait_closed()
    assert [statuses(answer) for answer in answers] == [[200]] * 50
    assert not [line for line in log if "Traceback" in line or "Warning" in line]
