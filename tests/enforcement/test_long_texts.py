"""No object that outlives a request holds a long text that the request's client chose.

Others keep requests: a cancelled timer of Quart keeps the context of each request whose body was
read, for up to a minute. Each test here keeps the contexts of its requests itself.
"""

import asyncio
import contextlib
import contextvars
import gc
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from quart import Quart, Response, request, websocket

from quart_ratelimit import (
    Decision,
    FixedWindow,
    Hit,
    InvalidLimit,
    Limiter,
    RateLimitExceeded,
    StoreError,
    quart_rate_limiter,
    rate_limit,
)
from quart_ratelimit.clients.keys import LONGEST_KEPT
from quart_ratelimit.stores import GuardedStore, MemoryStore

from ..support.long_texts import ways_to
from ..support.stores import Moody


@pytest.fixture(autouse=True, scope="module")
def only_new_objects() -> Iterator[None]:
    """Leave out what other tests made: in a long run they keep millions of objects."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


#: Characters of a client's text.
LONG = 100_000
#: What is not kept of it.
PART = "x" * 501

#: Adds routes to an app with a limiter.
Site = Callable[[Quart, Limiter], None]


async def of_body() -> str:
    return str((await request.get_json())["user"])


async def of_form() -> str:
    return str((await request.form)["user"])


def of_cookie() -> str:
    return request.cookies["user"]


def of_query() -> str:
    return request.args["user"]


def of_path() -> str:
    assert request.view_args is not None
    return str(request.view_args["user"])


def of_any() -> str:
    return request.headers["X-User"]


def never(_: Response) -> bool:
    return False


def key_func(app: Quart, limiter: Limiter) -> None:
    @app.post("/")
    @limiter.limit("2/minute", key_func=of_any)
    @limiter.limit("3/hour", key_func=of_any, deduct_when=never)
    async def index() -> str:
        return ""


def default_limit(app: Quart, limiter: Limiter) -> None:
    @app.post("/")
    async def index() -> str:
        return ""


def scope(app: Quart, limiter: Limiter) -> None:
    @app.post("/")
    @limiter.shared_limit("2/minute", scope=lambda _: of_any(), deduct_when=never)
    @limiter.shared_limit("3/hour", scope=lambda _: of_any())
    async def index() -> str:
        return ""


def block(app: Quart, limiter: Limiter) -> None:
    @app.post("/")
    async def index() -> str:
        user = of_any()
        async with limiter.limit("2/minute", key_func=lambda: user, deduct_when=never):
            pass
        async with limiter.shared_limit("3/hour", scope=user, error_message=user):
            return ""


def snippet(app: Quart, limiter: Limiter) -> None:
    @app.post("/")
    @rate_limit("3/hour", key=of_any, scope=None)
    @rate_limit("2/minute", key=of_any)
    async def index() -> str:
        return ""


def shadow(app: Quart, limiter: Limiter) -> None:
    @app.post("/")
    @limiter.limit("2/minute", key_func=of_any, shadow=True, deduct_when=never)
    @limiter.limit("3/minute", key_func=of_any, shadow=lambda: bool(of_any()))
    async def index() -> str:
        return ""


def meta(app: Quart, limiter: Limiter) -> None:
    @app.post("/")
    @limiter.limit("1/minute", key_func=of_any, meta_limits=["2/hour"])
    async def index() -> str:
        return ""


def direct(app: Quart, limiter: Limiter) -> None:
    @app.post("/")
    async def index() -> str:
        user = of_any()
        kept: Any = vars(request._get_current_object())
        kept["one"] = await limiter.hit("2/minute", user, scope=user)
        kept["two"] = await limiter.wait("2/minute", user, scope=user, seconds=0)
        kept["three"] = await limiter.hit("2/minute", user, scope=None)
        kept["four"] = await limiter.refund("2/minute", user, charged=kept["one"], scope=user)
        kept["five"] = await limiter.peek("2/minute", user, scope=user)
        await limiter.reset("2/minute", user, scope=user)
        return ""


def reserve(app: Quart, limiter: Limiter) -> None:
    @app.post("/")
    async def index() -> str:
        kept: Any = vars(request._get_current_object())
        async with limiter.reserve("5/minute", of_any(), cost=2) as kept["one"]:
            kept["one"].settle(1)
        one, other = (limiter.in_flight(1, of_any(), scope=of_any()) for _ in range(2))
        async with one as kept["two"], other:
            return ""


def in_flight(app: Quart, limiter: Limiter) -> None:
    @app.post("/")
    @limiter.in_flight(1, key_func=of_any)
    async def index() -> str:
        async with limiter.in_flight(1, key_func=of_any):
            return ""


def answers(app: Quart, limiter: Limiter) -> None:
    @app.post("/")
    @limiter.limit(lambda: f"2/minute{' ' * LONG}", key_func=of_any, error_message=of_any)
    @limiter.limit(of_any, key_func=of_any)
    async def index() -> str:
        return ""


SITES = [
    key_func, default_limit, scope, block, snippet, shadow, meta, direct, reserve, in_flight,
    answers,
]  # fmt: skip

OPTIONS: dict[str, dict[str, Any]] = {
    "fields": {"headers_enabled": True, "header_fields": ["x-ratelimit", "draft-10"]},
    "secret": {"key_secret": "s" * 32, "partition_secret": "p" * 32, "header_fields": ["draft-10"]},
    "identifier": {"request_identifier": of_any, "problem_details": True},
    "each": {"fail_on_first_breach": False, "key_prefix": "shop", "default_limits": ["2/hour"]},
    "any breach": {"meta_limits": ["4/day"], "default_limits": ["2/hour"]},
}


class Kept:
    """Keeps the context of each request, as a timer of Quart may, and what its refusal told."""

    def __init__(self, app: Quart) -> None:
        self.contexts: list[contextvars.Context] = []
        self.limits: list[Any] = []
        app.before_request(self._keep)
        app.before_websocket(self._keep)
        app.errorhandler(RateLimitExceeded)(self._refused)

    async def _keep(self) -> None:
        self.contexts.append(contextvars.copy_context())

    async def _refused(self, error: RateLimitExceeded) -> RateLimitExceeded:
        self.limits += error.limits
        return error


def site(where: Site, **options: Any) -> tuple[Quart, Kept]:
    app = Quart(__name__)
    kept = Kept(app)
    options = {"default_limits": ["2/minute"], "storage_uri": "memory://", **options}
    where(app, Limiter(of_any, app=app, **options))
    return app, kept


def user(number: int) -> str:
    return f"{number}".rjust(LONG, "x")


async def ask(app: Quart, number: int) -> int:
    response = await app.test_client().post("/", headers={"X-User": user(number)})
    return int(response.status_code)


async def check(where: Site, options: str) -> None:
    app, kept = site(where, **OPTIONS[options])
    for number in (1, 2):
        for _ in range(5):
            await ask(app, number)
    assert len(kept.contexts) == 10
    assert ways_to(PART) == []


@pytest.mark.parametrize("where", SITES)
async def test_a_request_that_is_over_leaves_no_long_text(where: Site) -> None:
    await check(where, "fields")


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("where", [key_func, block])
async def test_nor_does_it_whatever_the_limiter_is_told(where: Site, options: str) -> None:
    await check(where, options)


@pytest.mark.parametrize("place", ["body", "form", "cookie", "query", "path"])
async def test_a_client_may_be_named_anywhere(place: str) -> None:
    app = Quart(__name__)
    kept = Kept(app)
    limiter = Limiter(of_any, app=app, storage_uri="memory://")
    function = {
        "body": of_body, "form": of_form, "cookie": of_cookie, "query": of_query, "path": of_path,
    }[place]  # fmt: skip

    @app.post("/<user>")
    @limiter.limit("2/minute", key_func=function, deduct_when=lambda _: False)
    async def index(user: str) -> str:
        return user[:1]

    ways: dict[str, dict[str, Any]] = {
        "body": {"json": {"user": user(1)}},
        "form": {"form": {"user": user(1)}},
        "cookie": {"headers": {"Cookie": f"user={user(1)}"}},
        "query": {"query_string": {"user": user(1)}},
    }
    client = app.test_client()
    path = f"/{user(1)}" if place == "path" else "/ann"
    codes = [(await client.post(path, **ways.get(place, {}))).status_code for _ in range(4)]
    assert len(kept.contexts) == len(codes)
    assert 500 not in codes
    assert ways_to(PART) == []


class Stuck(MemoryStore):
    """Decides nothing, and notes that it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    async def hit(self, hits: Sequence[Hit]) -> list[Decision]:
        self.asked.set()
        return await asyncio.Event().wait()  # type: ignore[return-value]


