"""The apps that `benchmarks.serving` serves: one route each, limited in one way or another.

``python -m benchmarks.kit.apps CASE PORT REDIS_URL [SERVER]`` serves one. A case is a function of a
Redis URL.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from hypercorn.asyncio import serve
from hypercorn.config import Config
from quart import Quart, Response, abort, request

from quart_ratelimit import Limiter, rate_limit

#: Never refused, and always refused but for the first second's few.
MUCH, LITTLE = 100_000_000, 1
PERIOD = 86_400


def quart_app() -> Quart:
    """An app with one route."""
    app = Quart(__name__)

    @app.get("/")
    async def index() -> str:
        return "hello"

    return app


def ours(text: str = f"{MUCH}/day", *, uri: str = "", **options: Any) -> Callable[[str], Any]:
    """Our limiter on the route."""

    def make(redis_url: str) -> Any:
        app = quart_app()
        # A busy machine must not turn a slow answer into the stand-in's.
        deadline = {} if uri else {"storage_options": {"deadline": 1}}
        limiter = Limiter(app=app, storage_uri=uri or redis_url, **deadline, **options)
        app.view_functions["index"] = limiter.limit(text)(app.view_functions["index"])
        return app

    return make


def by_the_clock(amount: int) -> Callable[[str], Any]:
    """The Flask snippet's decorator, with its window by the clock."""

    def make(redis_url: str) -> Any:
        app = quart_app()
        Limiter(app=app, storage_uri=redis_url, storage_options={"deadline": 1})
        view = rate_limit(requests=amount, duration=PERIOD)(app.view_functions["index"])
        app.view_functions["index"] = view
        return app

    return make


def with_fields(_: str) -> Any:
    """No limiter, but as many response fields as ours writes."""
    app = quart_app()

    @app.after_request
    async def add(response: Response) -> Response:
        response.headers.add("X-RateLimit-Limit", str(MUCH))
        response.headers.add("X-RateLimit-Remaining", str(MUCH))
        response.headers.add("X-RateLimit-Reset", "1800000000")
        response.headers.add("Retry-After", str(PERIOD))
        return response

    return app


def frozen(_: str) -> Any:
    """No limiter, and what was made until the start is no more looked at by the collector."""
    app = quart_app()

    @app.before_serving
    async def freeze() -> None:
        gc.collect()
        gc.freeze()

    return app


def shielded(redis_url: str) -> Any:
    """Refused before Quart makes a request."""
    app = quart_app()
    limiter = Limiter(app=app, storage_uri=redis_url, storage_options={"deadline": 1})
    app.view_functions["index"] = limiter.limit(f"{LITTLE}/day")(app.view_functions["index"])
    limiter.shield(app)
    return app


def by_hand(redis_url: str) -> Any:
    """One pipeline a request, as an app would write it."""
    import redis.asyncio

    app = quart_app()
    client = redis.asyncio.Redis.from_url(redis_url)

    @app.before_request
    async def limit() -> None:
        key = f"hand:{request.remote_addr}:{int(time.time()) // PERIOD}"
        async with client.pipeline(transaction=False) as pipe:
            pipe.incr(key)
            pipe.expire(key, PERIOD, nx=True)
            count, _ = await pipe.execute()
        if count > MUCH:
            abort(429)

    return app


def limits_aio(redis_url: str) -> Any:
    """``limits.aio`` in a before_request function."""
    from limits import RateLimitItemPerDay
    from limits.aio.storage import RedisStorage
    from limits.aio.strategies import FixedWindowRateLimiter

    app = quart_app()
    storage = RedisStorage(f"async+{redis_url}", implementation="redispy")
    limiter, item = FixedWindowRateLimiter(storage), RateLimitItemPerDay(MUCH)

    @app.before_request
    async def limit() -> None:
        if not await limiter.hit(item, request.remote_addr or ""):
            abort(429)

    return app


def quart_rate_limiter(amount: int) -> Callable[[str], Any]:
    """quart-rate-limiter on the route."""

    def make(redis_url: str) -> Any:
        from quart_rate_limiter import RateLimiter, rate_limit
        from quart_rate_limiter.redis_store import RedisStore

        app = quart_app()
        RateLimiter(app, store=RedisStore(redis_url))
        # Its arithmetic is in floats of datetimes: a day's limit would be rounded away.
        period = timedelta(seconds=60 if amount == MUCH else PERIOD)
        view = app.view_functions["index"]
        app.view_functions["index"] = rate_limit(min(amount, 10_000_000), period)(view)
        return app

    return make


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """The least that can answer 429."""
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return
    body = b'{"message": "Too many requests. Please try again later."}'
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"retry-after", b"60"),
    ]
    await send({"type": "http.response.start", "status": 429, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@dataclass(frozen=True)
class Case:
    """What makes the ASGI app, and whether it is to refuse."""

    make: Callable[[str], Any]
    refuses: bool = False


FIELDS = "no limiter, four fields by hand"
PLAIN = "ours, fixed window"
HEADERS = "ours, fixed window, headers on"
CLOCK = "ours, @rate_limit"
REFUSING = "ours, refusing"
CLOCK_REFUSING = "ours, @rate_limit, refusing"
SHIELD = "ours, refusing, shield"
BARE = "a bare ASGI app that answers 429"
CASES: dict[str, Case] = {
    "no limiter": Case(lambda _: quart_app()),
    "no limiter, gc.freeze() at start": Case(frozen),
    FIELDS: Case(with_fields),
    CLOCK: Case(by_the_clock(MUCH)),
    PLAIN: Case(ours()),
    HEADERS: Case(ours(headers_enabled=True)),
    "ours, fixed window, fields of draft-10": Case(
        ours(headers_enabled=True, header_fields="draft-10")
    ),
    "ours, GCRA, headers on": Case(ours(strategy="gcra", headers_enabled=True)),
    "ours, three limits, headers on": Case(
        ours(f"{MUCH}/day; {MUCH}/hour; {MUCH}/minute", headers_enabled=True)
    ),
    "ours, memory store, headers on": Case(ours(uri="memory://", headers_enabled=True)),
    "one pipeline a request by hand": Case(by_hand),
    "limits.aio by hand": Case(limits_aio),
    "quart-rate-limiter": Case(quart_rate_limiter(MUCH)),
    "ours, refusing, nothing remembered": Case(
        ours(f"{LITTLE}/day", remember_refusals=0), refuses=True
    ),
    REFUSING: Case(ours(f"{LITTLE}/day"), refuses=True),
    CLOCK_REFUSING: Case(by_the_clock(LITTLE), refuses=True),
    SHIELD: Case(shielded, refuses=True),
    "quart-rate-limiter, refusing": Case(quart_rate_limiter(LITTLE), refuses=True),
    BARE: Case(lambda _: bare, refuses=True),
}


def main(case: str, port: int, redis_url: str, server: str = "hypercorn") -> None:
    """Serve one case until terminated, by Hypercorn or by Uvicorn with httptools."""
    app = CASES[case].make(redis_url)
    if server == "uvicorn":
        import uvicorn

        uvicorn.run(
            app, port=port, loop="asyncio", http="httptools", access_log=False, log_level="error"
        )
        return
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.accesslog = None
    asyncio.run(serve(app, config))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
