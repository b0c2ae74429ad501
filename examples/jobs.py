"""Outbound calls in turn: a partner allows 10 calls per second from all workers together.

Run: ``hypercorn examples.jobs:app``, then ``curl -X POST http://127.0.0.1:8000/deliveries/25`` and
``curl http://127.0.0.1:8000/deliveries``: 25 calls take 2.4 seconds, 100 ms apart, in
order.
"""

import os

from quart import Quart
from quart.typing import ResponseReturnValue

from quart_ratelimit import Limiter

app = Quart(__name__)
app.config["PATIENCE"] = 30  # seconds that a call may wait for its turn
limiter = Limiter(app=app, storage_uri=os.environ.get("REDIS_URL") or "memory://")

delivered: list[int] = []
given_up: list[int] = []


async def deliver(number: int) -> None:
    """A background job has no request, so it names its key."""
    if await limiter.wait("10/second burst 1", "partner-api", seconds=app.config["PATIENCE"]):
        delivered.append(number)  # call the partner here
    else:
        given_up.append(number)  # it could not be in time: queue it again


@app.post("/deliveries/<int:count>")
async def start(count: int) -> ResponseReturnValue:
    """Start this many jobs."""
    for number in range(count):
        app.add_background_task(deliver, number)
    return {"started": count}, 202


@app.get("/deliveries")
async def deliveries() -> dict[str, list[int]]:
    """Return which jobs were delivered, and which gave up."""
    return {"delivered": delivered, "given_up": given_up}
