"""An app with a dashboard for whoever asks: the tests' browser."""

import os

from quart import Quart

from quart_ratelimit import Limiter
from quart_ratelimit.contrib.dashboard import dashboard

app = Quart(__name__)
limiter = Limiter(app=app, storage_uri=os.environ["REDIS_URL"], application_limits=["10000/day"])
app.register_blueprint(dashboard(limiter, guard=lambda: True))


@app.get("/data")
@limiter.limit("10/hour")
async def data() -> str:
    return "data"


@app.get("/search")
@limiter.limit("200/minute")
async def search() -> str:
    return "found"
