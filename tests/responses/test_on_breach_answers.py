"""``on_breach`` and handlers of 429 may answer whatever a view may."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import werkzeug
from quart import Quart, Response, jsonify, make_response, websocket
from quart.testing.connections import WebsocketResponseError
from werkzeug.exceptions import ServiceUnavailable

from quart_ratelimit import Limiter, MetaLimit, rate_limit

from ..support.apps import Make, clock, make, view

__all__ = ["clock", "make"]  # fixtures


def items() -> Iterator[bytes]:
    yield b"a"
    yield b"b"


async def late_items() -> AsyncIterator[bytes]:
    yield b"a"
    yield b"b"


ANSWERS = {
    "text": (lambda: "slow", 429, "slow"),
    "bytes": (lambda: b"slow", 429, "slow"),
    "dict": (lambda: {"slow": True}, 429, '{"slow":true}'),
    "list": (lambda: ["slow"], 429, '["slow"]'),
    "with a status": (lambda: ("slow", 503), 503, "slow"),
    "with a status of 200": (lambda: ("slow", 200), 200, "slow"),
    "with fields": (lambda: ("slow", {"X-Slow": "1"}), 429, "slow"),
    "with both": (lambda: ({"slow": 1}, 418, {"X-Slow": "1"}), 418, '{"slow":1}'),
    "a response": (lambda: Response("slow", 418), 418, "slow"),
    "a response of werkzeug": (lambda: werkzeug.Response("slow", 418), 418, "slow"),
    "a made response": (lambda: make_response("slow", 429), 429, "slow"),
    "json": (lambda: (jsonify(slow=1), 429), 429, '{"slow":1}'),
    "an HTTP error": (ServiceUnavailable, 503, None),
    "a generator": (items, 429, "ab"),
    "an async generator": (late_items, 429, "ab"),
    "nothing": (lambda: None, 429, None),
    "no answer of a view": (lambda: 7, 429, None),
}


async def second(app: Quart) -> tuple[int, str, Any]:
    client = app.test_client()
    await client.get("/")
    answer = await client.get("/")
    return answer.status_code, await answer.get_data(as_text=True), answer.headers


@pytest.mark.parametrize("later", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("where", ["limiter", "limit", "meta", "snippet"])
@pytest.mark.parametrize("name", ANSWERS)
async def test_a_callback_answers_as_a_view_does(
    make: Make, name: str, where: str, later: bool
) -> None:
    answer, status, body = ANSWERS[name]

    def now(_: Any) -> Any:
        return answer()  # type: ignore[operator]

    async def then(_: Any) -> Any:
        await asyncio.sleep(0)
        found = now(_)
        return await found if name == "a made response" else found

    callback = then if later else now
    app, limiter = make(
        on_breach=callback if where in ("limiter", "snippet") else None,
        on_meta_breach=callback if where == "meta" else None,
    )
    if where == "meta":
        view(app, "/", limiter.limit("1/day", meta_limits=[MetaLimit("1/day")]))
        await app.test_client().get("/")
    elif where == "snippet":
        view(app, "/", rate_limit("1/day"))
    else:
        view(app, "/", limiter.limit("1/day", on_breach=callback if where == "limit" else None))
    seen, text, headers = await second(app)
    assert seen == status
    if body is not None:
        assert text.strip() == body
    else:
        assert text
    assert ("X-Slow" in headers) == (name in ("with fields", "with both"))
    if status == 429:
        assert int(headers["Retry-After"]) > 0
        assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("later", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("name", ["dict", "with both", "a response", "an async generator"])
async def test_a_handler_answers_as_a_view_does(make: Make, name: str, later: bool) -> None:
    answer, _, body = ANSWERS[name]

    def now(_: Exception) -> Any:
        return answer()  # type: ignore[operator]

    async def then(error: Exception) -> Any:
        return now(error)

    app, limiter = make()
    app.register_error_handler(429, then if later else now)
    view(app, "/", limiter.limit("1/day"))
    _, text, _ = await second(app)
    assert text.strip() == body


async def test_a_callback_answers_a_refused_handshake(make: Make) -> None:
    app: Quart
    limiter: Limiter
    app, limiter = make()

    @app.websocket("/")
    @limiter.limit("1/day", on_breach=lambda _: {"slow": True})
    async def talk() -> None:
        await websocket.accept()
        await websocket.send("hello")

    client = app.test_client()
    async with client.websocket("/") as connection:
        assert await connection.receive() == "hello"
    with pytest.raises(WebsocketResponseError) as raised:
        async with client.websocket("/") as connection:
            await connection.receive()
    assert raised.value.response.status_code == 429
    assert int(raised.value.response.headers["Retry-After"]) > 0