async def test_nor_does_a_request_whose_client_leaves() -> None:
    store = Stuck()
    app, kept = site(key_func, store=store)
    asking = asyncio.create_task(ask(app, 1))
    await store.asked.wait()
    asking.cancel()
    await asyncio.wait([asking])
    assert asking.cancelled()
    del asking
    assert len(kept.contexts) == 1
    assert ways_to(PART) == []


@pytest.mark.parametrize("policy", ["local", "open", "closed", "raise"])
async def test_nor_does_a_request_during_an_outage(policy: str) -> None:
    moody = Moody()
    moody.error = StoreError("away")
    app, kept = site(key_func, store=GuardedStore(moody, policy=policy))
    app.errorhandler(StoreError)(lambda _: ("", 500))
    for _ in range(5):
        await ask(app, 1)
    assert len(kept.contexts) == 5
    assert ways_to(PART) == []


async def test_nor_does_a_websocket_that_is_closed() -> None:
    app = Quart(__name__)
    kept = Kept(app)
    limiter = Limiter(lambda: websocket.headers["X-User"], app=app, storage_uri="memory://")

    @app.websocket("/ws")
    @limiter.limit("10/minute", deduct_when=lambda _: False)
    @limiter.messages("100/minute", key_func=lambda: websocket.headers["X-User"], on_breach="drop")
    async def echo() -> None:
        for _ in range(2):
            await websocket.receive()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(websocket.receive(), 0)
        await websocket.send("over")

    for _ in range(3):
        async with app.test_client().websocket("/ws", headers={"X-User": user(1)}) as client:
            for number in range(3):
                await client.send(user(number))
            assert await client.receive() == "over"
    assert len(kept.contexts) == 3
    assert ways_to(PART) == []


