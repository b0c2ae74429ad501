"""Messages of websockets: what a view is given, and what the client of a refused one is told."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from quart import Quart, websocket

from quart_ratelimit import (
    ConfigurationError,
    Decision,
    InvalidLimit,
    Limiter,
    RateLimitExceeded,
    RequestLimit,
    message_bytes,
)
from quart_ratelimit.stores import MemoryStore
from quart_ratelimit.util import get_remote_address

from ..support.quart_client import WebsocketDisconnectError


class Clock:
    def __init__(self) -> None:
        self.now_ms = 1_800_000_000_123

    def __call__(self) -> int:
        return self.now_ms


class Room:
    """An app whose websocket answers each message with it, and its clients by name."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.app = Quart(__name__)
        options = {"store": MemoryStore(now_ms=self.clock), **options}
        options.setdefault("key_func", get_remote_address)  # clients have names here, no addresses
        self.limiter = Limiter(app=self.app, **options)

    def echo(self, *decorators: Any) -> None:
        async def echo() -> None:
            while True:
                await websocket.send(await websocket.receive())

        view: Callable[..., Any] = echo
        for decorator in reversed(decorators):
            view = decorator(view)
        self.app.websocket("/ws")(view)

    @asynccontextmanager
    async def client(self, who: str = "ann") -> AsyncIterator[Any]:
        connection = self.app.test_client().websocket("/ws", scope_base={"client": (who, 1)})
        async with connection:
            yield connection


async def said(client: Any, *messages: str | bytes) -> list[Any]:
    """What is answered to these messages, up to a close."""
    for message in messages:
        await client.send(message)
    answers = []
    for _ in messages:
        answer = asyncio.ensure_future(client.receive())
        for _turn in range(200):  # all is in memory: what has not come by then will not come
            await asyncio.sleep(0)
        if not answer.done():
            answer.cancel()
            break
        if answer.exception() is not None:
            closed = answer.exception()
            assert isinstance(closed, WebsocketDisconnectError)
            return [*answers, closed.args[0]]
        answers.append(answer.result())
    return answers


async def test_a_breach_closes_by_policy() -> None:
    room = Room()
    room.echo(room.limiter.messages("2/minute"))
    async with room.client() as client:
        assert await said(client, "a", "b", "c", "d") == ["a", "b", 1008]


async def test_a_breach_drops_the_message_if_that_was_chosen() -> None:
    room = Room()
    room.echo(room.limiter.messages("2/minute", on_breach="drop"))
    async with room.client() as client:
        assert await said(client, "a", "b", "c") == ["a", "b"]
        room.clock.now_ms += 60_000
        assert await said(client, "d") == ["d"]


async def test_a_breach_is_answered_by_an_error_if_that_was_chosen() -> None:
    room = Room()
    room.echo(room.limiter.messages("1/minute", on_breach="error"))
    async with room.client() as client:
        _, error = await said(client, "a", "b")
        assert json.loads(error) == {
            "status": 429,
            "title": "Too Many Requests",
            "detail": "1 per 1 minute",
            "retry_after": 60,
        }
        room.clock.now_ms += 60_000
        assert await said(client, "c") == ["c"]


async def test_a_breach_is_raised_where_the_message_is_received_if_that_was_chosen() -> None:
    room = Room()

    @room.app.websocket("/ws")
    @room.limiter.messages("1/minute", on_breach="raise")
    async def view() -> None:
        await websocket.send(await websocket.receive())
        try:
            await websocket.receive()
        except RateLimitExceeded as error:
            await websocket.send(f"slow down for {error.retry_after} s")

    async with room.client() as client:
        assert await said(client, "a", "b") == ["a", "slow down for 60 s"]


async def test_a_breach_that_is_raised_and_not_caught_closes_by_policy() -> None:
    room = Room()
    room.echo(room.limiter.messages("1/minute", on_breach="raise"))
    async with room.client() as client:
        assert await said(client, "a", "b") == ["a", 1008]


async def test_a_function_says_what_a_breach_is_answered_with() -> None:
    room = Room()

    async def tell(limit: RequestLimit) -> str | None:
        return f"no more than {limit.limit}"

    room.echo(room.limiter.messages("1/minute", on_breach=tell))
    async with room.client() as client:
        assert await said(client, "a", "b") == ["a", "no more than 1 per 1 minute"]


async def test_clients_do_not_share_and_their_connections_do() -> None:
    room = Room()
    room.echo(room.limiter.messages("2/minute", on_breach="drop"))
    async with room.client() as one, room.client() as other, room.client("bob") as bob:
        assert await said(one, "a") == ["a"]
        assert await said(other, "b", "c") == ["b"]
        assert await said(bob, "d", "e") == ["d", "e"]


async def test_connections_count_by_themselves_if_that_was_chosen() -> None:
    room = Room()
    room.echo(room.limiter.messages("2/minute", per_connection=True, on_breach="drop"))
    async with room.client() as one, room.client() as other:
        assert await said(one, "a", "b", "c") == ["a", "b"]
        assert await said(other, "d", "e", "f") == ["d", "e"]


