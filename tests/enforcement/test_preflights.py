"""A CORS preflight that is answered without its view is not charged, unless the app wants it."""

from collections.abc import Callable
from typing import Any

import pytest
from quart import Blueprint, Quart, request
from quart.views import MethodView

from quart_ratelimit import Limiter, rate_limit

from ..support.apps import Make, ask, clock, make, view
from ..support.cors import route_cors

__all__ = ["clock", "make"]  # fixtures

Declare = Callable[[Quart, Limiter], None]


async def preflights(app: Quart, times: int = 1, path: str = "/") -> list[int]:
    fields = {"Origin": "https://shop.example", "Access_Control_Request_Method": "GET"}
    return await ask(app, path, times, method="OPTIONS", **fields)


def plain(app: Quart, limiter: Limiter) -> None:
    view(app, "/")


def in_blueprint(app: Quart, limiter: Limiter) -> None:
    blueprint = Blueprint("shop", __name__)
    view(blueprint, "/")
    limiter.limit("1/minute")(blueprint)
    app.register_blueprint(blueprint)


def of_class(app: Quart, limiter: Limiter) -> None:
    class Index(MethodView):
        async def get(self) -> str:
            return ""

    app.add_url_rule("/", view_func=Index.as_view("index"))


def cors_above(app: Quart, limiter: Limiter) -> None:
    view(app, "/", route_cors(), limiter.limit("1/minute"))


def cors_below(app: Quart, limiter: Limiter) -> None:
    view(app, "/", limiter.limit("1/minute"), route_cors())


def cors_and_snippet(app: Quart, limiter: Limiter) -> None:
    view(app, "/", rate_limit("1/minute"), route_cors())


def cors_alone(app: Quart, limiter: Limiter) -> None:
    view(app, "/", route_cors())


FREE: list[Declare] = [
    plain, in_blueprint, of_class, cors_above, cors_below, cors_and_snippet, cors_alone
]  # fmt: skip


@pytest.mark.parametrize("declare", FREE)
@pytest.mark.parametrize("general", ["default_limits", "application_limits", "identified"])
async def test_a_preflight_is_not_charged(make: Make, general: str, declare: Declare) -> None:
    limits: dict[str, Any] = {general: ["1/minute"]}
    if general == "identified":
        limits = {"default_limits": ["1/minute"], "request_identifier": lambda: "all"}
    app, limiter = make(**limits)
    declare(app, limiter)
    assert await preflights(app, 4) == [200] * 4
    assert await ask(app, "/", 2) == [200, 429]
    assert await preflights(app, 2) == [200] * 2  # nor refused


@pytest.mark.parametrize("declare", [plain, of_class, cors_below, cors_alone])
async def test_a_preflight_is_charged_if_the_app_wants_it(make: Make, declare: Declare) -> None:
    app, limiter = make(default_limits=["1/minute"], limit_preflights=True)
    declare(app, limiter)
    assert await preflights(app, 2) == [200, 429]


def declared(app: Quart, limiter: Limiter) -> None:
    view(app, "/", methods=["GET", "OPTIONS"])


def handled(app: Quart, limiter: Limiter) -> None:
    view(app, "/", methods=["GET", "OPTIONS"], provide_automatic_options=False)


def with_own_limit(app: Quart, limiter: Limiter) -> None:
    view(app, "/", limiter.limit("1/minute"), methods=["GET", "OPTIONS"])


def by_method(app: Quart, limiter: Limiter) -> None:
    class Index(MethodView):
        async def options(self) -> str:
            return ""

    app.add_url_rule("/", view_func=Index.as_view("index"))


def cors_that_calls_the_view(app: Quart, limiter: Limiter) -> None:
    decorator = route_cors(provide_automatic_options=False)
    view(app, "/", decorator, methods=["GET", "OPTIONS"])


def second_rule(app: Quart, limiter: Limiter) -> None:
    index = view(app, "/automatic", name="index")
    app.add_url_rule("/", endpoint="index", view_func=index, methods=["GET", "OPTIONS"])


CHARGED: list[Declare] = [
    declared, handled, with_own_limit, by_method, cors_that_calls_the_view, second_rule
]  # fmt: skip


@pytest.mark.parametrize("declare", CHARGED)
async def test_a_view_that_handles_options_itself_is_not_called_for_free(
    make: Make, declare: Declare
) -> None:
    app, limiter = make(default_limits=["1/minute"])
    declare(app, limiter)
    if declare is second_rule:
        assert await preflights(app, 3, "/automatic") == [200] * 3
    assert await preflights(app, 3) == [200, 429, 429]


async def test_options_without_the_field_are_charged(make: Make) -> None:
    app, _ = make(default_limits=["1/minute"])
    view(app, "/")
    assert await ask(app, "/", 2, method="OPTIONS", Origin="https://shop.example") == [200, 429]


async def test_the_field_frees_no_other_method(make: Make) -> None:
    app, _ = make(default_limits=["1/minute"])
    view(app, "/")
    asked = {"Access_Control_Request_Method": "GET", "Origin": "https://shop.example"}
    assert await ask(app, "/", 2, **asked) == [200, 429]


async def test_a_preflight_without_a_route_is_charged_as_other_such_requests(make: Make) -> None:
    app, _ = make(default_limits=["1/minute"], limit_unmatched=True)
    assert await preflights(app, 2, "/nowhere") == [404, 429]


async def test_who_is_denied_is_denied_a_preflight_too(make: Make) -> None:
    app, limiter = make(default_limits=["1/minute"])
    view(app, "/")
    limiter.deny(lambda: request.headers.get("Origin") is not None)
    assert await preflights(app) == [403]


async def test_the_shield_lets_preflights_through(make: Make) -> None:
    app, limiter = make(default_limits=["1/minute"])
    view(app, "/")
    limiter.shield(app)
    assert set(await ask(app, "/", 40, method="OPTIONS")) == {200, 429}
    assert await preflights(app, 3) == [200] * 3
