"""For the tests of limited apps: no Redis, no sleep, and time that the test turns.

Plain context managers and functions, for pytest and unittest. `quart_ratelimit.pytest` has a
fixture of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeVar

from werkzeug.sansio.response import Response

from .direct.turns import Turns
from .errors import ConfigurationError
from .extension.binding import bindings_of
from .extension.limiter import Limiter
from .quotas import Quota
from .rules.notation import quotas_of
from .stores import MemoryStore, RedisStore

if TYPE_CHECKING:
    from fakeredis import FakeServer

R = TypeVar("R", bound=Response)

#: Seconds that a hit may take in fakeredis, which is a program in Python.
_DEADLINE = 10.0


class Clock:
    """A time that stands still until it is turned: ``MemoryStore(now_ms=Clock())``.

    It starts at the full hour, so that windows by the clock are whole.
    """

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        #: Milliseconds since the epoch.
        self.now_ms: int = now_ms

    def __call__(self) -> int:
        """The time, in milliseconds since the epoch."""
        return self.now_ms

    def forward(self, seconds: float) -> None:
        """Let so much time pass."""
        self.now_ms += round(seconds * 1000)

    async def sleep(self, seconds: float) -> None:
        """Let so much time pass, and others take their turn."""
        self.forward(seconds)
        await asyncio.sleep(0)


@contextmanager
def in_memory(limiter: Limiter, clock: Clock | None = None) -> Iterator[Clock]:
    """Count in memory, from nothing, by the clock that this gives; whatever the limiter's store.

    What waits for a turn, as `Limiter.wait` does, turns the clock instead. Enter it before the app
    starts serving, or that opens the limiter's own store. ``clock``: one that several limiters
    share (default: a new one).
    """
    clock = clock or Clock()
    turns = Turns(sleep=clock.sleep, now=lambda: clock() / 1000)
    with bindings_of(limiter).counting_in(MemoryStore(now_ms=clock), turns):
        yield clock


@contextmanager
def in_fakeredis(limiter: Limiter) -> Iterator[FakeServer]:
    """Count in a Redis that is played by fakeredis, with the scripts and keys of the real one.

    Its time is the machine's. Needs ``fakeredis[lua]``; raises `ConfigurationError` without it.
    """
    if find_spec("fakeredis") is None or find_spec("lupa") is None:
        raise ConfigurationError("in_fakeredis needs: pip install 'fakeredis[lua]'")
    from fakeredis import FakeAsyncRedis, FakeServer  # noqa: PLC0415

    server = FakeServer()
    store = RedisStore(lambda: FakeAsyncRedis(server=server), deadline=_DEADLINE)
    with bindings_of(limiter).counting_in(store):
        yield server


async def assert_limited(
    request: Callable[[], Awaitable[R]], limit: str | Quota, clock: Clock | None = None
) -> R:
    """Fail unless this request is allowed as often as the limit says, and then gets 429.

    With the clock of `in_memory`, also unless it is allowed again after ``Retry-After``. Returns
    the 429, for more to be asserted of it. Raises `AssertionError`, and `InvalidLimit` for a limit
    that cannot be read.
    """
    amount = min(quota.capacity for quota in quotas_of(limit))
    for number in range(1, amount + 1):
        if (await request()).status_code == 429:
            raise AssertionError(f"{limit}: request {number} of {amount} is refused")
    refused = await request()
    if refused.status_code != 429:
        raise AssertionError(f"{limit}: request {amount + 1} gets {refused.status_code}, not 429")
    if clock is not None:
        wait = refused.headers.get("Retry-After", type=int)
        if wait is None:
            raise AssertionError(f"{limit}: the 429 has no Retry-After in seconds")
        clock.forward(wait)
        if (await request()).status_code == 429:
            raise AssertionError(f"{limit}: refused again after the {wait} s of its Retry-After")
    return refused
