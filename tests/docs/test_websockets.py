"""docs/howto/websockets.md: its app limits as the page says."""

import json
import re
from typing import Any

import pytest
from hypercorn.config import Config
from quart.testing.connections import WebsocketResponseError

from quart_ratelimit.testing import assert_limited, in_memory

from ..support.quart_client import WebsocketDisconnectError
from ..support.serving import ROOT

TEXT = (ROOT / "docs" / "howto" / "websockets.md").read_text("utf-8")
SOURCE = "\n".join(re.findall(r"```python\n(.*?)```", TEXT, re.S))


class Page:
    """The page's app, and its websockets."""

    def __init__(self) -> None:
        names: dict[str, Any] = {"__name__": "documented"}
        exec(compile(SOURCE, "docs/howto/websockets.md", "exec"), names)
        self.app, self.limiter = names["app"], names["limiter"]

    async def say(self, path: str, *messages: str) -> Any:
        """The last answer, or why there was none."""
        answer: Any = None
        async with self.app.test_client().websocket(path) as websocket:
            try:
                for message in messages:
                    await websocket.send(message)
                    answer = await websocket.receive()
                return answer if messages else await websocket.receive()
            except WebsocketResponseError as error:
                return error.response.status_code
            except WebsocketDisconnectError as error:
                return error.args[0]


@pytest.fixture
def page() -> Any:
    page = Page()
    with in_memory(page.limiter) as page.clock:  # type: ignore[attr-defined]
        yield page


async def test_handshakes(page: Any) -> None:
    assert [await page.say("/echo", "hi") for _ in range(11)] == ["hi"] * 10 + [429]


async def test_connections_at_a_time(page: Any) -> None:
    client = page.app.test_client()
    async with client.websocket("/echo"), client.websocket("/echo"):
        assert await page.say("/echo", "hi") == "hi"
        async with client.websocket("/echo") as third:
            await third.send("hi")
            await third.receive()
            assert await page.say("/echo", "hi") == 429


async def test_messages_of_a_connection(page: Any) -> None:
    (shown,) = re.findall(r"receives JSON: `(.*?)`", TEXT)
    assert json.loads(await page.say("/echo", *"abcdef")) == json.loads(shown)


async def test_messages_of_a_client(page: Any) -> None:
    async with page.app.test_client().websocket("/echo") as websocket:
        for _ in range(100):
            page.clock.forward(0.25)
            await websocket.send("hi")
            assert await websocket.receive() == "hi"
    assert await page.say("/echo", "hi") == 1008


async def test_bytes_of_a_client(page: Any) -> None:
    assert await page.say("/echo", "x" * 100_000) == "x" * 100_000
    assert await page.say("/echo", "x") == 1008


async def test_a_refusal_after_the_handshake(page: Any) -> None:
    assert await page.say("/news") == "all is well"
    told = [await page.say("/news") for _ in range(10)]
    assert told == ["all is well"] * 9 + [1008]


async def test_a_client_that_is_known_late(page: Any) -> None:
    async def said(user: str) -> Any:
        async with page.app.test_client().websocket("/talk") as websocket:
            await websocket.send(user)
            try:
                for _ in range(21):
                    await websocket.send("hi")
                    await websocket.receive()
            except WebsocketDisconnectError as error:
                return error.args[0]

    assert [await said("ann"), await said("bob")] == [1008, 1008]


async def test_an_answer_of_ones_own(page: Any) -> None:
    assert await page.say("/irc", *"abc") == "/notice No more than 2 per 1 second, please."


async def test_streams(page: Any) -> None:
    client = page.app.test_client()

    async def opened() -> Any:
        async with client.request("/events") as connection:
            await connection.send_complete()
            await connection.receive()
            await connection.disconnect()
        return await connection.as_response()

    refused = await assert_limited(opened, "10/minute")
    assert refused.headers["Retry-After"] == "60"


def test_the_servers_bound_is_what_the_page_says() -> None:
    assert f"{Config().websocket_max_message_size >> 20} MB" in TEXT
