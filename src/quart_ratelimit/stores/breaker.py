"""A circuit breaker: stops the calls to a store that fails, but for one probe at a time."""

from __future__ import annotations

import random

from ..clock import Clock, monotonic_ms


class Breaker:
    """Stops asking a store that fails: open after 5 failures in a row, then one probe at a time."""

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
        #: How many calls in a row failed; nearly always 0.
        self.failures = 0
        self._pause_ms = first_ms
        self._probe_at_ms = 0

    @property
    def is_open(self) -> bool:
        """Whether the store is taken to be away."""
        return self.failures >= self._limit

    @property
    def wait_ms(self) -> int:
        """Until the store is asked again; 0 if it is asked now."""
        return max(0, self._probe_at_ms - self._now_ms()) if self.is_open else 0

    def allows(self) -> bool:
        """Whether the next call may ask the store; while open, one call in each pause may."""
        if not self.is_open:
            return True
        now = self._now_ms()
        if now < self._probe_at_ms:
            return False
        self._probe_at_ms = now + self._pause_ms
        return True

    def succeeded(self) -> None:
        """The store decided."""
        self.failures = 0
        self._pause_ms = self._first_ms

    def failed(self) -> None:
        """The store could not decide."""
        self.failures += 1
        if not self.is_open:
            return
        if self.failures > self._limit:
            self._pause_ms = min(self._longest_ms, self._pause_ms * 2)
        # Jitter, so that workers do not probe in step.
        pause = self._pause_ms - random.randrange(self._pause_ms // 10 + 1)  # noqa: S311
        self._probe_at_ms = self._now_ms() + pause
