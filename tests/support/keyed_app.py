"""An app with a limit of each kind; each view returns its worker's process."""

from __future__ import annotations

import os
from collections.abc import Callable

from quart import Quart, request
from quart.views import MethodView

from quart_ratelimit import ApplicationLimit, Limiter, Penalty, rate_limit

app = Quart(__name__)
limiter = Limiter(
    app=app,
    storage_uri=os.environ["REDIS_URL"],
    application_limits=[ApplicationLimit("100000/day")],
    key_prefix="shop|",
    storage_options={"deadline": 5},
)
MUCH = "90000/day"


def by_header(name: str) -> Callable[[], str]:
    return lambda: request.headers.get(name, "ann")


async def helper() -> None:
    async with limiter.limit(MUCH, scope=lambda _: ""), limiter.limit(MUCH):
        pass


@app.get("/rules")
@limiter.limit(MUCH)
@limiter.limit(MUCH, key_func=by_header("X-A"), per_method=True)
@limiter.limit(MUCH, key_func=by_header("X-B"), scope=7, shadow=True)
@limiter.shared_limit(MUCH, scope=lambda _: "", meta_limits=[Penalty(9, 60, blocks=(60,))])
async def rules() -> str:
    return str(os.getpid())


@app.get("/blocks")
async def blocks() -> str:
    await helper()
    async with limiter.in_flight(90, "ann"), limiter.reserve(MUCH, "ann", cost=1):
        await limiter.hit(MUCH, "ann")
        await limiter.hit(MUCH, "ann", scope="mail")
        return str(os.getpid())


class Things(MethodView):
    @rate_limit(MUCH)
    @rate_limit(MUCH, scope="things", key=by_header("X-C"))
    async def get(self) -> str:
        return str(os.getpid())


app.add_url_rule("/things", view_func=Things.as_view("things"))
