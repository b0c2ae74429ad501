"""Circuit breakers: stop the calls to a node that fails, except for one probe at a time."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Hashable
from typing import TypeVar

from ..clock import Clock, monotonic_ms
from ..errors import StoreAway, StoreError, StoreOverloaded, StoreTimeout

A = TypeVar("A")
R = TypeVar("R")


class Breaker:
    """Stops calling a store that fails: open after 5 failures in a row, then one probe at a time.

    - ``failures``: how many failures in a row open it (default 5).
    - ``first_ms``, ``longest_ms``: the first and the longest pause between probes, in ms (default
      250 and 1,000).
    - ``now_ms``: returns the time, in ms.

    Calls that are under way together and fail count as one failure: they share an exchange, or
    the cause of their failure. After a call that took too long, only one call at a time calls the
    store until one succeeds, so that few callers wait for a store that hangs.
    """

    def __init__(
        self,
        *,
        failures: int = 5,
        first_ms: int = 250,
        longest_ms: int = 1000,
        now_ms: Clock = monotonic_ms,
    ) -> None:
        self._limit = failures
        self._first_ms = first_ms
        self._longest_ms = longest_ms
        self._now_ms = now_ms
        #: How many failures in a row there were; nearly always 0.
        self.failures: int = 0
        #: Changes with each failure that is counted. A call reads it before and passes it to
        #: `failed`.
        self.turn: int = 0
        #: Whether the last failure was a call that took too long.
        self._hangs = False
        #: Whether a call is under way that began after a failure.
        self.is_tried: bool = False
        self._pause_ms = first_ms
        self._probe_at_ms = 0

    def another(self) -> Breaker:
        """A closed breaker with the same settings."""
        return Breaker(
            failures=self._limit,
            first_ms=self._first_ms,
            longest_ms=self._longest_ms,
            now_ms=self._now_ms,
        )

    @property
    def is_open(self) -> bool:
        """Whether the store is taken to be away."""
        return self.failures >= self._limit

    @property
    def wait_ms(self) -> int:
        """Until the store is called again; 0 if it is called now."""
        return max(0, self._probe_at_ms - self._now_ms()) if self.is_open else 0

    def allows(self) -> bool:
        """Whether the next call may reach the store; while open, one call in each pause may."""
        if not self.is_open:
            return not (self._hangs and self.is_tried)
        now = self._now_ms()
        if now < self._probe_at_ms:
            return False
        self._probe_at_ms = now + self._pause_ms
        return True

    def pass_on(self, function: Callable[[A], Awaitable[R]], argument: A) -> Awaitable[R]:
        """What the function returns. Awaiting it raises `StoreAway` if the store is not called.

        The caller reports how the call ended: see `Breakers.failed` and `Breakers.succeeded`.
        """
        return self._try(function, argument) if self.failures else function(argument)

    async def _try(self, function: Callable[[A], Awaitable[R]], argument: A) -> R:
        if not self.allows():
            raise StoreAway(self.wait_ms)
        self.is_tried = True
        try:
            return await function(argument)
        finally:
            self.is_tried = False

    def succeeded(self) -> None:
        """The store decided."""
        self.failures = 0
        self._hangs = False
        self._pause_ms = self._first_ms

    def probe_now(self) -> None:
        """Let the next call reach the store; what fails of earlier calls is no longer counted."""
        self._probe_at_ms = self._now_ms()
        self.turn += 1

    def failed(self, turn: int, error: StoreError) -> None:
        """The store could not decide a call that began when ``turn`` failures were counted."""
        if turn != self.turn:
            return
        self._hangs = isinstance(error, StoreTimeout)
        self.turn += 1
        self.failures += 1
        if not self.is_open:
            return
        if self.failures > self._limit:
            self._pause_ms = min(self._longest_ms, self._pause_ms * 2)
        # Jitter, so that workers do not probe in step.
        pause = self._pause_ms - random.randrange(self._pause_ms // 10 + 1)  # noqa: S311
        self._probe_at_ms = self._now_ms() + pause


class Breakers:
    """One breaker per node of a store; the node None stands for the store as a whole.

    ``first`` is the breaker of the node None, and other nodes' breakers have its settings.
    ``changed`` is called when the first of them opens, with the error, and when the last one
    closes, with None.
    """

    def __init__(
        self, first: Breaker, changed: Callable[[StoreError | None], None] | None = None
    ) -> None:
        #: The breaker of the node None.
        self.first: Breaker = first
        self._nodes: dict[Hashable, Breaker] = {None: first}
        self._open: set[Hashable] = set()
        self._changed = changed

    def is_failing(self, node: Hashable = None) -> bool:
        """Whether the last call of this node failed."""
        return node in self._nodes and self._nodes[node].failures > 0

    def check(self, node: Hashable) -> None:
        """Raise `StoreAway` unless the node may be called; its next probe is not taken by this."""
        breaker = self._nodes.get(node)
        if breaker is not None and breaker.wait_ms:
            raise StoreAway(breaker.wait_ms)

    def probe_now(self, node: Hashable = None) -> None:
        """Let the next call of this node reach it: it is connected again."""
        self._nodes[node].probe_now()

    async def call(self, node: Hashable, function: Callable[[A], Awaitable[R]], argument: A) -> R:
        """What the function returns. Raises `StoreAway` while the node's breaker is open."""
        breaker = self._nodes.get(node)
        if breaker is None:
            breaker = self._nodes[node] = self.first.another()
        turn = breaker.turn
        try:
            result = await breaker.pass_on(function, argument)
        except StoreError as error:
            self.failed(node, turn, error)
            raise
        if breaker.failures:
            self.succeeded(node)
        return result

    def failed(self, node: Hashable, turn: int, error: StoreError) -> None:
        """Count a failure of a call that began in this turn of the node's breaker.

        The error says from now on how long the node is not called (``wait_ms``).
        """
        if isinstance(error, (StoreAway, StoreOverloaded)):
            return  # the node was not called
        breaker = self._nodes[node]
        if error.concerns_key:
            if breaker.failures:
                self.succeeded(node)
            return
        breaker.failed(turn, error)
        error.wait_ms = breaker.wait_ms
        self._note(node, breaker, error)

    def succeeded(self, node: Hashable) -> None:
        """The node decided."""
        breaker = self._nodes[node]
        breaker.succeeded()
        self._note(node, breaker, None)

    def _note(self, node: Hashable, breaker: Breaker, error: StoreError | None) -> None:
        before = bool(self._open)
        (self._open.add if breaker.is_open else self._open.discard)(node)
        if self._changed and bool(self._open) != before:
            self._changed(error)
