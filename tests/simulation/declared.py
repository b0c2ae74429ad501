"""What a reader of an app's declarations expects, asked of the package before any run.

No schedule can show that a limit was declared and is not applied, so these few apps stand beside
the simulator: each is a fault that was in the package, in the words of who meets it.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

import redis.asyncio
from quart import Quart, g, request
from redis.exceptions import MovedError

from quart_ratelimit import ConfigurationError, Limiter
from quart_ratelimit.errors import StoreMisconfigured
from quart_ratelimit.stores import MemoryStore
from quart_ratelimit.stores.redis.failures import store_error

#: Milliseconds since the epoch; no window turns while these apps are asked.
NOW_MS = 1_700_001_800_000


def mistakes() -> list[str]:
    """What is not as declared."""
    return asyncio.run(_mistakes())


async def _mistakes() -> list[str]:
    found = []
    for expectation in EXPECTATIONS:
        try:
            held = await expectation()
        except Exception as error:
            held = f"{type(error).__name__}: {error}"
        if held is not True:
            found.append(f"{(expectation.__doc__ or '').rstrip('.')} ({held})")
    return found


def _app(**settings: Any) -> tuple[Quart, Limiter]:
    app = Quart("tests.simulation")
    app.secret_key = "s"
    store = MemoryStore(now_ms=lambda: NOW_MS)
    return app, Limiter(app=app, store=store, doctor=False, **settings)


async def _statuses(app: Quart, path: str, count: int, **options: Any) -> list[int]:
    client = app.test_client()
    return [(await client.open(path, **options)).status_code for _ in range(count)]


async def _defaults_stay_on() -> object:
    """A limit of one method leaves the defaults on for the others."""
    app, limiter = _app(default_limits=["3/hour"])

    @app.route("/orders", methods=["GET", "POST"])
    @limiter.limit("100/hour", methods=["GET"])
    async def orders() -> str:
        return "orders"

    await _statuses(app, "/orders", 1)
    told = await _statuses(app, "/orders", 4, method="POST")
    return told == [200, 200, 200, 429] or told


async def _names_are_no_addresses() -> object:
    """A name that a client chooses is not another client's address."""
    app, limiter = _app()

    async def account() -> str:
        return request.args.get("user", "")

    @app.get("/login")
    @limiter.limit("3/hour")
    @limiter.limit("3/hour", key_func=account)
    async def login() -> str:
        return "in"

    for number in range(3):
        await _statuses(
            app, "/login?user=203.0.113.9", 1, scope_base={"client": (f"198.51.100.{number}", 1)}
        )
    told = await _statuses(app, "/login?user=ann", 1, scope_base={"client": ("203.0.113.9", 1)})
    return told == [200] or told


async def _sync_views_under_sync_decorators() -> object:
    """A sync view under a sync decorator is limited as any other."""
    app, limiter = _app()

    def with_user(view: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(view)
        def inner(*args: Any, **kwargs: Any) -> Any:
            g.user = "ann"
            return view(*args, **kwargs)

        return inner

    @app.get("/")
    @with_user
    @limiter.limit(lambda: "2/hour", key_func=lambda: g.user)
    def page() -> str:
        return "page"

    told = await _statuses(app, "/", 3)
    return told == [200, 200, 429] or told


async def _pages_are_their_own() -> object:
    """The shield gives no client the page of another client."""
    app, limiter = _app()

    @app.get("/")
    @limiter.limit("1/hour")
    async def page() -> str:
        return "ok"

    @app.errorhandler(429)
    async def slow(_: Exception) -> tuple[str, int]:
        return f"Dear {request.headers['user']}", 429

    limiter.shield(app)
    client = app.test_client()
    for _ in range(3):
        await client.get("/", headers={"user": "ann"})
    answer = await client.get("/", headers={"user": "bob"})
    body = await answer.get_data(as_text=True)
    return body == "Dear bob" or body


async def _texts_are_no_lists() -> object:
    """methods="GET" is an error, and not the methods G, E and T."""
    _, limiter = _app()
    try:
        limiter.limit("2/hour", methods="GET")  # type: ignore[arg-type]
    except ConfigurationError:
        return True
    return "accepted"


async def _costs_are_whole() -> object:
    """A cost below 0 gives nothing back."""
    _, limiter = _app()
    try:
        await limiter.hit("2/hour", "ann", cost=-1)
    except ConfigurationError:
        return True
    return "accepted"


async def _await_is_missed() -> object:
    """``if not limiter.hit(...)`` without its await is an error."""
    _, limiter = _app()
    hitting = limiter.hit("2/hour", "ann")
    try:
        seen = bool(hitting)
    except ConfigurationError:
        return True
    await hitting
    return f"it is {seen}"


async def _sentinels_by_address() -> object:
    """A Sentinel may be named by an IPv6 address."""
    app = Quart("tests.simulation")
    Limiter(app=app, storage_uri="redis+sentinel://[::1]:26379/mymaster", doctor=False)
    return True


async def _nodes_name_themselves() -> object:
    """A node of a Cluster under redis:// is a mistake in the set-up, which its error names."""
    pool = redis.asyncio.ConnectionPool()
    error = store_error(MovedError("1 127.0.0.1:7000"), pool, "GET")
    return isinstance(error, StoreMisconfigured) or repr(error)


EXPECTATIONS: list[Callable[[], Awaitable[object]]] = [
    _defaults_stay_on,
    _names_are_no_addresses,
    _sync_views_under_sync_decorators,
    _pages_are_their_own,
    _texts_are_no_lists,
    _costs_are_whole,
    _await_is_missed,
    _sentinels_by_address,
    _nodes_name_themselves,
]
