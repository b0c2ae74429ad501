"""Server-sent events: each client may hold two streams at a time, and open ten a minute.

Run: ``hypercorn examples.sse:app``, then three times, side by side,
``curl -iN http://127.0.0.1:8000/events``: the third gets 429.
"""

import asyncio
import os
from collections.abc import AsyncIterator

from quart import Quart, Response

from quart_ratelimit import Limiter

SECONDS = float(os.environ.get("TICK", "1"))

app = Quart(__name__)
limiter = Limiter(
    app=app, storage_uri=os.environ.get("REDIS_URL") or "memory://", headers_enabled=True
)


async def ticks() -> AsyncIterator[bytes]:
    """An event every second, until the client goes away."""
    count = 0
    while True:
        yield b"event: tick\ndata: %d\n\n" % count
        count += 1
        await asyncio.sleep(SECONDS)


@app.get("/events")
@limiter.limit("10/minute")  # streams opened
@limiter.in_flight(2)  # streams at a time: a place is held until the last byte is sent
async def events() -> Response:
    """A stream is never buffered: its fields go out first, then each event as it is made."""
    response = Response(
        ticks(), mimetype="text/event-stream", headers={"Cache-Control": "no-store"}
    )
    response.timeout = None  # or Quart ends it after RESPONSE_TIMEOUT
    return response
