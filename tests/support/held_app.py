"""An app whose views hold places, for real servers and clients that reset what they began."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from quart import Quart, Response

from quart_ratelimit import Limiter

app = Quart(__name__)
limiter = Limiter(app=app)


@app.after_request
async def slow(response: Response) -> Response:
    await asyncio.sleep(0.001)
    return response


@app.get("/stream")
@limiter.in_flight(20)
async def stream() -> Any:
    async def body() -> AsyncIterator[bytes]:
        async with limiter.in_flight(20, "body"):
            yield b"a"
            await asyncio.sleep(0.001)
            yield b"b"

    return body(), 200
