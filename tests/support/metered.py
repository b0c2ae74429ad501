"""An app with metrics, to be served with one worker or several."""

import os

from quart import Quart

from quart_ratelimit import Limiter
from quart_ratelimit.contrib.prometheus import PrometheusMetrics, exposition

app = Quart(__name__)
limiter = Limiter(app=app, storage_uri=os.environ["REDIS_URL"], on_store_error="closed")
metrics = PrometheusMetrics()


@app.get("/data")
@limiter.limit("40/hour")
async def data() -> str:
    return "data"


@app.get("/metrics")
@limiter.exempt
async def scrape() -> tuple[bytes, dict[str, str]]:
    return exposition()


@app.get("/worker")
@limiter.exempt
async def worker() -> str:
    return str(os.getpid())
