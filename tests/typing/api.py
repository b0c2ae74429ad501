"""What type checkers know of the public API: each decorated view keeps its type.

`./dev lint` checks this module by mypy and pyright; nothing runs it. A call with an argument of a
wrong type is marked as an error that both must report.
"""

from collections.abc import Awaitable, Iterator
from typing import assert_type

import redis.asyncio
from quart import Blueprint, Quart, Response
from quart.views import MethodView

from quart_ratelimit import (
    Decision,
    FixedWindow,
    Limiter,
    Quota,
    RateLimitExceeded,
    RequestLimit,
    Reservation,
    RouteLimit,
    client_address,
    client_in,
    message_bytes,
    pseudonyms,
    rate_limit,
)
from quart_ratelimit.stores import ClusterStore, MemoryStore, RedisStore, Store, store_from_uri
from quart_ratelimit.testing import Clock, assert_limited, in_memory

app = Quart(__name__)
blueprint = Blueprint("shop", __name__)
limiter = Limiter(client_address(1), app=app, storage_uri="memory://")


# limiter.limit: an async view keeps its type, a sync view becomes async


@limiter.limit("10/minute", per_method=True)
async def show(name: str, *, page: int = 1) -> str:
    return name * page


@limiter.limit(FixedWindow(10, 60))
def show_sync(name: str) -> dict[str, int]:
    return {name: 1}


@limiter.shared_limit("10/minute", scope="shop")
async def buy(number: int) -> tuple[str, int]:
    return "", number


async def decorated() -> None:
    assert_type(await show("pear", page=2), str)
    await show(2)  # type: ignore[arg-type]
    await show("pear", pages=2)  # type: ignore[call-arg]
    assert_type(await show_sync("pear"), dict[str, int])
    await show_sync()  # type: ignore[call-arg]
    assert_type(await buy(1), tuple[str, int])
    await buy("1")  # type: ignore[arg-type]


limit = limiter.limit("10/minute")
assert_type(limit, RouteLimit)
assert_type(limit(blueprint), None)


async def block() -> None:
    async with limiter.limit("10/minute") as entered:
        assert_type(entered, None)


# limiter.exempt


@limiter.exempt
async def health() -> str:
    return ""


@limiter.exempt()
def ready(number: int) -> str:
    return str(number)


assert_type(limiter.exempt(blueprint), Blueprint)


async def exempted() -> None:
    assert_type(await health(), str)
    assert_type(ready(1), str)
    ready("1")  # type: ignore[arg-type]


# rate_limit


@rate_limit("10/minute")
async def snippet(name: str) -> str:
    return name


@rate_limit(requests=10, duration=60)
def snippet_sync(name: str) -> list[str]:
    return [name]


async def rate_limited() -> None:
    assert_type(await snippet("pear"), str)
    await snippet(1)  # type: ignore[arg-type]
    assert_type(await snippet_sync("pear"), list[str])


# limiter.in_flight: what it holds until a response is sent, it must make a response of


@limiter.in_flight(5)
async def export(name: str) -> str:
    return name


async def held() -> None:
    await export("pear")
    await export(1)  # type: ignore[arg-type]
    async with limiter.in_flight(5, "ann"):
        pass


# Methods of class-based views, and several decorators on one view


class Items(MethodView):
    @limiter.limit("10/minute")
    async def get(self, number: int) -> str:
        return str(number)

    @limiter.shared_limit("10/minute", "items")
    def post(self, name: str) -> list[str]:
        return [name]

    @limiter.exempt
    @rate_limit("10/minute")
    async def put(self, number: int) -> bytes:
        return bytes(number)

    @limiter.in_flight(2)
    async def delete(self, number: int) -> None: ...


@limiter.limit("10/minute", override_defaults=False)
@rate_limit("5/second")
@limiter.in_flight(2)
async def several(name: str, *, page: int) -> dict[str, int]:
    return {name: page}


@limiter.limit("10/minute")
@limiter.in_flight(2)
def several_sync(name: str) -> dict[str, int]:
    return {name: 1}


async def called(items: Items) -> None:
    assert_type(await items.get(1), str)
    await items.get("1")  # type: ignore[arg-type]
    assert_type(await items.post("pear"), list[str])
    await items.post(1)  # type: ignore[arg-type]
    assert_type(await items.put(1), bytes)
    assert_type(await several("pear", page=2), dict[str, int])
    await several("pear")  # type: ignore[call-arg]
    assert_type(await several_sync("pear"), dict[str, int])


# limiter.messages


@limiter.messages("10/second", cost=message_bytes)
async def chat(room: str) -> None: ...


async def chatted() -> None:
    assert_type(await chat("kitchen"), None)
    await chat(1)  # type: ignore[arg-type]
    async with limiter.messages("10/second", per_connection=True) as entered:
        assert_type(entered, None)


# Functions that are registered


@limiter.request_filter
def internal() -> bool:
    return False


@limiter.deny
async def banned() -> bool:
    return False


async def registered() -> None:
    assert_type(internal(), bool)
    assert_type(await banned(), bool)


# Limits that code checks itself


async def direct() -> None:
    decision = await limiter.hit("10/minute", "ann", cost=2)
    assert_type(decision, Decision)
    assert_type(decision.allowed, bool)
    assert_type(decision.remaining, int)
    assert_type(decision.retry_ms, int | None)
    assert_type(decision.retry_after, int | None)
    assert_type(await limiter.peek(FixedWindow(10, 60), "ann"), Decision)
    assert_type(await limiter.refund("10/minute", "ann", charged=decision), Decision)
    assert_type(await limiter.wait("10/minute", "ann", seconds=1.5), Decision)
    async with limiter.reserve("10000/hour", "ann", cost=500) as reservation:
        assert_type(reservation, Reservation)
        assert_type(reservation.settle(420), None)
    assert_type(await limiter.reset(), int)


# What was decided


async def decided() -> None:
    current = limiter.current_limit
    assert_type(current, RequestLimit | None)
    assert_type(limiter.current_limits, list[RequestLimit])
    if current is not None:
        assert_type(current.remaining, int)
        assert_type(current.key, str)
        assert_type(current.limit, Quota)


@app.errorhandler(RateLimitExceeded)
async def refused(error: RateLimitExceeded) -> str:
    assert_type(error.retry_after, int | None)
    return f"{error.description}"


# Stores, key functions and tests


async def stored() -> None:
    assert_type(limiter.store, Store)
    assert_type(store_from_uri("memory://"), Store)
    stores: list[Store] = [MemoryStore(), RedisStore("redis://localhost")]
    assert_type(await stores[0].hit([]), list[Decision])


def opened(blocking: "redis.Redis", other: redis.asyncio.RedisCluster) -> None:
    RedisStore(redis.asyncio.Redis())  # type: ignore[arg-type]
    RedisStore(redis.asyncio.Redis)
    RedisStore(blocking)  # type: ignore[arg-type]
    RedisStore(other)  # type: ignore[arg-type]
    ClusterStore(lambda: other)
    ClusterStore(lambda: blocking)  # type: ignore[arg-type, return-value]


def counted() -> Iterator[str]:
    assert_type(client_address(1)(), str)
    assert_type(client_in("10.0.0.0/8")(), bool)
    yield pseudonyms("a secret of 16 bytes or more")("ann")


async def tested() -> None:
    client = app.test_client()
    with in_memory(limiter) as clock:
        assert_type(clock, Clock)

        def request() -> Awaitable[Response]:
            return client.get("/")

        assert_type(await assert_limited(request, "10/minute", clock), Response)
