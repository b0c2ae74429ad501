"""Each tenant by its plan: the limit is looked up for each request, the count is the tenant's.

Run: ``hypercorn examples.tenants:app``, then
``curl -i -H 'X-Api-Key: k-free' http://127.0.0.1:8000/items``: the 4th request gets 429, with
``k-pro`` the 31st. An upgrade in the database counts from the next request on,
and keeps what was used.
"""

import os

from quart import Quart, abort, g, request

from quart_ratelimit import Limit, Limiter

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
    default_limits=[Limit(lambda: PLANS[g.plan], name="plan")],  # the function may be async
    headers_enabled=True,
    storage_uri=os.environ.get("REDIS_URL") or "memory://",
)


@app.get("/items")
async def items() -> list[str]:
    """Limited by default."""
    return ["apple", "pear"]


@app.get("/search")
@limiter.limit("10/minute", shadow=True)  # tried: counted and reported, and nobody is refused by it
async def search() -> list[str]:
    """Limited by default, as a limit in shadow replaces no other."""
    return ["apple"]
