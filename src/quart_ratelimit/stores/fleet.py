"""How many workers share a store's counters, and which place this one has among them.

Each worker registers in one sorted set of the store, by a random name and the server's time. The
set is read in the same batch, so that the fleet is known before the store goes away.
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
FIRST_MS, LONGEST_MS = 500, 5_000
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
        #: The names of all workers in order; empty before the store has reported them.
        self.names: list[str] = []

    @property
    def name(self) -> str:
        """This worker's unique name: a process that was forked from it has another."""
        return self._name or f"{self._token}.{os.getpid():x}"

    def view(self) -> tuple[int, int]:
        """How many workers there are, and the place of this one, from 0 on."""
        if self.name in self.names:
            return len(self.names), self.names.index(self.name)
        if self._workers is None:
            return _configured() or _siblings()
        return self._workers, secrets.randbelow(self._workers)

    def is_due(self) -> bool:
        """Whether this worker is to register again."""
        return self._now_ms() >= self._due_ms

    def leave(self) -> None:
        """Have the next batch take this worker out of the fleet."""
        self._is_leaving = True
        self._due_ms = self._now_ms()

    def commands(self, key: str, now_ms: int) -> Sequence[Command]:
        """Register, forget who was silent, and list all; or leave."""
        if self._is_leaving:  # it registers again if its store is used again
            self._is_leaving = False
            return [("ZREM", key, self.name)]
        self._due_ms = self._now_ms() + self._pause_ms
        return [
            ("ZADD", key, now_ms, self.name),
            ("ZREMRANGEBYSCORE", key, "-inf", f"({now_ms - KEPT_MS}"),
            ("PEXPIRE", key, KEPT_MS),
            ("ZRANGE", key, 0, -1, "WITHSCORES"),
        ]

    def read(self, replies: Sequence[object], now_ms: int) -> None:
        """Note who is in the fleet."""
        pairs = replies[-1]
        if not isinstance(pairs, list) or any(isinstance(one, Exception) for one in replies):
            return  # no right to these commands, for instance: what is known stays
        numbers = iter(pairs)
        # A score from the future is of a server's clock that was set back since.
        names = sorted(
            text_of(name)
            for name, score in zip(numbers, numbers, strict=True)
            if abs(float(score) - now_ms) <= KEPT_MS
        )
        has_changed = names != self.names
        self._pause_ms = FIRST_MS if has_changed else min(LONGEST_MS, 2 * self._pause_ms)
        self._due_ms = min(self._due_ms, self._now_ms() + self._pause_ms)
        self.names = names
        if fleet_known.receivers:
            fleet_known.send_safely(self, workers=len(names))


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
