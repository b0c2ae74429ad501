"""An app with metrics and a dashboard that admits every request: the tests' browser.

``MANY`` is the number of further limits, each on a view of its own.
"""

import os

from quart import Quart

from quart_ratelimit import Limiter
from quart_ratelimit.contrib.dashboard import dashboard
from quart_ratelimit.contrib.prometheus import PrometheusMetrics, exposition

app = Quart(__name__)
limiter = Limiter(app=app, storage_uri=os.environ["REDIS_URL"], application_limits=["10000/day"])
app.register_blueprint(dashboard(limiter, guard=lambda: True))
metrics = PrometheusMetrics()


@app.get("/metrics")
@limiter.exempt
async def show_metrics() -> tuple[bytes, dict[str, str]]:
    return exposition()


@app.get("/data")
@limiter.limit("10/hour")
async def data() -> str:
    return "data"


@app.get("/search")
@limiter.limit("200/minute")
async def search() -> str:
    return "found"


async def one_of_many() -> str:
    return "one"


for number in range(int(os.environ.get("MANY", "0"))):
    limit = limiter.limit(f"{number % 7 + 2}/hour", name=f"tariff {number}")
    name = f"many_{number}"
    app.add_url_rule(f"/many/{number}", name, limit(one_of_many))
