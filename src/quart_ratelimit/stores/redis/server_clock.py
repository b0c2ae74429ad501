"""A server's time, from what it last said of it. No I/O."""

from __future__ import annotations

from ...clock import monotonic_ms

#: How long what a server said is trusted before it is asked again.
TRUSTED_MS = 1000


class ServerClock:
    """Counts on from the time that a server told, so that workers with skewed clocks agree."""

    def __init__(self) -> None:
        self._offset_ms = 0
        self._told_ms = -TRUSTED_MS

    def now_ms(self) -> int:
        """The server's time."""
        return monotonic_ms() + self._offset_ms

    def is_stale(self) -> bool:
        """Whether the server is to be asked again."""
        return not 0 <= monotonic_ms() - self._told_ms < TRUSTED_MS

    def hold(self) -> None:
        """While one asks, let the others go on with what is known, if it is."""
        if self._offset_ms:
            self._told_ms = monotonic_ms()

    def set(self, now_ms: int) -> None:
        """Go on from the time that it is at the server now."""
        self._told_ms = monotonic_ms()
        self._offset_ms = now_ms - self._told_ms
