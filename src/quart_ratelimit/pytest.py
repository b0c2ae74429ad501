"""A fixture for the tests of limited apps: ``pytest_plugins = ["quart_ratelimit.pytest"]``.

It holds no assertion, so pytest need not rewrite it: PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from .extension.limiter import Limiter
from .testing import Clock, in_memory

#: What the fixture `count_in_memory` is.
CountInMemory = Callable[[Limiter], Clock]


@pytest.fixture
def count_in_memory() -> Iterator[CountInMemory]:
    """Let a limiter count in memory, from nothing, until the test ends, by the clock it returns.

    ``clock = count_in_memory(limiter)``, in a test or a fixture, sync or async. All limiters of one
    test share one clock. See `quart_ratelimit.testing.in_memory`.
    """
    clock = Clock()
    with ExitStack() as stack:

        def count(limiter: Limiter) -> Clock:
            return stack.enter_context(in_memory(limiter, clock))

        yield count
