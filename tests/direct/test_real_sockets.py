"""examples/chat.py and examples/sse.py under Hypercorn, on both stores, by real clients."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from ..support.serving import hypercorn

WAIT = 10  # seconds until a test gives up


@pytest.fixture(scope="module", params=["memory", "redis"])
def store_uri(request: pytest.FixtureRequest) -> str:
    if request.param == "memory":
        return ""
    server = request.getfixturevalue("redis_server")
    server.ask("FLUSHALL")
    return str(server.url)


@pytest.fixture(scope="module")
def chat(store_uri: str) -> Iterator[int]:
    """One server for all tests: each has users and an address of its own."""
    env, log = {"REDIS_URL": store_uri}, list[str]()
    options = ("--graceful-timeout", "0")
    with hypercorn(*options, app="examples.chat:app", env=env, log=log) as port:
        yield port
    assert "Exception on websocket" not in "\n".join(log)  # Quart's words


@asynccontextmanager
async def client(port: int, user: str, peer: str) -> AsyncIterator[ClientConnection]:
    url = f"ws://127.0.0.1:{port}/chat?user={user}"
    async with asyncio.timeout(WAIT):
        async with connect(url, proxy=None, local_addr=(peer, 0)) as websocket:
            yield websocket


async def refused(port: int, user: str, peer: str) -> Any:
    """The HTTP answer to a handshake."""
    with pytest.raises(InvalidStatus) as error:
        async with client(port, user, peer):
            pytest.fail("accepted")
    return error.value.response


async def test_a_fast_connection_is_told_to_slow_down_and_a_fast_user_is_sent_away(
    chat: int,
) -> None:
    async with client(chat, "ann", "127.0.1.1") as ann, client(chat, "bob", "127.0.1.1") as bob:
        for number in range(6):
            await ann.send(str(number))
        # One task sends errors, another what is said: in any order.
        answers = sorted([str(await ann.recv()) for _ in range(6)])
        assert answers[:5] == [f"ann: {number}" for number in range(5)]
        error = json.loads(answers[5])
        assert error["status"] == 429
        assert error["detail"] == "5 per 10 second"
        assert 0 < error["retry_after"] <= 10
        await bob.send("what a noise")
        assert await ann.recv() == "bob: what a noise"

        await ann.send("x" * 10_001)
        await ann.recv()  # by connection it is refused still, whatever its size
    async with client(chat, "ann", "127.0.1.1") as ann:
        await ann.send("x" * 10_001)
        with pytest.raises(ConnectionClosedError) as closed:
            await ann.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (
            1008,
            "Too Many Requests: 10000 per 1 minute",
        )


async def test_a_user_is_counted_over_all_connections(chat: int) -> None:
    for _ in range(4):
        async with client(chat, "cai", "127.0.1.2") as cai:
            for number in range(5):
                await cai.send(str(number))
                await cai.recv()
    async with client(chat, "cai", "127.0.1.2") as cai:
        await cai.send("the 21st")
        with pytest.raises(ConnectionClosedError, match="1008"):
            await cai.recv()


async def test_a_fourth_connection_is_refused_at_its_handshake_until_one_ends(chat: int) -> None:
    async with client(chat, "dan", "127.0.1.3"), client(chat, "dan", "127.0.1.3"):
        async with client(chat, "dan", "127.0.1.3") as third:
            response = await refused(chat, "dan", "127.0.1.3")
            assert response.status_code == 429
            assert 0 < int(response.headers["Retry-After"]) <= 60
            async with client(chat, "eve", "127.0.1.3"):
                pass
            await third.close()
            await third.wait_closed()
        async with asyncio.timeout(WAIT):
            while True:  # its place is free when the server has seen it go
                try:
                    async with client(chat, "dan", "127.0.1.3"):
                        break
                except InvalidStatus:
                    await asyncio.sleep(0.2)


async def test_clients_that_send_before_they_are_accepted_hold_no_place_afterwards(
    chat: int,
) -> None:
    """Hypercorn answers 400 to such a client, and does not tell the app that it has left."""
    frame = b"\x81\x82\0\0\0\0hi"
    fields = (
        "Host: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    )
    handshake = f"GET /chat?user=gus HTTP/1.1\r\n{fields}\r\n\r\n".encode()
    for _ in range(3):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", chat, local_addr=("127.0.1.5", 0)
        )
        writer.write(handshake + frame)
        assert b" 400 " in await reader.readline()
        writer.close()
        await writer.wait_closed()
    await asyncio.sleep(0.5)  # until the server has seen them go
    async with client(chat, "gus", "127.0.1.5"):
        pass


async def test_handshakes_beyond_the_limit_get_429_with_all_that_http_can_tell(chat: int) -> None:
    for _ in range(20):
        assert (await refused(chat, "", "127.0.1.4")).status_code == 401
    response = await refused(chat, "fay", "127.0.1.4")
    assert response.status_code == 429
    assert 0 < int(response.headers["Retry-After"]) <= 60
    assert b"20 per 1 minute" in response.body


async def first_events(port: int, count: int) -> tuple[int, dict[str, str], list[str], Any]:
    """The status, the fields and so many events of a stream that goes on."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /events HTTP/1.1\r\nHost: test\r\n\r\n")
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
    fields = dict(line.split(": ", 1) for line in head[1:] if line)
    events = []
    while len(events) < count:
        line = (await reader.readline()).decode()
        if line.startswith("data: "):
            events.append(line.strip())
    return int(head[0].split()[1]), fields, events, writer


async def test_streams_pass_event_by_event_and_hold_their_places(store_uri: str) -> None:
    env = {"REDIS_URL": store_uri, "TICK": "0.01"}
    with hypercorn("--graceful-timeout", "0", app="examples.sse:app", env=env) as port:
        async with asyncio.timeout(WAIT):
            status, fields, events, one = await first_events(port, 3)
            assert (status, fields["content-type"]) == (200, "text/event-stream; charset=utf-8")
            assert fields["x-ratelimit-remaining"] == "9"
            assert events == ["data: 0", "data: 1", "data: 2"]
            *_, other = await first_events(port, 1)
            status, fields, _, third = await first_events(port, 0)
            assert status == 429
            assert 0 < int(fields["retry-after"]) <= 61
            one.close()
            while status == 429:  # until the server has seen it go
                await asyncio.sleep(0.2)
                third.close()
                status, fields, _, third = await first_events(port, 0)
            assert status == 200
            for writer in (other, third):  # a stream that is open would keep the server
                writer.close()
                await writer.wait_closed()