async def test_nor_does_a_request_that_quart_rate_limiters_names_refuse() -> None:
    app = Quart(__name__)
    kept = Kept(app)
    quart_rate_limiter.RateLimiter(app)

    async def client() -> str:
        return request.headers["X-User"]

    @app.post("/")
    @quart_rate_limiter.rate_limit(1, timedelta(minutes=1), key_function=client)
    async def index() -> str:
        return ""

    assert [await ask(app, 1) for _ in range(3)] == [200, 429, 429]
    assert len(kept.contexts) == 3
    assert ways_to(PART) == []


@pytest.mark.parametrize("options", [{}, {"key_secret": "s" * 32}], ids=["plain", "secret"])
async def test_the_parts_that_a_refusal_tells_are_short_and_find_its_counter(
    options: dict[str, Any],
) -> None:
    app, kept = site(key_func, **options)
    limiter = next(iter(app.extensions["limiter"]))
    assert [await ask(app, 1) for _ in range(3)] == [200, 200, 429]
    async with app.app_context():
        for told in kept.limits:
            assert max(map(len, told.request_args)) <= LONGEST_KEPT
            assert len(told.key) < 2 * LONGEST_KEPT
            stats = await limiter.limiter.get_window_stats(told.limit, *told.request_args)
            assert stats.remaining == told.remaining < told.limit.amount


async def test_no_client_can_name_itself_as_the_digest_of_another() -> None:
    app, kept = site(default_limit)
    assert [await ask(app, 1) for _ in range(3)] == [200, 200, 429]
    digest = kept.limits[0].request_args[-2]
    client = app.test_client()
    assert (await client.post("/", headers={"X-User": str(digest)})).status_code == 200


async def test_a_background_task_charges_no_limit_of_the_request_again() -> None:
    app = Quart(__name__)
    limiter = Limiter(lambda: "ann", app=app, storage_uri="memory://", default_limits=["2/year"])
    ended = asyncio.Event()

    @limiter.limit("5/year", override_defaults=False)
    async def help_() -> None:
        pass

    @app.get("/")
    async def index() -> str:
        async def later() -> None:
            await ended.wait()
            await help_()

        app.add_background_task(later)
        return ""

    async with app.test_app():
        client = app.test_client()
        assert (await client.get("/")).status_code == 200
        ended.set()
        for _ in range(10):
            await asyncio.sleep(0)
        assert [(await client.get("/")).status_code for _ in range(2)] == [200, 429]


def test_a_quotas_name_is_at_most_256_characters() -> None:
    assert FixedWindow(1, 60, name="x" * 256).name
    for options in ({"name": "x" * 257}, {"counted_as": "x" * 257}):
        with pytest.raises(InvalidLimit, match="at most 256"):
            FixedWindow(1, 60, **options)