class Broken:
    """A store that nobody may ask."""

    async def start(self) -> None: ...

    async def aclose(self) -> None: ...

    async def hit(self, hits: Any) -> list[Decision]:
        raise AssertionError("asked")

    reset = clear = hit


async def test_connections_that_count_by_themselves_ask_no_store() -> None:
    room = Room(store=Broken())
    room.echo(room.limiter.messages("2/minute", per_connection=True, on_breach="drop"))
    async with room.client() as client:
        assert await said(client, "a", "b", "c") == ["a", "b"]


async def test_bytes_are_counted_beside_messages() -> None:
    room = Room()
    room.echo(
        room.limiter.messages("3/minute", on_breach="drop"),
        room.limiter.messages("3/minute", cost=message_bytes, on_breach="drop"),
    )
    async with room.client() as client:
        assert await said(client, b"ab", b"cd", "é") == [b"ab"]
        assert await said(client, b"e") == []  # the fourth message


async def test_bytes_in_a_scope_are_no_messages_in_a_scope_called_alike() -> None:
    room = Room()
    room.echo(
        room.limiter.messages("2/minute", scope="s:message_bytes", on_breach="drop"),
        room.limiter.messages("2/minute", scope="s", cost=message_bytes, on_breach="drop"),
    )
    async with room.client() as client:
        assert await said(client, b"a", b"b") == [b"a", b"b"]


@pytest.mark.parametrize(
    ("message", "size"),
    [("abc", 3), ("déjà", 6), (b"\xff\x00", 2), ("", 0), (None, 0), ("\ud800", 3)],
)
def test_a_text_is_as_long_as_its_utf8(message: Any, size: int) -> None:
    """Quart gives None for an empty binary message."""
    assert message_bytes(message) == size


async def test_a_message_that_costs_nothing_always_passes() -> None:
    room = Room()
    room.echo(room.limiter.messages("1/minute", cost=lambda data: data != "ping"))
    async with room.client() as client:
        assert await said(client, "a", "ping", "ping") == ["a", "ping", "ping"]


async def test_what_the_first_limit_refuses_is_not_charged_to_the_second() -> None:
    room = Room()
    room.echo(
        room.limiter.messages("1/minute", per_connection=True, on_breach="drop"),
        room.limiter.messages("2/minute", on_breach="drop"),
    )
    async with room.client() as one:
        assert await said(one, "a", "b", "c") == ["a"]
    async with room.client() as other:
        assert await said(other, "d") == ["d"]


async def test_all_limits_of_one_text_are_charged_or_none() -> None:
    room = Room()
    room.echo(room.limiter.messages("1/second; 2/minute", on_breach="drop"))
    async with room.client() as client:
        assert await said(client, "a", "b") == ["a"]
        room.clock.now_ms += 1000
        assert await said(client, "c", "d") == ["c"]
        room.clock.now_ms += 1000
        assert await said(client, "e") == []


async def test_a_block_limits_what_is_received_in_it() -> None:
    room = Room()

    @room.app.websocket("/ws")
    async def view() -> None:
        user = await websocket.receive()
        async with room.limiter.messages("1/minute", user, on_breach="drop"):
            await websocket.send(await websocket.receive())
            if user == "eve":
                await websocket.receive()
        await websocket.send(await websocket.receive())

    async with room.client() as client:
        assert await said(client, "dan", "a", "b") == ["a", "b", 1000]
    async with room.client() as client:
        assert await said(client, "eve", "a", "b", "c") == ["a"]


async def test_blocks_may_be_left_in_any_order() -> None:
    room = Room()

    async def limited(key: str) -> AsyncIterator[None]:
        async with room.limiter.messages("1/minute", key, on_breach="drop"):
            yield

    @room.app.websocket("/ws")
    async def view() -> None:
        one, other = limited("one"), limited("other")
        await anext(one)
        await anext(other)
        await websocket.send(await websocket.receive())
        await one.aclose()  # type: ignore[attr-defined]
        room.clock.now_ms += 60_000
        await websocket.send(await websocket.receive())  # the other still applies
        await asyncio.create_task(other.aclose())  # type: ignore[attr-defined]
        for _ in range(3):
            await websocket.send(await websocket.receive())

    async with room.client() as client:
        assert await said(client, "a", "b", "c", "d", "e") == ["a", "b", "c", "d", "e"]


async def test_json_is_counted_too() -> None:
    room = Room()

    @room.app.websocket("/ws")
    @room.limiter.messages("1/minute")
    async def view() -> None:
        while True:
            await websocket.send_json(await websocket.receive_json())

    async with room.client() as client:
        assert await said(client, '{"a": 1}', "{}") == ['{"a": 1}', 1008]


