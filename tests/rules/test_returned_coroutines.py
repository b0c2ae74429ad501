"""A sync function that returns a coroutine is an error, wherever the function decides."""

import asyncio
import functools
import logging
from collections.abc import Callable
from typing import Any
from unittest.mock import AsyncMock

import pytest
from quart import Quart, make_response, request, websocket

from quart_ratelimit import ApplicationLimit, ConfigurationError, Limit, Limiter, rate_limit
from quart_ratelimit.contrib.dashboard import dashboard
from quart_ratelimit.stores import MemoryStore

from ..support.apps import Make, ask, body, clock, make, view
from ..support.quart_client import app_raises

__all__ = ["clock", "make"]  # fixtures


async def later(*_: Any) -> Any:
    """None, as Quart's ``get_json`` for a request without JSON."""


def lacking(*_: Any) -> Any:
    """It lacks its await."""
    return later()


class Lacking:
    """So does this object."""

    def __call__(self, *_: Any) -> Any:
        return later()

    def method(self, *_: Any) -> Any:
        return later()


#: Where a limit takes a function.
OF_A_LIMIT: dict[str, Callable[[Limiter, Any], Any]] = {
    "limit": lambda own, function: own.limit(function),
    "shared_limit": lambda own, function: own.shared_limit(function, "all"),
    "key_func": lambda own, function: own.limit("1/minute", key_func=function),
    "cost": lambda own, function: own.limit("1/minute", cost=function),
    "scope": lambda own, function: own.limit("1/minute", scope=function),
    "shared scope": lambda own, function: own.shared_limit("1/minute", function),
    "exempt_when": lambda own, function: own.limit("1/minute", exempt_when=function),
    "deduct_when": lambda own, function: own.limit("1/minute", deduct_when=function),
    "meta_limits": lambda own, function: own.limit("1/minute", meta_limits=[function]),
    "rate_limit's key": lambda own, function: rate_limit("1/minute", key=function),
    "in_flight's key_func": lambda own, function: own.in_flight(1, key_func=function),
}
#: Where a limiter takes one.
OF_A_LIMITER: dict[str, Callable[[Any], dict[str, Any]]] = {
    "key_func": lambda function: {"key_func": function, "default_limits": ["1/minute"]},
    "default_limits": lambda function: {"default_limits": [function]},
    "a Limit": lambda function: {"default_limits": [Limit("1/minute", exempt_when=function)]},
    "application_limits": lambda function: {"application_limits": [function]},
    "an ApplicationLimit": lambda function: {
        "application_limits": [ApplicationLimit("1/minute", cost=function)]
    },
    "meta_limits": lambda function: {"default_limits": ["1/minute"], "meta_limits": [function]},
    "default_limits_cost": lambda function: {
        "default_limits": ["1/minute"], "default_limits_cost": function,
    },
    "default_limits_exempt_when": lambda function: {
        "default_limits": ["1/minute"], "default_limits_exempt_when": function,
    },
    "default_limits_deduct_when": lambda function: {
        "default_limits": ["1/minute"], "default_limits_deduct_when": function,
    },
    "application_limits_exempt_when": lambda function: {
        "application_limits": ["1/minute"], "application_limits_exempt_when": function,
    },
    "request_identifier": lambda function: {
        "default_limits": ["1/minute"], "request_identifier": function,
    },
}  # fmt: skip
REGISTERED = ["request_filter", "deny", "guard"]
FORMS: list[Any] = [lacking, Lacking(), Lacking().method, functools.partial(lacking)]
MESSAGE = r"[Ll]acking.* is sync and returns a coroutine \(later\) without await; write async def"

forms = pytest.mark.parametrize("form", FORMS, ids=["function", "object", "method", "partial"])


async def is_named(app: Quart) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = True
    with app_raises(ConfigurationError, MESSAGE):
        await ask(app, "/")


@forms
@pytest.mark.parametrize("argument", OF_A_LIMIT)
async def test_it_is_an_error_in_each_argument_of_a_limit(
    make: Make, argument: str, form: Any
) -> None:
    app, limiter = make()
    view(app, "/", OF_A_LIMIT[argument](limiter, form))
    await is_named(app)


@forms
@pytest.mark.parametrize("argument", OF_A_LIMITER)
async def test_it_is_an_error_in_each_argument_of_a_limiter(
    make: Make, argument: str, form: Any
) -> None:
    app, _ = make(**OF_A_LIMITER[argument](form))
    view(app, "/")
    await is_named(app)


@forms
@pytest.mark.parametrize("where", REGISTERED)
async def test_it_is_an_error_in_a_filter_a_denial_and_a_guard(
    make: Make, where: str, form: Any
) -> None:
    app, limiter = make(default_limits=["1/minute"])
    view(app, "/")
    if where == "guard":
        app.register_blueprint(dashboard(limiter, guard=form, url_prefix="/"))
    else:
        getattr(limiter, where)(form)
    app.config["PROPAGATE_EXCEPTIONS"] = True
    with app_raises(ConfigurationError, MESSAGE):
        await ask(app, "/state" if where == "guard" else "/")


