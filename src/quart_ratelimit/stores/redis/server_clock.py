"""A server's time, from its last report. No I/O."""

from __future__ import annotations

from ...clock import Clock, monotonic_ms

#: How long a server's report is trusted before the next request.
TRUSTED_MS = 1000


class ServerClock:
    """Counts on from the time that a server reported, so that workers with skewed clocks agree.

    A sample is taken from the moment when the command was sent. The server's clock was read after
    that and before the reply was received, so the offset is wrong by one round trip at most, and
    by nothing for a hit that takes as long to arrive as the sample did. A pause of the event loop
    before it reads the reply makes the round trip longer and the offset no worse.
    """

    def __init__(self, now_ms: Clock = monotonic_ms) -> None:
        self._now_ms = now_ms
        self._offset_ms = 0
        self._told_ms = -TRUSTED_MS
        #: How long the round trip of the sample in use took; None before the first sample.
        self._took_ms: int | None = None

    def now_ms(self) -> int:
        """The server's time."""
        return self._now_ms() + self._offset_ms

    def is_stale(self) -> bool:
        """Whether the server's time must be requested again."""
        return not 0 <= self._now_ms() - self._told_ms < TRUSTED_MS

    def hold(self) -> None:
        """While one caller requests it, let the others go on with what is known, if it is."""
        if self._took_ms is not None:
            self._told_ms = self._now_ms()

    def note(self, server_ms: int, *, sent_ms: int, received_ms: int) -> None:
        """Learn that it was ``server_ms`` at the server between these two moments here.

        A sample of a longer round trip replaces a better one only if they contradict each other:
        then one of the clocks was set.
        """
        self._told_ms = received_ms
        latest, took_ms = server_ms - sent_ms, received_ms - sent_ms
        agrees = latest - took_ms <= self._offset_ms <= latest
        if self._took_ms is None or took_ms <= self._took_ms or not agrees:
            self._offset_ms, self._took_ms = latest, took_ms
