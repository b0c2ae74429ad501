"""How far away a server is, by its quickest reply, and the deadline that follows. No I/O."""

from __future__ import annotations

import math

#: Seconds: the deadline for a server that is near, and the longest for one that is far.
SHORTEST, LONGEST = 0.05, 1.0
#: Seconds that opening every connection, and each step of forgetting all keys, may take; a longer
#: deadline counts instead.
START_DEADLINE = 1.0
#: Round trips that a deadline is long: an exchange may wait for the one before it, and a script
#: that is missing takes a second one.
ROUND_TRIPS = 4
#: For how long the quickest reply counts, in ms; at most twice as long.
REMEMBERED_MS = 300_000


class Distance:
    """The shortest round trip to one address.

    Distance is what every reply takes, and the queue of a busy server is what some replies take in
    addition, so the quickest reply of the last minutes shows the distance: a server that turns slow
    keeps its distance and its deadline. Another address (a failover) is measured again. A server at
    the same address that has made no quick reply for five to ten minutes counts as moved.
    """

    def __init__(self, deadline: float | None = None) -> None:
        #: Seconds; a deadline that was given does not change.
        self._given = deadline
        self._address: object = None
        #: The shortest round trips in ms: of this period and of the one before.
        self._shortest_ms: float = math.inf
        self._former_ms: float = math.inf
        self._since_ms = 0

    def note(self, sent_ms: int, received_ms: int) -> bool:
        """Learn from one exchange; whether the distance changed."""
        took_ms = received_ms - sent_ms
        is_over = received_ms - self._since_ms > REMEMBERED_MS
        if took_ms >= self._shortest_ms and not is_over:
            return False
        before = self.round_trip_ms
        if is_over:
            self._former_ms, self._shortest_ms = self._shortest_ms, math.inf
            self._since_ms = received_ms
        self._shortest_ms = min(self._shortest_ms, took_ms)
        return self.round_trip_ms != before

    def arrive(self, address: object) -> bool:
        """A connection leads to this address now; whether that is new."""
        if address == self._address and self.round_trip_ms is not None:
            return False
        self._shortest_ms = self._former_ms = math.inf
        self._address = address
        return True

    @property
    def round_trip_ms(self) -> float | None:
        """The shortest round trip, in ms; None before the first."""
        shortest = min(self._shortest_ms, self._former_ms)
        return None if shortest == math.inf else shortest

    @property
    def deadline(self) -> float:
        """Seconds that one hit may wait."""
        if self._given is not None:
            return self._given
        trip = (self.round_trip_ms or 0) / 1000
        return min(LONGEST, max(SHORTEST, ROUND_TRIPS * trip))

    def __str__(self) -> str:
        trip_ms = self.round_trip_ms or 0
        return f"{trip_ms:.0f} ms away; a hit waits at most {self.deadline:.2f} s for it"

    @property
    def patience(self) -> float:
        """Seconds after which a hit that has not been sent is not answered in time."""
        return self.deadline - 1.5 * (self.round_trip_ms or 0) / 1000
