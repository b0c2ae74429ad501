"""With ``swallow_errors`` a function of the app that fails ends no request, and lifts no limit."""

import logging
from collections.abc import Callable

import pytest

from quart_ratelimit import MetaLimit

from ..support.apps import Make, ask, view
from ..support.apps import clock as clock  # noqa: PLC0414  # a fixture
from ..support.apps import make as make  # noqa: PLC0414  # a fixture


def broken() -> None:
    raise LookupError("the app's own database is away")


OPTIONS: dict[str, dict[str, object]] = {
    "error_message": {"error_message": broken},
    "cost of a meta limit": {"meta_limits": [MetaLimit("5/hour", cost=broken)]},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
async def test_a_refusal_stays_one_and_the_error_is_logged(
    make: Make, caplog: pytest.LogCaptureFixture, options: dict[str, Callable[[], None]]
) -> None:
    app, limiter = make(swallow_errors=True)
    view(app, "/", limiter.limit("1/minute", **options))
    with caplog.at_level(logging.ERROR):
        assert await ask(app, "/", 3) == [200, 429, 429]
    assert {"LookupError"} <= {
        record.exc_info[0].__name__
        for record in caplog.records
        if record.exc_info is not None and record.exc_info[0] is not None
    }


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
async def test_without_it_the_error_is_the_apps(
    make: Make, options: dict[str, Callable[[], None]]
) -> None:
    app, limiter = make()
    view(app, "/", limiter.limit("1/minute", **options))
    assert await ask(app, "/", 2) == [200, 500]
