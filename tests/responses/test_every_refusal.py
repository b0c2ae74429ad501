"""Each 429 says when to come back and is not stored, whichever way the request was refused."""

import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from quart import Quart, Response, websocket
from quart.testing import WebsocketResponseError

from quart_ratelimit import Limiter, MetaLimit, Penalty, rate_limit
from quart_ratelimit.stores import MemoryStore

from ..support.apps import Clock, Make, clock, make, view

__all__ = ["clock", "make"]  # fixtures


def by_rule(app: Quart, limiter: Limiter) -> None:
    view(app, "/", limiter.limit("1/minute"))


def by_on_breach(app: Quart, limiter: Limiter) -> None:
    view(app, "/", limiter.limit("1/minute", on_breach=lambda _: Response("own", 429)))


def by_rate_limit(app: Quart, limiter: Limiter) -> None:
    view(app, "/", rate_limit("1/minute"))


def by_reservation(app: Quart, limiter: Limiter) -> None:
    @app.get("/")
    async def reserving() -> str:
        async with limiter.reserve("2/minute", cost=2):
            return "reserved"


def by_place(app: Quart, limiter: Limiter) -> None:
    held = []

    @app.get("/")
    async def holding() -> str:
        held.append(await limiter.in_flight(1, "ann").__aenter__())
        return "held"


def by_block(app: Quart, limiter: Limiter) -> None:
    @app.get("/")
    async def block() -> str:
        async with limiter.limit("1/minute"):
            return "entered"


def by_meta_limit(app: Quart, limiter: Limiter) -> None:
    metas = [MetaLimit(Penalty(1, 60))]
    view(app, "/", limiter.limit("1/second", meta_limits=metas))


def in_a_sync_view(app: Quart, limiter: Limiter) -> None:
    @app.get("/")
    @limiter.limit("1/minute")
    def index() -> str:
        return "sync"


PATHS = [by_rule, by_on_breach, by_rate_limit, by_reservation, by_place, by_block, by_meta_limit,
         in_a_sync_view]  # fmt: skip


