"""The traps of docs/howto/migrating.md: each is an error, or a sentence that is true."""

import functools
from collections.abc import AsyncIterator
from typing import Any

import pytest
from quart import Quart, current_app, request

from quart_ratelimit import ConfigurationError, Limiter
from quart_ratelimit.stores import MemoryStore

from ..support import asgi, markdown
from ..support.apps import Make, ask, clock, make, view
from ..support.serving import ROOT

__all__ = ["clock", "make"]  # fixtures

TEXT = (ROOT / "docs" / "howto" / "migrating.md").read_text("utf-8")
SECTION = TEXT.partition("### Traps")[2].partition("\n### ")[0]
PROXY = "10.0.0.1"


@pytest.fixture
def app(redis_url: str) -> Quart:
    (block,) = [block for block in markdown.APPS if "/uncounted" in block.source]
    found: Quart = markdown.load(block, redis_url)["app"]
    return found


@pytest.mark.parametrize(
    "words",
    [
        "get_json", "without `await`", "without `async`", "RATELIMIT_STORAGE_URL", "not a total",
        "remote_addr", "@route_cors", "expose_headers", "inside a generator", "retry_after",
        "@login_required", "@validate_request",
    ],
)  # fmt: skip
def test_the_page_names_each_trap(words: str) -> None:
    assert words in SECTION


def test_a_coroutine_that_is_used_as_data_is_an_error(make: Make) -> None:
    app, limiter = make()
    with pytest.raises(ConfigurationError, match="await"):
        view(app, "/", limiter.limit("1/minute", exempt_when=lambda: bool(request.get_json())))


async def test_a_hit_that_is_not_awaited_is_an_error(make: Make) -> None:
    _, limiter = make()
    charging: Any = limiter.hit("2/minute", "ann")
    with pytest.raises(Exception, match="await"):
        bool(charging)
    charging.close()


async def test_a_block_without_async_is_an_error(make: Make) -> None:
    _, limiter = make()
    with pytest.raises(ConfigurationError, match="async with"):
        limiter.limit("2/minute").__enter__()


def test_a_variable_of_an_old_version_is_an_error() -> None:
    app = Quart("old")
    app.config["RATELIMIT_STORAGE_URL"] = "redis://localhost:6379/0"
    with pytest.raises(ConfigurationError, match="RATELIMIT_STORAGE_URI"):
        Limiter(app=app)


async def test_default_limits_count_each_view_apart_and_application_limits_all(make: Make) -> None:
    app, _ = make(default_limits=["1/minute"])
    view(app, "/a")
    view(app, "/b")
    assert await ask(app, "/a", 2) + await ask(app, "/b", 2) == [200, 429, 200, 429]
    app, _ = make(application_limits=["1/minute"])
    view(app, "/a")
    view(app, "/b")
    assert await ask(app, "/a", 1) + await ask(app, "/b", 1) == [200, 429]


async def test_behind_a_proxy_only_limits_are_told_of_the_client(make: Make) -> None:
    app, _ = make()
    seen = []

    @app.get("/")
    async def index() -> str:
        seen.append(request.remote_addr)
        return "ok"

    await asgi.ask(app, "/", PROXY, **{"x-forwarded-for": "203.0.113.7"})
    assert seen == [PROXY]


async def test_client_in_exempts_who_stands_behind_the_proxy_and_nobody_else(app: Quart) -> None:
    async def statuses(client: str) -> list[int]:
        fields = {"x-forwarded-for": client, "x-user": "ann"}
        return [(await asgi.ask(app, "/counted", PROXY, **fields)).status for _ in range(3)]

    assert await statuses("203.0.113.7") == [200, 200, 429]
    assert await statuses("192.168.0.9") == [200, 200, 200]


async def test_what_stands_above_the_limit_is_not_counted(app: Quart) -> None:
    for path, login, third in (("/uncounted", "x-user", 200), ("/counted", "x-user", 429)):
        for _ in range(2):
            assert (await asgi.ask(app, path)).status == 401
        assert (await asgi.ask(app, path, **{login: "ann"})).status == third


def adding_fields(view: Any) -> Any:
    """A decorator that adds a field to what the view returns, as `quart_cors.route_cors` does."""

    @functools.wraps(view)
    async def inner(*args: Any) -> Any:
        response = await current_app.make_response(await current_app.ensure_async(view)(*args))
        response.headers["Access-Control-Allow-Origin"] = "*"
        return response

    return inner


@pytest.mark.parametrize("is_above", [True, False])
async def test_a_refusal_passes_by_what_adds_fields_to_a_views_result(
    make: Make, is_above: bool
) -> None:
    app, limiter = make()
    limit = limiter.limit("1/minute")
    view(app, "/", *((adding_fields, limit) if is_above else (limit, adding_fields)))
    for status, has_field in ((200, True), (429, False)):
        answer = await asgi.ask(app, "/")
        names = {name.lower() for name, _ in answer.headers}
        assert (answer.status, b"access-control-allow-origin" in names) == (status, has_field)


async def test_a_reservation_is_refused_by_429_if_the_view_takes_the_first_piece() -> None:
    app = Quart("stream")
    limiter = Limiter(app=app, store=MemoryStore(), doctor=False)

    async def stream() -> AsyncIterator[str]:
        async with limiter.reserve("1/day", "ann", cost=1):
            yield "a"
            yield "b"

    @app.get("/")
    async def early() -> AsyncIterator[str]:
        pieces = stream()
        first = await anext(pieces)

        async def body() -> AsyncIterator[str]:
            yield first
            async for piece in pieces:
                yield piece

        return body()

    first, second = await asgi.ask(app, "/"), await asgi.ask(app, "/")
    assert (first.status, first.body, second.status) == (200, b"ab", 429)


async def test_an_own_429_can_say_when_to_come_back(app: Quart) -> None:
    answers = [await asgi.ask(app, "/mine") for _ in range(3)]
    fields = {name.lower(): value for name, value in answers[2].headers}
    assert answers[2].status == 429
    assert 1 <= int(fields[b"retry-after"]) <= 60
    assert fields[b"cache-control"] == b"no-store"
