"""Two limiters of one app that name clients by different functions count different clients."""

import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from quart import Quart, request

from quart_ratelimit import FixedWindow, Limiter, client_address
from quart_ratelimit.stores import MemoryStore

VICTIM = "203.0.113.9"


async def account() -> str:
    return str((await request.form).get("user", ""))


Checks = Callable[[], Awaitable[object]]


def by_view(app: Quart, limiter: Limiter, check: Checks) -> Checks:
    return limiter.limit("3/hour")(check)


def by_shared_limit(app: Quart, limiter: Limiter, check: Checks) -> Checks:
    return limiter.shared_limit("3/hour", scope="login")(check)


def by_block(app: Quart, limiter: Limiter, check: Checks) -> Checks:
    async def checked() -> object:
        async with limiter.shared_limit("3/hour", scope="login"):
            return await check()

    return checked


def by_hit(app: Quart, limiter: Limiter, check: Checks) -> Checks:
    async def checked() -> object:
        if not await limiter.hit("3/hour"):
            return "slow down", 429
        return await check()

    return checked


@pytest.mark.parametrize("declare", [by_view, by_shared_limit, by_block, by_hit])
@pytest.mark.parametrize("order", [1, -1])
async def test_tries_at_an_account_named_like_an_address_do_not_lock_the_address_out(
    declare: Callable[..., Checks], order: int
) -> None:
    app, store = Quart(__name__), MemoryStore(now_ms=lambda: 1_800_000_000_000)
    functions = [client_address(), account][::order]
    limiters = [Limiter(function, app=app, store=store) for function in functions]

    async def login() -> str:
        return "in"

    view: Any = login
    for limiter in limiters:
        view = declare(app, limiter, view)
    app.post("/login", endpoint="login")(view)
    client = app.test_client()

    async def post(address: str, user: str) -> int:
        scope = {"client": (address, 1)}
        return (await client.post("/login", form={"user": user}, scope_base=scope)).status_code

    tries = [await post(f"198.51.100.{number}", VICTIM) for number in range(4)]
    assert tries == [200, 200, 200, 429]
    assert await post(VICTIM, "ann") == 200


async def test_limiters_by_equal_functions_share_what_one_scope_counts() -> None:
    app, store = Quart(__name__), MemoryStore(now_ms=lambda: 1_800_000_000_000)
    limiters = [Limiter(app=app, store=store) for _ in range(2)]
    for number, limiter in enumerate(limiters):

        @app.get(f"/{number}", endpoint=str(number))
        @limiter.shared_limit("2/hour", scope="all")
        async def view() -> str:
            return "x"

    client = app.test_client()
    statuses = [(await client.get(path)).status_code for path in ("/0", "/1", "/0")]
    assert statuses == [200, 200, 429]


async def test_a_key_that_code_names_is_a_client_of_its_limiter() -> None:
    app, store = Quart(__name__), MemoryStore(now_ms=lambda: 1_800_000_000_000)
    first = Limiter(app=app, store=store)
    second = Limiter(account, app=app, store=store)
    quota = FixedWindow(3, 3600)

    @app.post("/")
    async def index() -> str:
        await second.hit(quota)
        return str((await second.peek(quota, "ann")).remaining)

    client = app.test_client()
    assert await (await client.post("/", form={"user": "ann"})).get_data(as_text=True) == "2"
    assert (await first.peek(quota, "ann")).remaining == 3
    await second.reset(quota, "ann")
    assert (await second.peek(quota, "ann")).remaining == 3


SPACES = """
import sys
from quart import Quart
from quart_ratelimit import Limiter
from quart_ratelimit.clients.key_functions import address_function
from quart_ratelimit.extension.binding import binding_of

app = Quart("shop")
limiter = Limiter(lambda: "", app=app)
fallback = address_function(lambda: "")


async def show():
    async with app.test_request_context("/"):
        print(binding_of(limiter, app).settings.space(fallback))


if "request" in sys.argv:
    import asyncio
    asyncio.run(show())
else:
    print(binding_of(limiter, app).settings.space(fallback))
"""


def test_an_address_that_stands_in_for_no_name_has_one_space_in_requests_and_commands() -> None:
    spaces = {
        subprocess.run(
            [sys.executable, "-c", SPACES, where], capture_output=True, text=True, check=True
        ).stdout
        for where in ("request", "command")
    }
    assert len(spaces) == 1