@forms
async def test_it_is_an_error_in_the_functions_of_websocket_messages(make: Make, form: Any) -> None:
    for given in ({"cost": form}, {"key_func": form}):
        app, limiter = make()
        app.config["PROPAGATE_EXCEPTIONS"] = True

        @app.websocket("/")
        @limiter.messages("1/minute", **given)
        async def echo() -> None:
            await websocket.send(await websocket.receive())

        with app_raises(ConfigurationError, MESSAGE):
            async with app.test_client().websocket("/") as connection:
                await connection.send("a")
                for _ in range(100):  # in Quart 0.23 a client that leaves ends the view
                    await asyncio.sleep(0)


@forms
async def test_it_is_an_error_of_whom_code_asks_itself(form: Any) -> None:
    app = Quart(__name__)
    limiter = Limiter(app=app, store=MemoryStore())
    async with app.test_request_context("/"):
        with pytest.raises(ConfigurationError, match=MESSAGE):
            await limiter.identify(form)


def wraps(function: Any) -> Any:
    @functools.wraps(function)
    def inner(*args: Any) -> Any:
        return function(*args)

    return inner


class Later:
    async def __call__(self) -> str:
        return "1/minute"

    async def method(self) -> str:
        return "1/minute"


async def plan() -> str:
    return "1/minute"


ASYNC: dict[str, Any] = {
    "function": plan,
    "wrapped": wraps(plan),
    "object": Later(),
    "method": Later().method,
    "partial": functools.partial(plan),
    "mock": AsyncMock(side_effect=plan),
}


@pytest.mark.parametrize("function", ASYNC.values(), ids=ASYNC)
async def test_a_function_that_is_async_inside_is_awaited(make: Make, function: Any) -> None:
    app, limiter = make()
    view(app, "/", limiter.limit(function))
    assert await ask(app, "/", 2) == [200, 429]


async def test_what_is_sent_to_the_client_may_be_a_coroutine(make: Make) -> None:
    app, limiter = make()
    limit = limiter.limit("1/minute", on_breach=lambda _: make_response("slowly", 429))
    view(app, "/", limit)
    assert await ask(app, "/", 2) == [200, 429]
    assert await body(app, "/") == "slowly"


@pytest.mark.parametrize("cost", [None, "", "2", 1.5, -1, [1]])
async def test_a_cost_functions_wrong_answer_is_an_error_that_names_it(
    make: Make, cost: Any
) -> None:
    def units() -> Any:
        return cost

    app, limiter = make()
    app.config["PROPAGATE_EXCEPTIONS"] = True
    view(app, "/", limiter.limit("1/minute", cost=units))
    with app_raises(ConfigurationError, r"units returned cost=.* is not a whole number"):
        await ask(app, "/")


@pytest.mark.parametrize("cost", [None, "", "2", 1.5, -1, [1]])
async def test_it_is_charged_as_1_where_errors_are_swallowed(make: Make, cost: Any) -> None:
    app, limiter = make(swallow_errors=True)
    view(app, "/", limiter.limit("2/minute", cost=lambda: cost))
    assert await ask(app, "/", 3) == [200, 200, 429]


@pytest.mark.parametrize("answer", [None, "", "yes", [], {}, 2, 1.0])
async def test_a_deduct_functions_wrong_answer_is_charged_and_logged_once(
    make: Make, answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def failed(_: Any) -> Any:
        return answer

    failed.__qualname__ = f"{answer!r}-failed"  # each is logged once in the process
    app, limiter = make()
    view(app, "/", limiter.limit("2/minute", deduct_when=failed))
    with caplog.at_level(logging.ERROR, "quart_ratelimit"):
        assert await ask(app, "/", 3) == [200, 200, 429]
    (record,) = caplog.records
    assert "failed returned" in record.getMessage()


@pytest.mark.parametrize(("answer", "third"), [(False, 200), (0, 200), (True, 429), (1, 429)])
async def test_a_deduct_functions_answer_decides(make: Make, answer: Any, third: int) -> None:
    app, limiter = make()
    view(app, "/", limiter.limit("2/minute", deduct_when=lambda _: answer))
    assert await ask(app, "/", 3) == [200, 200, third]


async def test_get_json_that_is_returned_is_found_as_it_is_given(make: Make) -> None:
    _, limiter = make()
    with pytest.raises(ConfigurationError, match=r"uses request\.get_json without await"):
        limiter.limit(lambda: request.get_json(silent=True))(later)  # type: ignore[arg-type]
