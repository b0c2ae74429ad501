"""Virtual time for all machines of a run, and the seed that every choice is drawn from.

Nothing here sleeps or looks at a real clock. Two events that are due at the same moment run in an
order that is drawn, as two machines agree on no order.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from hashlib import blake2b

#: The wall clock at the start of a run, in seconds since the epoch: in the middle of an hour.
EPOCH = 1_700_001_800.0
#: Events after which a run counts as endless.
MOST_EVENTS = 400_000


class EndlessRun(Exception):
    """So many events happened that a part of the code must be calling itself forever."""


class Event:
    """Something that happens at a moment, unless it is cancelled before."""

    __slots__ = ("callback", "is_cancelled")

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback = callback
        self.is_cancelled = False


class World:
    """The clock of a run, what is due, and the story of what happened."""

    def __init__(self, seed: object) -> None:
        self.seed = seed
        #: Seconds since the start of the run.
        self.now = 0.0
        self.random = self.stream("order")
        #: Lines of the story: moment, who, what.
        self.story: list[tuple[float, str, str]] = []
        #: A digest of the order of events: it tells two schedules apart.
        self._digest = blake2b(digest_size=8)
        self._due: list[tuple[float, float, int, Event]] = []
        self._number = 0
        self.events = 0

    def stream(self, purpose: str) -> random.Random:
        """Random numbers for one purpose, so that leaving out one thing changes no other."""
        return random.Random(f"{self.seed}:{purpose}")

    def at(self, moment: float, callback: Callable[[], None]) -> Event:
        """Have something happen at a moment, or now if that has passed."""
        event = Event(callback)
        self._number += 1
        entry = (max(moment, self.now), self.random.random(), self._number, event)
        heapq.heappush(self._due, entry)
        return event

    def after(self, seconds: float, callback: Callable[[], None]) -> Event:
        """Have something happen in so many seconds."""
        return self.at(self.now + seconds, callback)

    def tell(self, who: str, what: str) -> None:
        """Add a line to the story, and to the digest."""
        self.story.append((self.now, who, what))
        self._digest.update(f"{self.now:.6f} {who} {what}\n".encode())

    def note(self, what: str) -> None:
        """Add to the digest alone."""
        self._digest.update(what.encode())

    @property
    def digest(self) -> str:
        """What tells this schedule from others."""
        return self._digest.hexdigest()

    def run_until(self, condition: Callable[[], bool], latest: float) -> bool:
        """Let things happen until the condition holds; False if it does not by that moment."""
        due = self._due
        while not condition():
            if not due or due[0][0] > latest:
                self.now = max(self.now, latest)
                return condition()
            moment, _, _, event = heapq.heappop(due)
            if event.is_cancelled:
                continue
            self.events += 1
            if self.events > MOST_EVENTS:
                raise EndlessRun(f"{MOST_EVENTS} events, and no end")
            self.now = moment
            event.callback()
        return True
