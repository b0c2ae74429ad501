"""Limits on error handlers apply, in one counter for all requests that come to a handler."""

from collections.abc import Callable
from typing import Any

import pytest
from quart import Blueprint, Quart, abort

from quart_ratelimit import ConfigurationError, Limiter, RateLimitExceeded, rate_limit

from ..support.apps import Make, ask, clock, make, view

__all__ = ["clock", "make"]  # fixtures

Declare = Callable[[Limiter, Any], Any]


def by_limit(limiter: Limiter, handler: Any) -> Any:
    return limiter.limit("2/minute")(handler)


def by_dynamic_limit(limiter: Limiter, handler: Any) -> Any:
    return limiter.limit(lambda: "2/minute", key_func=lambda: "all")(handler)


def by_shared_limit(limiter: Limiter, handler: Any) -> Any:
    return limiter.shared_limit("2/minute", "errors")(handler)


def by_snippet(limiter: Limiter, handler: Any) -> Any:
    return rate_limit("2/minute")(handler)


def by_block(limiter: Limiter, handler: Any) -> Any:
    async def limited(error: Exception) -> Any:
        async with limiter.limit("2/minute"):
            return await handler(error)

    return limited


def by_helper(limiter: Limiter, handler: Any) -> Any:
    @limiter.limit("2/minute")
    async def helper() -> None:
        """Does what is limited."""

    async def calling(error: Exception) -> Any:
        await helper()
        return await handler(error)

    return calling


def by_reservation(limiter: Limiter, handler: Any) -> Any:
    async def reserving(error: Exception) -> Any:
        async with limiter.reserve("2/minute", cost=1):
            return await handler(error)

    return reserving


DECLARED: list[Declare] = [
    by_limit, by_dynamic_limit, by_shared_limit, by_snippet, by_block, by_helper, by_reservation
]  # fmt: skip


async def not_found(error: Exception) -> Any:
    return "nothing here", getattr(error, "code", 404)


class Broken(Exception):
    """An error of the app's own."""


def add_views(app: Any) -> None:
    @app.get("/matched/<number>")
    async def matched(number: str) -> str:
        abort(404)

    @app.get("/broken")
    async def broken() -> str:
        raise Broken

    @app.get("/fine")
    async def fine() -> str:
        return "fine"


@pytest.mark.parametrize("declare", DECLARED)
@pytest.mark.parametrize("where", ["app", "blueprint for the app"])
async def test_a_handler_of_404_is_limited(make: Make, declare: Declare, where: str) -> None:
    app, limiter = make()
    add_views(app)
    handler = declare(limiter, not_found)
    if where == "app":
        app.register_error_handler(404, handler)
    else:
        blueprint = Blueprint("errors", __name__)
        blueprint.app_errorhandler(404)(handler)
        app.register_blueprint(blueprint)
    assert await ask(app, "/nowhere", 1) == [404]
    assert await ask(app, "/elsewhere", 2) == [404, 429]
    assert await ask(app, "/matched/1", 1) == [429]
    assert await ask(app, "/static/nothing", 1) == [429]
    assert await ask(app, "/fine", 3) == [200] * 3
    who = "bob" if declare is not by_dynamic_limit else "ann"
    assert await ask(app, "/nowhere", 1, who=who) == [404 if who == "bob" else 429]


@pytest.mark.parametrize("declare", DECLARED)
@pytest.mark.parametrize("handles", [405, 500, Broken, Exception])
async def test_a_handler_of_any_code_or_class_is_limited(
    make: Make, declare: Declare, handles: Any
) -> None:
    app, limiter = make()
    app.testing = False
    add_views(app)
    app.register_error_handler(handles, declare(limiter, not_found))
    path, status = "/broken", 404
    if handles == 405:
        path, status = "/fine", 405
    elif handles == 500:
        status = 500
    method = "POST" if handles == 405 else "GET"
    assert await ask(app, path, 4, method=method) == [status, status, 429, 429]


@pytest.mark.parametrize("declare", DECLARED)
async def test_a_blueprints_handler_is_limited(make: Make, declare: Declare) -> None:
    app, limiter = make(default_limits=["9/minute"])
    blueprint = Blueprint("shop", __name__, url_prefix="/shop")
    add_views(blueprint)
    blueprint.register_error_handler(404, declare(limiter, not_found))
    app.register_blueprint(blueprint)
    add_views(app)
    assert await ask(app, "/shop/matched/1", 3) == [404, 404, 429]
    assert await ask(app, "/matched/1", 3) == [404] * 3


async def test_a_refusal_of_a_handler_goes_to_the_handler_of_refusals(make: Make) -> None:
    app, limiter = make()

    @app.errorhandler(429)
    async def slow(error: RateLimitExceeded) -> Any:
        return {"wait": error.retry_after}, 429

    app.register_error_handler(404, limiter.limit("1/minute")(not_found))
    await ask(app, "/nowhere")
    answer = await app.test_client().get("/nowhere", scope_base={"client": ("ann", 1)})
    assert (await answer.get_json())["wait"] == int(answer.headers["Retry-After"])
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("handles", [429, Exception, RateLimitExceeded])
async def test_a_limited_handler_of_refusals_ends(make: Make, handles: Any) -> None:
    app, limiter = make()
    view(app, "/", limiter.limit("1/minute"))

    @app.errorhandler(handles)
    @limiter.limit("1/minute")
    async def slow(error: Exception) -> Any:
        return "own", 429

    client = app.test_client()
    answers = [await client.get("/") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 429, 429, 429]
    own = [await answer.get_data(as_text=True) == "own" for answer in answers]
    assert own == [False, True, False, False]
    assert "Retry-After" in answers[-1].headers


