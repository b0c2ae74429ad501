"""examples/chat.py and examples/sse.py as their authors would test them: no server, no sleep."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from examples import chat, sse
from quart_ratelimit.testing import Clock, assert_limited, in_memory

from ..support.quart_client import WebsocketDisconnectError


@pytest.fixture
def clock() -> Iterator[Clock]:
    with in_memory(chat.limiter) as clock:
        yield clock


async def say(text: str, user: str = "ann") -> Any:
    """What a user is told who connects and says that; the code if the connection is closed."""
    async with chat.app.test_client().websocket(f"/chat?user={user}") as websocket:
        await websocket.send(text)
        try:
            return await websocket.receive()
        except WebsocketDisconnectError as closed:
            return closed.args[0]


async def test_a_connection_may_speak_again_when_it_was_told(clock: Clock) -> None:
    async with chat.app.test_client().websocket("/chat?user=ann") as websocket:
        told: list[Any] = []
        for number in range(6):
            await websocket.send(str(number))
            told.append(await websocket.receive())
        assert told[:5] == [f"ann: {number}" for number in range(5)]
        clock.forward(json.loads(told[5])["retry_after"])
        await websocket.send("sorry")
        assert await websocket.receive() == "ann: sorry"


async def test_a_user_who_said_too_much_may_come_back_after_a_minute(clock: Clock) -> None:
    assert [await say("x" * 10_000), await say("x"), await say("x", "bob")] == [
        f"ann: {'x' * 10_000}", 1008, "bob: x"
    ]  # fmt: skip
    clock.forward(60)
    assert await say("x") == "ann: x"


async def test_who_is_paused_may_say_anything(clock: Clock) -> None:
    with chat.limiter.paused():
        assert [len(await say("x" * 20_000)) for _ in range(30)] == [20_005] * 30


async def test_streams_are_opened_ten_times_a_minute() -> None:
    client: Any = sse.app.test_client()

    async def opened() -> Any:
        async with client.request("/events") as connection:
            await connection.send_complete()
            await connection.receive()
            await connection.disconnect()
        return await connection.as_response()

    with in_memory(sse.limiter) as clock:
        refused = await assert_limited(opened, "10/minute", clock)
        assert refused.headers["X-RateLimit-Remaining"] == "0"
