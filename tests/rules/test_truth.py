"""A text such as "false" switches no limit off: functions that decide answer True or False."""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from quart import Quart

from quart_ratelimit import Limiter
from quart_ratelimit.quart_rate_limiter import RateLimiter, rate_limit
from quart_ratelimit.stores import MemoryStore

from ..support.apps import ask

#: Adds a view "/" that is limited to one request, unless this function says otherwise.
Build = Callable[[Quart, Any], object]


def new(app: Quart, **settings: Any) -> Limiter:
    return Limiter(lambda: "all", app=app, store=MemoryStore(), **settings)


async def page() -> str:
    return "page"


def by_limit(app: Quart, function: Any) -> None:
    app.get("/")(new(app).limit("1/minute", exempt_when=function)(page))


def by_defaults(app: Quart, function: Any) -> None:
    new(app, default_limits=["1/minute"], default_limits_exempt_when=function)
    app.get("/")(page)


def by_application(app: Quart, function: Any) -> None:
    new(app, application_limits=["1/minute"], application_limits_exempt_when=function)
    app.get("/")(page)


def by_filter(app: Quart, function: Any) -> None:
    limiter = new(app)
    limiter.request_filter(function)
    app.get("/")(limiter.limit("1/minute")(page))


def by_shadow(app: Quart, function: Any) -> None:
    app.get("/")(new(app).limit("1/minute", shadow=function)(page))


def by_limiters_shadow(app: Quart, function: Any) -> None:
    app.get("/")(new(app, shadow=function).limit("1/minute")(page))


def by_skip_function(app: Quart, function: Any) -> None:
    RateLimiter(app, key_function=lambda: "all")

    @app.get("/")
    @rate_limit(1, timedelta(minutes=1), skip_function=function)
    async def own_page() -> str:
        return "page"


WAYS: dict[str, Build] = {
    way.__name__: way
    for way in (
        by_limit,
        by_defaults,
        by_application,
        by_filter,
        by_shadow,
        by_limiters_shadow,
        by_skip_function,
    )
}


def answering(answer: Any, name: str, *, is_async: bool) -> Any:
    def now() -> Any:
        return answer

    async def later() -> Any:
        return answer

    function = later if is_async else now
    function.__qualname__ = f"{name} {answer!r} {is_async}"  # each is logged once in the process
    return function


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("answer", ["false", "no", "0", "true", "", 2, 1.0, [1], {}, b"no", page])
@pytest.mark.parametrize("is_async", [False, True])
async def test_an_answer_that_is_no_truth_value_limits_and_is_logged_once(
    way: str, answer: Any, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app = Quart(__name__)
    WAYS[way](app, answering(answer, way, is_async=is_async))
    with caplog.at_level(logging.ERROR, "quart_ratelimit"):
        assert await ask(app, "/", 3) == [200, 429, 429]
    (record,) = caplog.records
    assert f"{answer!r} {is_async} returned {type(answer).__name__}" in record.getMessage()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("answer", "second"), [(True, 200), (1, 200), (False, 429), (0, 429), (None, 429)]
)
async def test_a_truth_value_decides(
    way: str, answer: Any, second: int, caplog: pytest.LogCaptureFixture
) -> None:
    app = Quart(__name__)
    WAYS[way](app, answering(answer, way, is_async=False))
    with caplog.at_level(logging.ERROR, "quart_ratelimit"):
        assert await ask(app, "/", 2) == [200, second]
    assert not caplog.records
