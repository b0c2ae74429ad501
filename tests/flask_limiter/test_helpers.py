"""Limits on functions that views call, and on blocks of code."""

import asyncio

import pytest
from quart import g, request

from quart_ratelimit import RateLimitExceeded

from ..support.apps import Clock, Make, ask, body, view


@pytest.mark.parametrize("dynamic", [False, True])
async def test_a_helper_is_limited(make: Make, dynamic: bool) -> None:
    app, limiter = make()

    @limiter.limit((lambda: "1/minute") if dynamic else "1/minute")
    async def helper() -> str:
        return "helped"

    @app.get("/")
    async def index() -> str:
        return await helper()

    assert await body(app, "/") == "helped"
    assert await ask(app, "/", 1) == [429]


async def test_a_sync_helper_is_limited_and_awaited(make: Make) -> None:
    app, limiter = make()

    @limiter.limit("1/minute")
    def helper(word: str) -> str:
        return f"{word} {request.path}"

    @app.get("/")
    async def index() -> str:
        return await helper("at")

    assert await body(app, "/") == "at /"
    assert await ask(app, "/", 1) == [429]


async def test_helpers_of_one_view_are_limited_one_after_the_other(make: Make) -> None:
    app, limiter = make()

    @limiter.limit("10/second")
    async def wide() -> str:
        return "wide"

    @limiter.limit("1/second")
    async def narrow() -> str:
        return "narrow"

    @app.get("/")
    async def index() -> str:
        return await wide() + await narrow()

    assert await ask(app, "/", 2) == [200, 429]


async def test_helpers_called_at_once_are_each_limited(make: Make) -> None:
    app, limiter = make()

    @limiter.limit("2/minute")
    async def helper() -> str:
        return "helped"

    @app.get("/")
    async def index() -> str:
        answers = await asyncio.gather(*[helper() for _ in range(3)], return_exceptions=True)
        return str(answers.count("helped"))

    assert await body(app, "/") == "2"


async def test_a_helper_called_for_several_things_is_counted_for_each(make: Make) -> None:
    app, limiter = make()

    @limiter.limit("1/minute", key_func=lambda: g.item)
    async def helper() -> str:
        return g.item

    @app.get("/<items>")
    async def index(items: str) -> str:
        done = ""
        for g.item in items:
            done += await helper()
        return done

    assert await body(app, "/ab") == "ab"
    assert await ask(app, "/cdc", 1) == [429]
    assert await ask(app, "/c", 1) == [429]
    assert await ask(app, "/e", 1) == [200]


async def test_functions_defined_in_a_view_are_limited_by_endpoint(make: Make) -> None:
    app, limiter = make()

    @app.get("/five")
    async def five() -> str:
        @limiter.limit("5/minute")
        async def inner() -> str:
            return "five"

        return await inner()

    @app.get("/one")
    async def one() -> str:
        @limiter.limit("1/minute")
        async def inner() -> str:
            return "one"

        return await inner()

    assert await ask(app, "/five", 1) == [200]
    assert await ask(app, "/one", 2) == [200, 429]
    assert await ask(app, "/five", 5) == [200] * 4 + [429]


async def test_a_helpers_limit_overrides_the_defaults_in_its_request(
    make: Make, clock: Clock
) -> None:
    app, limiter = make(default_limits=["1/second"])

    @limiter.limit("2/second")
    async def helper() -> str:
        return "helped"

    @app.get("/over")
    async def over() -> str:
        return await helper()

    @app.get("/under")
    async def under() -> str:
        @limiter.limit("2/day", override_defaults=False)
        async def inner() -> str:
            return "inner"

        return await inner()

    assert await ask(app, "/over", 3) == [200, 200, 429]
    assert await ask(app, "/under", 2) == [200, 429]
    clock.forward(1)
    assert await ask(app, "/under", 1) == [200]
    clock.forward(1)
    assert await ask(app, "/under", 1) == [429]


async def test_of_a_views_helpers_all_must_leave_the_defaults_for_them_to_hold(
    make: Make, clock: Clock
) -> None:
    app, limiter = make(default_limits=["1/second"])

    @app.get("/<int:number>")
    async def index(number: int) -> str:
        @limiter.limit("2/day", override_defaults=False)
        async def adding() -> str:
            return "adding"

        @limiter.limit("3/day")
        async def overriding() -> str:
            return "overriding"

        return await adding() if number < 10 else await overriding()

    assert await ask(app, "/1", 2) == [200, 429]
    clock.forward(1)
    assert await ask(app, "/1", 1) == [200]
    clock.forward(86_400)
    assert await ask(app, "/11", 4) == [200, 200, 200, 429]


async def test_a_block_of_code_is_limited(make: Make, clock: Clock) -> None:
    app, limiter = make()

    @app.get("/")
    async def index() -> str:
        async with limiter.limit("1/second"):
            done = "always"
        try:
            async with limiter.limit("1/day"):
                done += " once"
        except RateLimitExceeded:
            pass
        return done

    assert await body(app, "/") == "always once"
    assert await ask(app, "/", 1) == [429]
    clock.forward(1)
    assert await body(app, "/") == "always"


async def test_a_blocks_limit_may_be_a_function(make: Make) -> None:
    app, limiter = make()

    @app.get("/")
    async def index() -> str:
        async with limiter.limit(lambda: "1/second"):
            return "here"

    assert await ask(app, "/", 2) == [200, 429]


async def test_a_blocks_scope_may_be_any_value(make: Make) -> None:
    app, limiter = make()

    @app.get("/<int:number>")
    async def index(number: int) -> str:
        async with limiter.limit("1/second", scope=number):
            return "here"

    for number in (0, 1):
        assert await ask(app, f"/{number}", 2) == [200, 429]


async def test_a_view_that_takes_a_refusal_for_itself_is_charged_as_usual(make: Make) -> None:
    app, limiter = make()

    @limiter.limit("1/day")
    async def extra() -> str:
        return "extra"

    @app.get("/")
    @limiter.limit("3/minute", deduct_when=lambda response: response.status_code == 200)
    async def index() -> str:
        try:
            return await extra()
        except RateLimitExceeded:
            return "plain"

    assert [await body(app, "/") for _ in range(3)] == ["extra", "plain", "plain"]
    assert await ask(app, "/", 1) == [429]


async def test_an_exempt_helper_is_free(make: Make) -> None:
    app, limiter = make()

    @limiter.exempt
    @limiter.limit("1/minute")
    async def helper() -> str:
        return "helped"

    @app.get("/")
    async def index() -> str:
        return await helper()

    view(app, "/other")
    assert await ask(app, "/", 3) == [200, 200, 200]
