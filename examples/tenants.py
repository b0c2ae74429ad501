"""Each tenant has the limit of its plan, over all routes together.

Run: ``hypercorn examples.tenants:app``, then
``curl -i -H 'X-Api-Key: k-free' http://127.0.0.1:8000/items``: the 4th request gets 429, with
``k-pro`` the 31st. A changed plan applies at the
next request, and the tenant keeps its count.
"""

import os

from quart import Quart, abort, g, request

from quart_ratelimit import ApplicationLimit, Limiter

PLANS = {"free": "3/minute; 1000/day", "pro": "30/minute; 100000/day"}
TENANTS = {"k-free": ("acme", "free"), "k-pro": ("globex", "pro")}  # a table in your database

app = Quart(__name__)


async def find_tenant(key: str) -> tuple[str, str] | None:
    """Stands for ``SELECT name, plan FROM tenants WHERE api_key = ...``."""
    return TENANTS.get(key)


@app.before_request
async def authenticate() -> None:
    """Runs before the limits below, so they can rely on it: it is registered first."""
    found = await find_tenant(request.headers.get("X-Api-Key", ""))
    if found is None:
        abort(401)
    g.tenant, g.plan = found


limiter = Limiter(
    key_func=lambda: g.tenant,
    app=app,
    # All routes together; the function may be async.
    application_limits=[ApplicationLimit(lambda: PLANS[g.plan], name="plan")],
    headers_enabled=True,
    storage_uri=os.environ.get("REDIS_URL") or "memory://",
)


@app.get("/items")
async def items() -> list[str]:
    """Limited by the plan."""
    return ["apple", "pear"]


@app.get("/search")
@limiter.limit("10/minute", shadow=True)  # counts and reports, and refuses nothing
async def search() -> list[str]:
    """Limited by the plan as well: a limit in shadow replaces no other."""
    return ["apple"]
