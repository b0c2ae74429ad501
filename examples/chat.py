"""A chat on a websocket, limited by address, by connection and by user.

Run: ``hypercorn examples.chat:app``, then ``python -m websockets "ws://127.0.0.1:8000/chat?user=ann"``
(``pip install websockets``), and write quickly.
"""

import asyncio
import os

from quart import Quart, abort, websocket

from quart_ratelimit import Limiter, message_bytes

app = Quart(__name__)
limiter = Limiter(app=app, storage_uri=os.environ.get("REDIS_URL") or "memory://")
outboxes: set[asyncio.Queue[str]] = set()


def user() -> str:
    """Who is connected; yours comes from a session or a token."""
    return websocket.args.get("user", "")


@app.websocket("/chat")
@limiter.limit("20/minute")  # handshakes of one address
@limiter.in_flight(3, key_func=user)  # connections of one user at a time
@limiter.messages("5 per 10 seconds", per_connection=True, on_breach="error")
@limiter.messages("20/minute", key_func=user)  # over all connections; closes with 1008
@limiter.messages("10000/minute", key_func=user, cost=message_bytes)
async def chat() -> None:
    """What one says, all hear."""
    if not user():
        abort(401)
    outbox: asyncio.Queue[str] = asyncio.Queue()
    outboxes.add(outbox)
    sending = asyncio.create_task(send(outbox))
    try:
        while True:
            text = await websocket.receive()
            for each in outboxes:
                each.put_nowait(f"{user()}: {text!s}")
    finally:  # also when the client has gone, or is sent away
        outboxes.discard(outbox)
        sending.cancel()


async def send(outbox: asyncio.Queue[str]) -> None:
    """Pass what the others say to this connection's client."""
    while True:
        await websocket.send(await outbox.get())
