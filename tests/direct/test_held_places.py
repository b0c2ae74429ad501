"""However a request ends, nothing that it took is held afterwards."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from quart import Quart, Response
from quart.typing import ResponseReturnValue

from quart_ratelimit import Limiter

SCOPE = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.3"},
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "path": "/stream",
    "raw_path": b"/stream",
    "query_string": b"",
    "root_path": "",
    "headers": [(b"host", b"h")],
    "client": ("203.0.113.1", 1),
    "server": ("h", 80),
    "extensions": {},
}


class Call:
    """One request by hand: its client may leave, and its server may fail to send."""

    def __init__(self, app: Quart, *, fails_at: int | None = None) -> None:
        self.gone = asyncio.Event()
        self.sent: list[Any] = []
        self._fails_at = fails_at
        self._asked = False
        self.task = asyncio.create_task(app(dict(SCOPE), self._receive, self._send))  # type: ignore[arg-type]

    async def _receive(self) -> Any:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if len(self.sent) == self._fails_at:
            raise ConnectionResetError
        self.sent.append(message)


def streaming_app(app: Quart) -> Limiter:
    limiter = Limiter(app=app)

    @app.get("/stream")
    @limiter.in_flight(1, scope="stream")
    async def stream() -> ResponseReturnValue:
        async def body() -> AsyncIterator[bytes]:
            yield b"a"
            yield b"b"

        return Response(body())

    return limiter


async def places_held(limiter: Limiter) -> int:
    for _ in range(20):
        await asyncio.sleep(0)
    return len(limiter.store)  # type: ignore[arg-type]


@pytest.mark.parametrize("steps", range(40))
async def test_a_client_that_leaves_at_any_step_holds_no_place(steps: int) -> None:
    app = Quart(__name__)
    limiter = streaming_app(app)

    @app.after_request
    async def slow(response: Response) -> Response:
        for _ in range(10):
            await asyncio.sleep(0)
        return response

    call = Call(app)
    for _ in range(steps):
        await asyncio.sleep(0)
    call.gone.set()
    await asyncio.gather(call.task, return_exceptions=True)
    assert await places_held(limiter) == 0


@pytest.mark.parametrize("steps", range(40))
async def test_a_server_that_cancels_the_call_at_any_step_leaves_no_place(steps: int) -> None:
    app = Quart(__name__)
    limiter = streaming_app(app)
    call = Call(app)
    for _ in range(steps):
        await asyncio.sleep(0)
    call.task.cancel()
    await asyncio.gather(call.task, return_exceptions=True)
    assert await places_held(limiter) == 0


@pytest.mark.parametrize("fails_at", range(4))
async def test_a_send_that_fails_leaves_no_place(fails_at: int) -> None:
    app = Quart(__name__)
    limiter = streaming_app(app)
    call = Call(app, fails_at=fails_at)
    await asyncio.gather(call.task, return_exceptions=True)
    assert await places_held(limiter) == 0


async def raises(_: Response) -> Response:
    raise ValueError("broken")


async def replaces(_: Response) -> Response:
    return Response("another body")


async def empties(response: Response) -> Response:
    response.set_data("")
    return response


@pytest.mark.parametrize("function", [raises, replaces, empties])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
async def test_an_after_request_that_spoils_the_stream_leaves_no_place(
    function: Callable[[Response], Any],
) -> None:
    app = Quart(__name__)
    limiter = streaming_app(app)
    app.after_request(function)
    call = Call(app)
    await call.task
    assert call.sent
    assert await places_held(limiter) == 0
