"""Behind nginx or a load balancer: the client is the one that the trusted proxies name.

Run: ``TRUSTED_PROXIES=127.0.0.1 hypercorn examples.behind_proxy:app``, then
``curl -i -H 'X-Forwarded-For: 203.0.113.7' http://127.0.0.1:8000/``: the 6th request of one
address gets 429. Without ``TRUSTED_PROXIES`` no header is believed.
"""

import os

from quart import Quart

from quart_ratelimit import Limiter, client_address

app = Quart(__name__)
trusted = os.environ.get("TRUSTED_PROXIES", "")  # "10.0.0.0/8,fd00:ec2::/32", "unix:"
address = client_address(trusted_proxies=trusted.split(",") if trusted else None)
limiter = Limiter(
    address,
    app=app,
    default_limits=["5/minute"],
    storage_uri=os.environ.get("REDIS_URL") or "memory://",
)


@app.get("/")
async def index() -> dict[str, str]:
    """Say which client the request counts for: open it once after each change of the proxies."""
    return {"you": address()}
