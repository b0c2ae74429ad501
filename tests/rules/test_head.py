"""HEAD runs the view of GET, so a limit on GET counts both."""

from typing import Any

import pytest

from ..support.apps import Make, ask, clock, make, view

__all__ = ["clock", "make"]  # fixtures


@pytest.mark.parametrize(
    "given",
    [{"methods": ["GET"]}, {"per_method": True}, {"methods": ["get"], "per_method": True}],
)
async def test_a_limit_on_get_covers_head_in_one_counter(make: Make, given: dict[str, Any]) -> None:
    app, limiter = make()
    view(app, "/", limiter.limit("2/minute", **given))
    assert await ask(app, "/", method="HEAD") == [200]
    assert await ask(app, "/") == [200]
    assert await ask(app, "/", method="HEAD") == [429]
    assert await ask(app, "/") == [429]


async def test_a_limit_on_head_alone_covers_head_alone(make: Make) -> None:
    app, limiter = make()
    view(app, "/", limiter.limit("1/minute", methods=["HEAD"]))
    assert await ask(app, "/", 2, method="HEAD") == [200, 429]
    assert await ask(app, "/", 2) == [200, 200]