async def test_a_handlers_limit_leaves_what_its_view_is_charged(make: Make) -> None:
    app, limiter = make(default_limits=["3/minute"])
    add_views(app)
    app.register_error_handler(404, limiter.limit("9/minute")(not_found))
    assert await ask(app, "/matched/1", 5) == [404, 404, 404, 429, 429]


async def test_a_handler_and_a_view_with_one_quota_count_apart(make: Make) -> None:
    app, limiter = make()

    @app.get("/")
    @limiter.limit("4/minute")
    async def index() -> str:
        abort(404)

    app.register_error_handler(404, limiter.limit("4/minute")(not_found))
    assert await ask(app, "/", 5) == [404] * 4 + [429]


async def test_a_view_that_no_error_handler_answers_is_limited_by_its_own_limits(
    make: Make,
) -> None:
    app, limiter = make(default_limits=["1/minute"])
    add_views(app)
    app.register_error_handler(404, limiter.limit("9/minute")(not_found))
    assert await ask(app, "/fine", 2) == [200, 429]
    assert await ask(app, "/nowhere", 3) == [404] * 3


async def test_a_client_invents_no_method_to_have_another_counter(make: Make) -> None:
    app, limiter = make()
    limit = limiter.limit("1/minute", per_method=True)
    app.register_error_handler(404, limit(not_found))
    told = [(await ask(app, "/nowhere", 1, method=method))[0] for method in ("AAA", "AAB", "GET")]
    assert told == [404, 429, 404]


async def test_a_handlers_response_says_what_remains(make: Make) -> None:
    app, limiter = make(header_fields="x-ratelimit")
    app.register_error_handler(404, limiter.limit("5/minute")(not_found))
    answer = await app.test_client().get("/nowhere")
    assert answer.headers["X-RateLimit-Remaining"] == "4"


async def test_a_handlers_charge_may_be_given_back(make: Make) -> None:
    app, limiter = make()
    deduct = limiter.limit("1/minute", deduct_when=lambda response: response.status_code == 405)
    app.register_error_handler(404, deduct(not_found))
    app.register_error_handler(405, deduct(not_found))
    view(app, "/")
    assert await ask(app, "/nowhere", 3) == [404] * 3


async def test_breaches_of_a_handler_count_in_limits_on_any_breach(make: Make) -> None:
    app, limiter = make(meta_limits=["2/hour"])
    view(app, "/")
    app.register_error_handler(404, limiter.limit("1/second")(not_found))
    assert await ask(app, "/nowhere", 3) == [404, 429, 429]
    assert await ask(app, "/", 1) == [429]


async def test_who_is_filtered_is_not_limited_in_a_handler(make: Make) -> None:
    app, limiter = make()
    limiter.request_filter(lambda: True)
    app.register_error_handler(404, limiter.limit("1/minute")(not_found))
    assert await ask(app, "/nowhere", 3) == [404] * 3


async def test_a_helper_that_runs_before_each_request_is_limited_without_a_route(
    make: Make,
) -> None:
    app, limiter = make()

    @limiter.limit("2/minute")
    async def helper() -> None:
        """Does what is limited."""

    app.before_request(helper)
    assert await ask(app, "/nowhere", 3) == [404, 404, 429]


async def test_a_sync_handler_is_limited(make: Make) -> None:
    app, limiter = make()

    @app.errorhandler(404)
    @limiter.limit("1/minute")
    def sync_handler(error: Exception) -> Any:
        return "", 404

    assert await ask(app, "/nowhere", 2) == [404, 429]


@pytest.mark.parametrize("handles", [404, Broken])
async def test_a_limit_above_its_errorhandler_is_an_error(make: Make, handles: Any) -> None:
    app, limiter = make()
    limiter.limit("1/minute")(app.errorhandler(handles)(not_found_again))
    with pytest.raises(ConfigurationError, match="errorhandler"):
        await app.startup()


async def not_found_again(error: Exception) -> Any:
    return "", 404


async def test_two_limiters_limit_one_handler(make: Make) -> None:
    app = Quart(__name__)
    first, second = Limiter(app=app), Limiter(app=app)
    limited = first.limit("3/minute")(second.limit("2/minute")(not_found))
    app.register_error_handler(404, limited)
    assert await ask(app, "/nowhere", 4, who="192.0.2.1") == [404, 404, 429, 429]


async def test_a_disabled_limiter_limits_no_handler(make: Make) -> None:
    app, limiter = make()
    app.register_error_handler(404, limiter.limit("1/minute")(not_found))
    with limiter.paused():
        assert await ask(app, "/nowhere", 3) == [404] * 3