async def refusal(app: Quart) -> Any:
    client = app.test_client()
    answers = [await client.get("/", scope_base={"client": ("ann", 1)}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 429, 429]
    return answers[-1].headers


@pytest.mark.parametrize("declare", PATHS)
@pytest.mark.parametrize("handler", ["none", "429", "Exception"])
@pytest.mark.parametrize("fields", [None, "x-ratelimit", "draft-10"])
@pytest.mark.parametrize("style", [None, "http-date"])
async def test_a_refusal_says_when_to_come_back_and_is_not_stored(
    make: Make,
    declare: Callable[[Quart, Limiter], None],
    handler: str,
    fields: str | None,
    style: str | None,
) -> None:
    app, limiter = make(header_fields=fields, retry_after=style)
    declare(app, limiter)
    if handler != "none":

        @app.errorhandler(429 if handler == "429" else Exception)
        async def slow(error: Exception) -> Any:
            return {"slow": True}, 429

    headers = await refusal(app)
    assert headers.getlist("Cache-Control") == ["no-store"]
    (told,) = headers.getlist("Retry-After")
    if style == "http-date":
        assert 0 <= parsedate_to_datetime(told).timestamp() - time.time() <= 62
    else:
        assert 1 <= int(told) <= 61


@pytest.mark.parametrize("declare", PATHS)
async def test_what_the_app_says_of_caching_and_of_waiting_stands(
    make: Make, declare: Callable[[Quart, Limiter], None]
) -> None:
    app, limiter = make()
    declare(app, limiter)

    @app.errorhandler(429)
    async def slow(error: Exception) -> Any:
        return "", 429, {"Cache-Control": "private", "Retry-After": "7"}

    headers = await refusal(app)
    assert headers.getlist("Cache-Control") == ["private"]
    assert headers.getlist("Retry-After") == ["7"]


async def test_a_refused_handshake_says_when_to_come_back(make: Make) -> None:
    app, limiter = make()

    @app.websocket("/")
    @limiter.messages("1/minute", on_breach="raise")
    @limiter.limit("1/minute")
    async def talk() -> None:
        await websocket.accept()
        await websocket.send("hello")

    @app.errorhandler(429)
    async def slow(error: Exception) -> Any:
        return "slow", 429

    client = app.test_client()
    async with client.websocket("/") as connection:
        assert await connection.receive() == "hello"
    with pytest.raises(WebsocketResponseError) as refused:
        async with client.websocket("/") as connection:
            await connection.receive()
    assert refused.value.response.status_code == 429
    assert 1 <= int(refused.value.response.headers["Retry-After"]) <= 60
    assert refused.value.response.headers["Cache-Control"] == "no-store"


class Unhashable:
    """A callback that Python cannot hash."""

    def __init__(self) -> None:
        self.calls = 0

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = None  # type: ignore[assignment]

    def __call__(self, status: object) -> None:
        self.calls += 1


@pytest.mark.parametrize("same", [True, False])
async def test_a_callback_that_cannot_be_hashed_is_called_once(make: Make, same: bool) -> None:
    general = Unhashable()
    own = general if same else Unhashable()
    app, limiter = make(on_breach=general)
    view(app, "/", limiter.limit("1/minute", on_breach=own))
    client = app.test_client()
    assert [(await client.get("/")).status_code for _ in range(2)] == [200, 429]
    assert (general.calls, own.calls) == (1, 1)


async def test_a_refusal_that_the_view_handles_leaves_its_answer_alone(make: Make) -> None:
    app, limiter = make()

    @app.get("/")
    async def index() -> str:
        try:
            async with limiter.limit("1/minute"):
                return "entered"
        except Exception:
            return "alone"

    client = app.test_client()
    for _ in range(2):
        answer = await client.get("/")
        assert answer.status_code == 200
        assert not {"Retry-After", "Cache-Control"} & set(answer.headers.keys())


async def test_who_is_refused_by_a_second_limiter_is_not_charged_by_the_first(
    clock: Clock,
) -> None:
    app = Quart(__name__)
    stores = [MemoryStore(now_ms=clock) for _ in range(2)]
    first = Limiter(app=app, store=stores[0])
    second = Limiter(app=app, store=stores[1])

    @app.get("/")
    @first.limit("9/minute", deduct_when=lambda response: True)
    @second.limit("1/minute")
    async def index() -> str:
        told = first.current_limit
        return str(told.remaining if told else None)

    client = app.test_client()
    for _ in range(3):
        await client.get("/")
    clock.forward(60)
    assert await (await client.get("/")).get_data(as_text=True) == "8"


@pytest.mark.parametrize("fields", ["x-ratelimit", "draft-6", "draft-7", "draft-10"])
async def test_two_limiters_write_each_field_once(clock: Clock, fields: str) -> None:
    app = Quart(__name__)
    for limit in ("5/minute", "9/hour"):
        store = MemoryStore(now_ms=clock)
        Limiter(app=app, default_limits=[limit], header_fields=fields, store=store)
    view(app, "/")
    client = app.test_client()
    for status in [200] * 5 + [429]:
        answer = await client.get("/")
        assert answer.status_code == status
        names = [name.lower() for name, _ in answer.headers]
        assert len(names) == len(set(names))
        if fields == "x-ratelimit":
            assert answer.headers["X-RateLimit-Limit"] == "5"
    if fields == "draft-10":
        answer = await app.test_client().get("/", scope_base={"client": ("203.0.113.9", 1)})
        policy = answer.headers["RateLimit-Policy"]
        assert sorted(part.split(";")[0] for part in policy.split(", ")) == [
            '"index:5/minute"', '"index:9/hour"'
        ]  # fmt: skip


@pytest.mark.parametrize("jitter", [0.5, 1])
async def test_a_jitter_is_a_share_of_the_wait(make: Make, clock: Clock, jitter: float) -> None:
    app, limiter = make(retry_jitter=jitter)
    view(app, "/", limiter.limit("1/hour"))
    client = app.test_client()
    await client.get("/")
    clock.forward(3590)
    told = [int((await client.get("/")).headers["Retry-After"]) for _ in range(50)]
    assert min(told) >= 10
    assert max(told) <= 10 + 10 * jitter


@pytest.mark.parametrize("declare", [by_rule, by_rate_limit, by_reservation, by_place])
async def test_every_refusal_has_the_jitter(
    make: Make, declare: Callable[[Quart, Limiter], None]
) -> None:
    app, limiter = make(retry_jitter=1)
    declare(app, limiter)
    client = app.test_client()
    await client.get("/")
    told = {(await client.get("/")).headers["Retry-After"] for _ in range(30)}
    assert len(told) > 3
