"""How many workers share a store's counters, and which place this one has among them.

Each worker registers in one sorted set of the store, by a random name and the server's time. The
set is read in the same batch, so that the fleet is known before the store goes away. The set also
has a mark of when a viewer of the workers' sums last looked: so no command is sent for it.
"""

from __future__ import annotations

import multiprocessing
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

from ..clock import Clock, monotonic_ms
from ..signals import fleet_known
from .piggyback import CarryingStore, Command, text_of

#: How long a worker that is silent counts as one of the fleet, in ms. One that ends leaves at once;
#: one that has no traffic comes back with its next batch.
KEPT_MS = 300_000
#: Time between two registrations in ms: at first, and after the fleet changed; and at most.
FIRST_MS, LONGEST_MS = 500, 2_500
#: Time between two removals of silent workers, in ms.
TIDIED_MS = KEPT_MS // 5
#: What the names of all workers of a process begin with: one for each limiter.
_PROCESS = secrets.token_hex(8)
#: The member whose score is the last look; no worker has this name.
MARK = "?"
#: How long a look lasts, in ms.
LOOK_MS = 10_000
#: A server counts its workers by this variable, as Uvicorn and Gunicorn do.
WEB_CONCURRENCY = "WEB_CONCURRENCY"


class Fleet:
    """The workers that share counters, as this worker last heard.

    - ``workers``: how many there are until the store reports them (default: by
      ``WEB_CONCURRENCY``, else the processes of this one's server).
    - ``name``: this worker's unique name (default: random, with the process' number).
    - ``now_ms``: returns the time for registrations, in ms.
    """

    key_name = "workers"

    def __init__(
        self, workers: int | None = None, *, name: str = "", now_ms: Clock = monotonic_ms
    ) -> None:
        self._name = name
        self._token = secrets.token_hex(8)
        self._workers = workers
        self._now_ms = now_ms
        self._due_ms = now_ms()
        self._pause_ms = FIRST_MS
        self._is_leaving = False
        self._is_looking = False
        #: Whether this process is one of the workers; a command line is not.
        self.registers = True
        self._tidied_ms: int = now_ms() - TIDIED_MS
        #: The names of all workers in order; empty before the store has reported them.
        self.names: list[str] = []
        #: Until when a viewer looks at the sums, by ``now_ms``.
        self.seen_until_ms: int = 0
        #: Why the store refused a command, such as a user without the right to it.
        self.error: Exception | None = None

    @property
    def name(self) -> str:
        """This worker's unique name: a process that was forked from it has another."""
        return self._name or f"{_PROCESS}.{os.getpid():x}.{self._token}"

    def view(self) -> tuple[int, int]:
        """How many workers there are, and the place of this one, from 0 on."""
        if self.name in self.names:
            return len(self.names), self.names.index(self.name)
        if self._workers is None:
            return _configured() or _siblings()
        return self._workers, secrets.randbelow(self._workers)

    @property
    def due_ms(self) -> int:
        """When this worker is to register again, by ``now_ms``."""
        return self._due_ms

    def is_due(self) -> bool:
        """Whether this worker is to register again, or to set the mark."""
        return self._now_ms() >= self._due_ms and (self.registers or self._is_looking)

    def leave(self) -> None:
        """Have the next batch take this worker out of the fleet."""
        self._is_leaving = True
        self._due_ms = self._now_ms()

    def look(self) -> None:
        """Have the next batch set the mark."""
        self._is_looking = True
        self._due_ms = self._now_ms()
        self.seen_until_ms = self._due_ms + LOOK_MS

    def commands(self, key: str, now_ms: int) -> Sequence[Command]:
        """Register or set the mark, now and then forget who was silent, and list all; or leave."""
        if self._is_leaving:  # it registers again if its store is used again
            self._is_leaving = False
            return [("ZREM", key, self.name)]
        members: list[str | int] = [now_ms, self.name] if self.registers else []
        if self._is_looking:
            self._is_looking = False
            members += [now_ms, MARK]
        # Each time: the set may be new, and this the last that its store hears of this process.
        found: list[Command] = [("ZADD", key, *members), ("PEXPIRE", key, KEPT_MS)]
        if self._now_ms() >= self._tidied_ms + TIDIED_MS:
            self._tidied_ms = self._now_ms()
            found.append(("ZREMRANGEBYSCORE", key, "-inf", f"({now_ms - KEPT_MS}"))
        self._due_ms = self._now_ms() + self._pause_ms
        return [*found, ("ZRANGE", key, 0, -1, "WITHSCORES")]

    def read(self, replies: Sequence[object], now_ms: int) -> None:
        """Note who is in the fleet, and when a viewer looked."""
        self.error = next((reply for reply in replies if isinstance(reply, Exception)), None)
        pairs = replies[-1]
        if not isinstance(pairs, list) or self.error is not None:
            return  # no right to these commands, for instance: what is known stays
        numbers = iter(pairs)
        # A score from the future is of a server's clock that was set back since.
        ages = {
            text_of(name): now_ms - int(float(score))
            for name, score in zip(numbers, numbers, strict=True)
            if abs(float(score) - now_ms) <= KEPT_MS
        }
        self.seen_until_ms = self._now_ms() + LOOK_MS - ages.pop(MARK, LOOK_MS)
        names = sorted(ages)
        has_changed = names != self.names
        self._pause_ms = FIRST_MS if has_changed else min(LONGEST_MS, 2 * self._pause_ms)
        self._due_ms = min(self._due_ms, self._now_ms() + self._pause_ms)
        self.names = names
        if fleet_known.receivers:
            fleet_known.send_safely(self, workers=len(names))


def process_of(name: str) -> str:
    """The process that a worker's name is of."""
    return name.rpartition(".")[0] or name


def fleet_of(store: object, workers: int | None = None) -> Fleet:
    """The fleet of a store that can report it: one for all that stand around that store.

    ``workers``: see `Fleet`. Another store's worker is alone.
    """
    if not isinstance(store, CarryingStore):
        return Fleet(1)
    for piggyback in store.piggybacks:
        if isinstance(piggyback, Fleet):
            return piggyback
    fleet = Fleet(workers)
    store.piggybacks.append(fleet)
    return fleet


def _configured() -> tuple[int, int] | None:
    told = os.environ.get(WEB_CONCURRENCY, "")
    if not (told.isascii() and told.isdigit() and int(told)):
        return None
    return int(told), secrets.randbelow(int(told))


def _siblings(
    *, parent: Callable[[], object] = multiprocessing.parent_process, folder: Path = Path("/proc")
) -> tuple[int, int]:
    """The processes that a server's first process has started, and which of them this one is.

    Servers start their workers by `multiprocessing`, all by the same command. Where the system
    does not list its processes this one is taken for the only worker.
    """
    if parent() is None:
        return 1, 0
    own, mother = os.getpid(), os.getppid()
    try:
        children = (folder / f"{mother}/task/{mother}/children").read_text("ascii").split()
        kind = _kind(folder, own)
        workers = sorted(int(pid) for pid in children if _kind(folder, int(pid)) == kind)
    except OSError:
        return 1, 0
    return (len(workers), workers.index(own)) if own in workers else (1, 0)


def _kind(folder: Path, pid: int) -> tuple[bytes, ...]:
    """What a process was started by, without what differs between workers; empty if it ended."""
    try:
        words = (folder / f"{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ()
    return tuple(word.partition(b"(")[0] for word in words)
