"""Whom a limiter counts when it is told nothing: a client in one form, and no header's word."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from quart import Quart

from quart_ratelimit import (
    Limiter,
    client_address,
    client_in,
    quart_rate_limiter,
    rate_limit,
)
from quart_ratelimit.contrib.util import get_remote_address_cloudflare
from quart_ratelimit.stores import MemoryStore
from quart_ratelimit.util import get_remote_address


def by_rule(app: Quart) -> None:
    Limiter(app=app, store=MemoryStore(), default_limits=["1/day"])


def by_decorator(app: Quart) -> None:
    Limiter(app=app, store=MemoryStore())
    app.view_functions["index"] = rate_limit("1/day")(app.view_functions["index"])


def by_quart_rate_limiter(app: Quart) -> None:
    limit = quart_rate_limiter.RateLimit(1, timedelta(days=1))
    quart_rate_limiter.RateLimiter(app, store=MemoryStore(), default_limits=[limit])


@pytest.fixture(params=[by_rule, by_decorator, by_quart_rate_limiter])
def app(request: pytest.FixtureRequest) -> Quart:
    app = Quart(__name__)

    @app.get("/")
    async def index() -> str:
        return ""

    limited: Callable[[Quart], None] = request.param
    limited(app)
    return app


async def get(app: Quart, who: str, **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = await app.test_client().get("/", scope_base={"client": (who, 1)}, headers=named)
    return answer.status_code


@pytest.mark.parametrize(
    ("first", "again"),
    [
        ("203.0.113.7", "::ffff:203.0.113.7"),
        ("203.0.113.7", "::FFFF:cb00:7107"),
        ("203.0.113.7", "64:ff9b::203.0.113.7"),
        ("2001:db8::1", "2001:0DB8::ffff:1"),
        ("fe80::1%eth0", "fe80::2%eth1"),
    ],
)
async def test_one_client_in_two_forms_has_one_budget(app: Quart, first: str, again: str) -> None:
    assert [await get(app, first), await get(app, again)] == [200, 429]


@pytest.mark.parametrize(
    ("ann", "bob"), [("203.0.113.7", "203.0.113.8"), ("2001:db8:0:1::1", "2001:db8:0:2::1")]
)
async def test_two_clients_have_two(app: Quart, ann: str, bob: str) -> None:
    assert [await get(app, ann), await get(app, bob)] == [200, 200]


async def test_no_header_makes_another_client(app: Quart) -> None:
    statuses = [
        await get(app, "203.0.113.7", X_Forwarded_For=f"1.1.1.{n}", Forwarded=f"for=1.1.1.{n}")
        for n in range(3)
    ]
    assert statuses == [200, 429, 429]


async def test_flask_limiters_key_function_takes_the_address_as_it_is() -> None:
    app = Quart(__name__)
    Limiter(get_remote_address, app=app, store=MemoryStore(), default_limits=["1/day"])

    @app.get("/")
    async def index() -> str:
        return ""

    assert [await get(app, "2001:db8::1"), await get(app, "2001:db8::2")] == [200, 200]


@pytest.mark.parametrize(
    "asked",
    [client_address(), client_in("10.0.0.0/8"), get_remote_address, get_remote_address_cloudflare],
)
def test_outside_a_request_there_is_no_client_and_the_error_says_so(
    asked: Callable[[], object],
) -> None:
    with pytest.raises(RuntimeError, match="in a request or a websocket only"):
        asked()
