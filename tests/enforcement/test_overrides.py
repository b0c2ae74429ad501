"""A limit replaces those of the blueprints around it only in requests that it limits itself."""

import pytest
from quart import Blueprint, request

from ..support.apps import Make, ask, clock, make, view

__all__ = ["clock", "make"]  # fixtures

METHODS = ["GET", "POST"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_blueprints_limit_holds_for_methods_that_the_views_limit_leaves_out(
    make: Make, method: str
) -> None:
    app, limiter = make()
    blueprint = Blueprint("shop", __name__)
    limiter.limit("1/minute")(blueprint)
    view(blueprint, "/", limiter.limit("3/minute", methods=["POST"]), methods=METHODS)
    app.register_blueprint(blueprint)
    assert await ask(app, "/", 4, method="POST") == [200, 200, 200, 429]
    assert await ask(app, "/", 2, method=method) == [200, 429]


@pytest.mark.parametrize("dynamic", [False, True])
async def test_an_outer_blueprints_limit_holds_where_the_inner_ones_does_not(
    make: Make, dynamic: bool
) -> None:
    app, limiter = make()
    outer, inner = Blueprint("outer", __name__), Blueprint("inner", __name__)
    limiter.limit("1/minute")(outer)
    if dynamic:
        limiter.limit(lambda: "3/minute" if request.method == "POST" else "")(inner)
    else:
        limiter.limit("3/minute", methods=["POST"])(inner)
    view(inner, "/", methods=METHODS)
    outer.register_blueprint(inner)
    app.register_blueprint(outer)
    assert await ask(app, "/", 4, method="POST") == [200, 200, 200, 429]
    assert await ask(app, "/", 2) == [200, 429]


async def test_a_helper_does_not_bring_back_the_blueprints_limit_that_the_view_replaces(
    make: Make,
) -> None:
    app, limiter = make()
    blueprint = Blueprint("shop", __name__)
    limiter.limit("1/minute")(blueprint)

    @limiter.limit("9/minute", override_defaults=False)
    async def helper() -> None: ...

    @blueprint.get("/")
    @limiter.limit("3/minute")
    async def index() -> str:
        await helper()
        return "ok"

    app.register_blueprint(blueprint)
    assert await ask(app, "/", 4) == [200, 200, 200, 429]


async def test_a_default_stays_where_the_limit_that_would_replace_it_exempts_the_request(
    make: Make,
) -> None:
    app, limiter = make(default_limits=["2/minute"])

    @limiter.limit("9/minute", exempt_when=lambda: True)
    @limiter.limit("8/minute", override_defaults=False)
    async def helper() -> None: ...

    @app.get("/")
    async def index() -> str:
        await helper()
        return "ok"

    assert await ask(app, "/", 3) == [200, 200, 429]


@pytest.mark.parametrize("by", ["a limit", "a meta limit"])
async def test_a_default_stays_also_where_another_limit_refuses_the_request(
    make: Make, by: str
) -> None:
    app, limiter = make(default_limits=["3/minute"])
    exempting = limiter.limit(
        "1/minute",
        exempt_when=lambda: "exempt" in request.args,
        meta_limits=["1/day"] if by == "a meta limit" else None,
    )

    @exempting
    async def helper() -> None: ...

    if by == "a limit":
        helper = limiter.limit("1/minute", override_defaults=False, scope="other")(helper)

    @app.get("/")
    async def index() -> str:
        if "help" in request.args:
            await helper()
        return "ok"

    helped = [200, 429] if by == "a meta limit" else [200]
    assert await ask(app, "/?help=1", len(helped)) == helped  # the defaults are given back
    assert await ask(app, "/?help=1&exempt=1", 2) == [429, 429]
    assert await ask(app, "/", 2) == [200, 429]
