"""A limited upload, and a route without a limit: what tests and `benchmarks.uploads` serve.

``DRAIN`` in the environment is ``drain_refused_bodies``, and ``SHIELD`` puts a shield before it.
"""

import asyncio
import logging
import os

from quart import Quart

from quart_ratelimit import Limiter
from quart_ratelimit.responses.drain import MOST

#: Hypercorn leaves a traceback for each HTTP/2 connection that it drops.
logging.getLogger("asyncio").disabled = True

app = Quart(__name__)
limiter = Limiter(
    app=app,
    storage_uri="memory://",
    doctor=False,
    drain_refused_bodies=int(os.environ.get("DRAIN", MOST)),
)
if os.environ.get("SHIELD"):
    limiter.shield(app)


@app.post("/upload")
@limiter.limit("1/day")
async def upload() -> str:
    """Refuse all uploads but the first."""
    return "stored"


@app.get("/beside")
async def beside() -> str:
    """Answer after a while, beside an upload."""
    await asyncio.sleep(0.3)
    return "ok"
