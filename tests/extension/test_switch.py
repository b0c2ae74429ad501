"""The switches: what a limiter limits is let go while the app runs, and limited again."""

from collections.abc import Callable
from typing import Any

import pytest
from quart import Quart, websocket

from quart_ratelimit import Limiter, rate_limit
from quart_ratelimit.stores import MemoryStore
from quart_ratelimit.util import get_remote_address

from ..support.apps import ask, view
from ..support.sites import ShieldedSite

#: Switches a limiter on or off in an app.
Switch = Callable[[Quart, Limiter, bool], None]


def by_variable(app: Quart, limiter: Limiter, on: bool) -> None:
    app.config["RATELIMIT_ENABLED"] = on


def by_attribute(app: Quart, limiter: Limiter, on: bool) -> None:
    limiter.enabled = on


@pytest.fixture(params=[by_variable, by_attribute])
def switch(request: pytest.FixtureRequest) -> Switch:
    found: Switch = request.param
    return found


def site(**options: Any) -> tuple[Quart, Limiter]:
    app = Quart(__name__)
    store = MemoryStore(now_ms=lambda: 1_800_000_000_123)
    return app, Limiter(get_remote_address, app=app, store=store, **options)


async def connects(app: Quart, times: int, *sent: str) -> list[Any]:
    """What so many clients of a websocket are told at last, after they sent all that."""
    heard: list[Any] = []
    for _ in range(times):
        try:
            async with app.test_client().websocket("/ws") as connection:
                for text in ("hello", *sent):
                    await connection.send(text)
                    told = await connection.receive()
            heard.append(told)
        except Exception as error:
            heard.append(getattr(error, "response", error))
    return [getattr(one, "status_code", one) for one in heard]


@pytest.mark.parametrize("kind", ["default", "route", "snippet"])
async def test_requests_pass_while_it_is_off(switch: Switch, kind: str) -> None:
    app, limiter = site(default_limits=["1/minute"], headers_enabled=True)
    limits = {"route": [limiter.limit("1/minute")], "snippet": [rate_limit("1/minute")]}
    if kind == "snippet":
        limiter.exempt(view(app, "/", *limits[kind]))
    else:
        view(app, "/", *limits.get(kind, []))
    assert await ask(app, "/", 2) == [200, 429]
    switch(app, limiter, False)
    answers = [await app.test_client().get("/") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert not [name for answer in answers for name in answer.headers if "Rate" in name[0]]
    switch(app, limiter, True)
    assert await ask(app, "/", 1) == [429]  # nothing was forgotten, nothing charged


async def test_handshakes_and_messages_pass_while_it_is_off(switch: Switch) -> None:
    app, limiter = site()

    @app.websocket("/ws")
    @limiter.limit("2/minute")
    @limiter.messages("3/minute", per_connection=True, on_breach="error")
    async def echo() -> None:
        while True:
            await websocket.send(await websocket.receive())

    assert await connects(app, 1, "a", "b") == ["b"]
    (refused,) = await connects(app, 1, "a", "b", "c")
    assert "Too Many Requests" in refused
    assert await connects(app, 1) == [429]
    switch(app, limiter, False)
    assert await connects(app, 3, "a", "b", "c") == ["c"] * 3
    switch(app, limiter, True)
    assert await connects(app, 1) == [429]


async def test_a_connection_is_let_go_in_its_midst(switch: Switch) -> None:
    app, limiter = site()

    @app.websocket("/ws")
    @limiter.messages("1/minute", on_breach="error")
    async def echo() -> None:
        while True:
            await websocket.send(await websocket.receive())

    async with app.test_client().websocket("/ws") as connection:
        heard = []
        for on in (True, True, False, False, True):
            switch(app, limiter, on)
            await connection.send("hello")
            heard.append("Too Many Requests" not in await connection.receive())
    assert heard == [True, False, True, True, False]


async def test_what_an_app_asks_for_itself_is_allowed_while_it_is_off(switch: Switch) -> None:
    app, limiter = site()
    async with app.app_context():
        assert await limiter.hit("1/minute", "ann")
        assert not await limiter.hit("1/minute", "ann")
        switch(app, limiter, False)
        assert await limiter.hit("1/minute", "ann")
        switch(app, limiter, True)
        assert not await limiter.hit("1/minute", "ann")


async def test_a_shield_asks_the_app_while_it_is_off(switch: Switch) -> None:
    shielded = ShieldedSite()
    for _ in range(4):
        await shielded.get()
    switch(shielded.app, shielded.limiter, False)
    assert (await shielded.get()).status == 200
    switch(shielded.app, shielded.limiter, True)
    assert (await shielded.get()).status == 429


async def test_the_variable_is_each_apps_own() -> None:
    first, limiter = site()
    second = Quart("second")
    limiter.init_app(second)
    for app in (first, second):
        view(app, "/", limiter.limit("1/minute", scope=app.name))
    first.config["RATELIMIT_ENABLED"] = False
    assert await ask(first, "/", 3) == [200] * 3
    assert await ask(second, "/", 2) == [200, 429]


async def test_an_app_that_is_off_from_the_start_is_not_counted_with_the_others() -> None:
    first, limiter = site()
    second = Quart("second")
    second.config["RATELIMIT_ENABLED"] = False
    limiter.init_app(second)

    async def hit() -> str:
        return str((await limiter.hit("1/minute", "ann")).allowed)

    async def reserve() -> str:
        async with limiter.reserve("1/minute", "bob", cost=1):
            return "True"

    async def echo() -> None:
        while True:
            await websocket.send(await websocket.receive())

    for app in (first, second):
        app.add_url_rule("/hit", "hit", hit)
        app.add_url_rule("/reserve", "reserve", reserve)
        app.add_websocket("/ws", "ws", limiter.messages("1/minute", on_breach="error")(echo))
    for path in ("/hit", "/reserve"):
        answers = [await second.test_client().get(path) for _ in range(3)]
        assert [await answer.get_data(as_text=True) for answer in answers] == ["True"] * 3
    assert await connects(second, 1, "a", "b") == ["b"]
    assert (await (await first.test_client().get("/hit")).get_data()) == b"True"
    assert await ask(first, "/reserve", 2) == [200, 429]


async def test_a_request_that_is_under_way_is_settled(
    switch: Switch,
) -> None:
    app, limiter = site()

    @app.get("/")
    @limiter.limit("1/minute", deduct_when=lambda _: False)
    async def index() -> str:
        switch(app, limiter, False)
        return ""

    assert await ask(app, "/") == [200]
    switch(app, limiter, True)
    assert await ask(app, "/") == [200]  # it was given back


async def test_what_was_charged_is_told_though_it_is_switched_off_meanwhile(switch: Switch) -> None:
    app, limiter = site(headers_enabled=True)

    @app.get("/")
    @limiter.limit("5/minute")
    async def index() -> str:
        switch(app, limiter, False)
        return "hello"

    client = app.test_client()
    assert (await client.get("/")).headers["X-RateLimit-Remaining"] == "4"
    assert "X-RateLimit-Remaining" not in (await client.get("/")).headers
