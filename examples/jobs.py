"""Outbound calls in turn: a partner allows 10 calls a second, over all workers together.

Run: ``hypercorn examples.jobs:app``, then ``curl -X POST http://127.0.0.1:8000/deliveries/25`` and
``curl http://127.0.0.1:8000/deliveries``: 25 calls take two seconds, in the order they came.
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
    """A background job: outside any request, so it names the key that it counts for."""
    if await limiter.wait("10/second", "partner-api", seconds=app.config["PATIENCE"]):
        delivered.append(number)  # yours calls the partner here
    else:
        given_up.append(number)  # told at once, without waiting in vain: queue it again


@app.post("/deliveries/<int:count>")
async def start(count: int) -> ResponseReturnValue:
    """Start so many jobs."""
    for number in range(count):
        app.add_background_task(deliver, number)
    return {"started": count}, 202


@app.get("/deliveries")
async def deliveries() -> dict[str, list[int]]:
    """What has become of them."""
    return {"delivered": delivered, "given_up": given_up}