class SlowStore(MemoryStore):
    """Answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = asyncio.Event()

    async def hit(self, hits: Any) -> list[Decision]:
        await self.answer.wait()
        return await super().hit(hits)


async def test_a_reader_that_gives_up_loses_no_message() -> None:
    room = Room(store=(store := SlowStore()))

    @room.app.websocket("/ws")
    @room.limiter.messages("9/minute")
    async def view() -> None:
        while True:
            try:
                async with asyncio.timeout(0.01):
                    data = await websocket.receive()
            except TimeoutError:
                store.answer.set()
            else:
                await websocket.send(data)

    async with room.client() as client:
        for message in ("a", "b"):
            await client.send(message)
            assert await client.receive() == message


@pytest.mark.parametrize("group", ["gather", "tasks"])
async def test_a_close_ends_the_view_as_if_the_client_had_gone(group: str) -> None:
    room = Room()
    ended: list[str] = []

    async def forever(name: str) -> None:
        try:
            while True:
                await websocket.receive()
        finally:
            ended.append(name)

    async def idle() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("idle")

    @room.app.websocket("/ws")
    @room.limiter.messages("1/minute")
    async def view() -> None:
        try:
            if group == "gather":
                await asyncio.gather(idle(), forever("reader"))
            else:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(idle())
                    tasks.create_task(forever("reader"))
        finally:
            await asyncio.sleep(0)  # not cancelled twice
            ended.append("view")

    async with room.client() as client:
        assert await said(client, "a", "b", "c", "d") == [1008]
    assert sorted(ended) == ["idle", "reader", "view"]


async def test_a_store_that_cannot_decide_closes_for_a_while() -> None:
    class Away(Broken):
        async def hit(self, hits: Any) -> list[Decision]:
            return [Decision(False, 0, 0, 1000, by="closed") for _ in hits]

    room = Room(store=Away())
    room.echo(room.limiter.messages("1/minute"))
    async with room.client() as client:
        assert await said(client, "a") == [1013]


async def test_a_long_reason_is_cut_where_a_frame_ends() -> None:
    from quart_ratelimit.direct.websocket_connection import LONGEST_REASON, current_connection

    reasons: list[str] = []
    room = Room()

    @room.app.websocket("/ws")
    async def view() -> None:
        connection, close = current_connection(), websocket.close

        async def told(code: int, reason: str) -> None:
            reasons.append(reason)
            await close(code, reason)

        vars(connection.websocket)["close"] = told
        await connection.end(1008, "é" * 100)

    async with room.client() as client:
        await client.send("a")
    assert reasons == ["é" * (LONGEST_REASON // 2)]


async def test_who_is_not_limited_sends_what_they_like() -> None:
    room = Room()
    room.echo(room.limiter.messages("1/minute"))
    room.limiter.request_filter(lambda: websocket.remote_addr == "bob")
    async with room.client("bob") as bob:
        assert await said(bob, "a", "b") == ["a", "b"]
    room.limiter.enabled = False
    async with room.client() as ann:
        assert await said(ann, "a", "b") == ["a", "b"]
        room.limiter.enabled = True
        assert await said(ann, "c", "d") == ["c", 1008]


async def test_a_limiter_switched_off_from_the_start_limits_nothing() -> None:
    app = Quart(__name__)
    limiter = Limiter(app=app, enabled=False)

    @app.websocket("/ws")
    @limiter.messages("1/minute")
    async def view() -> None:
        while True:
            await websocket.send(await websocket.receive())

    async with app.test_client().websocket("/ws") as client:
        assert await said(client, "a", "b") == ["a", "b"]


def test_mistakes_are_named_at_once() -> None:
    limiter = Limiter()
    with pytest.raises(InvalidLimit, match="'much'"):
        limiter.messages("much")
    with pytest.raises(ConfigurationError, match="on_breach='explode' must be one of 'close'"):
        limiter.messages("1/second", on_breach="explode")
    with pytest.raises(ConfigurationError, match="cost=-1"):
        limiter.messages("1/second", cost=-1)


#: Each would limit nothing, or close every connection at its first message or breach.
MISTAKES: dict[str, dict[str, Any]] = {
    "a cost of no message": {"cost": lambda: 1},
    "a cost of two": {"cost": lambda _, __: 1},
    "no cost": {"cost": 0},
    "no cost, by a switch": {"cost": False},
    "a breach of nothing": {"on_breach": lambda: "slow down"},
    "a breach of two": {"on_breach": lambda _, __: "slow down"},
    "a switch that is a text": {"per_connection": "false"},
    "a switch that is a function": {"per_connection": lambda: False},
}


@pytest.mark.parametrize("name", MISTAKES)
def test_every_argument_is_checked_when_it_is_given(name: str) -> None:
    (argument,) = MISTAKES[name]
    with pytest.raises(ConfigurationError, match=argument):
        Limiter().messages("1/second", **MISTAKES[name])


async def test_a_view_that_is_no_websocket_is_named() -> None:
    room = Room()

    @room.app.get("/")
    @room.limiter.messages("1/second")
    async def view() -> str:
        return "never"

    room.app.testing = True  # so that the error is shown
    answer = await room.app.test_client().get("/")
    assert "write them under @app.websocket" in await answer.get_data(as_text=True)
