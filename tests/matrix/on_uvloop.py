"""A plugin of pytest that runs each test on uvloop: ``pytest -p tests.matrix.on_uvloop``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import uvloop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], uvloop.Loop]]:
    """All loops of the tests are uvloop's."""
    return {"uvloop": uvloop.new_event_loop}
