"""A block of code counts by itself: wherever it is run from, and apart from every other block."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from quart import Quart

from quart_ratelimit import Limiter, Penalty
from quart_ratelimit.direct.blocks import place_in_code
from quart_ratelimit.rules.views import name_in_code

from ..support.apps import ask


def site(**options: Any) -> tuple[Quart, Limiter]:
    app = Quart(__name__)
    return app, Limiter(lambda: "ann", app=app, storage_uri="memory://", **options)


async def test_two_blocks_of_one_view_are_two_counts() -> None:
    app, limiter = site()

    @app.get("/")
    async def index() -> str:
        async with limiter.limit("2/minute"):
            pass
        async with limiter.limit("2/minute"):
            return ""

    assert await ask(app, "/", 3) == [200, 200, 429]


async def test_two_blocks_in_one_line_are_two_counts() -> None:
    app, limiter = site()

    @app.get("/")
    async def index() -> str:
        async with limiter.limit("2/minute"), limiter.limit("2/minute"):
            return ""

    assert await ask(app, "/", 3) == [200, 200, 429]


async def test_a_block_of_a_helper_is_one_count_for_all_views_that_call_it() -> None:
    app, limiter = site()

    async def helper() -> str:
        async with limiter.limit("2/minute"):
            return ""

    @app.get("/a")
    async def one() -> str:
        return await helper()

    @app.get("/b")
    async def other() -> str:
        return await helper()

    assert await ask(app, "/a", 2) + await ask(app, "/b", 1) == [200, 200, 429]


async def test_a_block_and_the_view_around_it_are_two_counts() -> None:
    app, limiter = site()

    @app.get("/")
    @limiter.limit("2/minute")
    async def index() -> str:
        async with limiter.limit("2/minute"):
            return ""

    assert await ask(app, "/", 3) == [200, 200, 429]


async def test_a_scope_tells_the_counts_of_one_block_apart_and_joins_no_others() -> None:
    app, limiter = site()

    @app.get("/<int:number>")
    async def index(number: int) -> str:
        async with limiter.limit("2/minute", scope=number):
            pass
        async with limiter.limit("2/minute", scope=number):
            return ""

    assert await ask(app, "/1", 3) == [200, 200, 429]
    assert await ask(app, "/2", 3) == [200, 200, 429]


async def test_blocks_with_one_shared_limit_share_its_count() -> None:
    app, limiter = site()

    @app.get("/letter")
    async def letter() -> str:
        async with limiter.shared_limit("2/minute", scope="mail"):
            return ""

    @app.get("/parcel")
    async def parcel() -> str:
        async with limiter.shared_limit("2/minute", scope="mail"):
            return ""

    assert await ask(app, "/letter", 1) == [200]
    assert await ask(app, "/parcel", 2) == [200, 429]


@pytest.mark.parametrize("how", ["stack", "manager", "one object"])
async def test_a_block_is_where_the_async_with_stands(how: str) -> None:
    """Not in the module that enters it, nor where the object was made."""
    app, limiter = site()
    limit = limiter.limit("2/minute")

    @contextlib.asynccontextmanager
    async def guard() -> AsyncIterator[None]:
        async with limit:
            yield

    @app.get("/a")
    async def one() -> str:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(limit)
        return ""

    @app.get("/b")
    async def other() -> str:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(limit)
        return ""

    @app.get("/c")
    async def managed() -> str:
        async with guard(), limit:
            return ""

    paths = {"stack": "/a /b", "manager": "/c /a", "one object": "/b /c"}[how].split()
    for path in paths:
        assert await ask(app, path, 3) == [200, 200, 429]


async def test_methods_of_a_block_that_counts_per_method_are_apart() -> None:
    app, limiter = site()

    @app.route("/", methods=["GET", "POST"])
    async def index() -> str:
        async with limiter.limit("1/minute", per_method=True):
            return ""

    client = app.test_client()
    answers = [await client.get("/"), await client.post("/"), await client.get("/")]
    assert [one.status_code for one in answers] == [200, 200, 429]


async def test_a_penalty_of_a_block_is_that_blocks_alone() -> None:
    app, limiter = site()
    penalty = Penalty(1, 60, blocks=(600,))

    @app.get("/a")
    async def one() -> str:
        async with limiter.limit("1/minute", meta_limits=[penalty]):
            return ""

    @app.get("/b")
    async def other() -> str:
        async with limiter.limit("1/minute", meta_limits=[penalty]):
            return ""

    assert await ask(app, "/a", 3) == [200, 429, 429]
    assert await ask(app, "/b", 1) == [200]


async def test_a_block_in_shadow_and_one_in_force_are_two_counts() -> None:
    app, limiter = site(key_prefix="shadow")

    @app.get("/")
    async def index() -> str:
        for shadow in (True, False):
            async with limiter.limit("2/minute", shadow=shadow):
                pass
        return ""

    assert await ask(app, "/", 3) == [200, 200, 429]


async def test_the_response_names_a_block_by_its_function() -> None:
    app, limiter = site(headers_enabled=True, header_fields="draft-10")

    @app.get("/")
    async def index() -> str:
        async with limiter.limit("2/minute"):
            return ""

    response = await app.test_client().get("/")
    assert response.headers["RateLimit"].startswith('"index:2/minute";r=1')


def place_by(source: str, **names: Any) -> str:
    found: dict[str, Any] = {"place_in_code": place_in_code, **names}
    exec(source, found)
    return str(found["place"])


def test_equal_code_of_two_classes_has_two_places() -> None:
    source = "class {0}:\n    def run(_): return place_in_code(1)\nplace = {0}().run()"
    names = {"__name__": "shop"}
    assert place_by(source.format("One"), **names).startswith("shop.One.run:")
    assert place_by(source.format("Two"), **names).startswith("shop.Two.run:")


@pytest.mark.parametrize("started", ["__main__", "__mp_main__"])
def test_the_module_that_was_started_has_its_own_name(
    started: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = type(contextlib)("main")
    module.__file__ = "/srv/shop.py"
    monkeypatch.setitem(__import__("sys").modules, started, module)
    source = "def run(): return place_in_code(1)\nplace = run()"
    assert place_by(source, __name__=started) == place_by(source, __name__="shop")
    view: Any = eval("lambda: None", {"__name__": started})
    assert name_in_code(view) == "shop.<lambda>"
