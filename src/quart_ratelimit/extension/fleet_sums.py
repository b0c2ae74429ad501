"""The sums of all workers, in the store while a viewer looks at them.

A viewer sets a mark that ends by itself. Each worker reads it along with a batch that goes out
anyway, and while it stands writes the rows of its tally that changed. A row has the sums since the
worker began to count, so a write that is lost or repeated harms nothing.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from ..clock import Clock, monotonic_ms
from ..errors import InvalidLimit, StoreError
from ..quotas import Quota
from ..stores.piggyback import CarryingStore, Command, pairs_of
from .seen import quota_fields, quota_of
from .tally import Row, Tally

#: The field of the mark: until when a viewer looks, in ms by the server's clock.
MARK = "?"
#: How long a look lasts, in ms.
LOOK_MS = 10_000
#: Between two readings of the mark, and two writings while a viewer looks, in ms.
UNSEEN_MS, SEEN_MS = 2_000, 1_000
#: How long the store keeps a row, in ms.
KEPT_MS = 3_600_000
#: Rows that a worker writes, and the busiest keys in each.
ROWS, BUSIEST = 50, 5


@dataclass(slots=True)
class Sums:
    """One limit in one scope, in one worker or in all."""

    limit: str
    scope: str
    quota: Quota
    allowed: int = 0
    refused: int = 0
    fallback: int = 0
    shadow: bool = False
    #: By how much a key's hits may be too high.
    excess: int = 0
    #: Each of the busiest keys -> how often it hit, and how often it was refused.
    busiest: dict[str, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def of_row(cls, row: Row) -> Sums:
        """What one worker counted."""
        return cls(
            row.limit,
            row.scope,
            row.hit.quota,
            row.allowed,
            row.refused,
            row.fallback,
            row.shadow,
            row.hits.excess,
            {key: (count, row.refusals.count(key)) for key, count in row.hits.top(BUSIEST)},
        )

    def add(self, other: Sums) -> None:
        """Add another worker's."""
        self.allowed += other.allowed
        self.refused += other.refused
        self.fallback += other.fallback
        self.shadow = self.shadow or other.shadow
        self.excess += other.excess
        for key, (hits, refused) in other.busiest.items():
            known = self.busiest.get(key, (0, 0))
            self.busiest[key] = (known[0] + hits, known[1] + refused)

    @property
    def top(self) -> list[tuple[str, int, int]]:
        """The busiest keys, with their hits and refusals, the busiest first."""
        found = [(key, *counts) for key, counts in self.busiest.items()]
        return sorted(found, key=lambda one: -one[1])[:BUSIEST]

    def as_json(self, at_ms: int, prefix: str) -> str:
        """The row as a worker writes it."""
        return json.dumps(
            [
                at_ms, prefix, self.limit, self.scope, quota_fields(self.quota), self.allowed,
                self.refused, self.fallback, self.shadow, self.excess, self.busiest,
            ]
        )  # fmt: skip


@dataclass(slots=True)
class FleetView:
    """What all workers wrote."""

    rows: list[Sums]
    #: The workers that wrote; those without traffic write nothing.
    workers: int

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        limits = [
            {
                "limit": row.limit,
                "scope": row.scope,
                "quota": str(row.quota),
                "allowed": row.allowed,
                "refused": row.refused,
                "fallback": row.fallback,
                "shadow": row.shadow,
                "busiest": [
                    {"key": key, "hits": hits, "refused": refused} for key, hits, refused in row.top
                ],
            }
            for row in self.rows
        ]
        return {"workers": self.workers, "limits": limits}


class FleetSums:
    """One limiter's sums in this process, as a `Piggyback` of its store.

    ``prefix``: the limiter's ``key_prefix``, as several may share a store.
    """

    key_name = "sums"

    def __init__(self, limiter: object, *, now_ms: Clock = monotonic_ms) -> None:
        self.name: str = secrets.token_hex(4)
        self.prefix: str = ""
        self._limiter = limiter
        self._now_ms = now_ms
        self._tally: Tally | None = None
        #: Whether the tally counts also while nobody looks, for a dashboard.
        self._keeps = False
        self._due_ms = now_ms() + UNSEEN_MS
        #: Until when a viewer looks, by this process' clock.
        self._seen_until_ms = 0
        #: How many look now.
        self._looking = 0
        self._found: dict[str, object] | None = None
        #: Why the store refused a command, such as a user without the right to it.
        self._error: Exception | None = None
        #: Rows whose writing is not confirmed.
        self._writing: list[Row] = []
        self._store: CarryingStore | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._carrying: asyncio.Task[None] | None = None

    def share(self, store: object) -> None:
        """Write to this store, if its batches take commands along."""
        if isinstance(store, CarryingStore) and self not in store.piggybacks:
            store.piggybacks.append(self)
            self._store = store

    def keep(self) -> Tally:
        """The tally of this process, which counts from now on whether a viewer looks or not."""
        self._keeps = True
        return self._begin()

    async def look(self, store: object) -> FleetView | None:
        """What all workers wrote; None for a store that they do not share. Raises `StoreError`."""
        if not isinstance(store, CarryingStore):
            return None
        self.share(store)
        self._looking, self._found, self._error = self._looking + 1, None, None
        try:
            while self._found is None:  # a batch may have taken the commands along
                self._due_ms = self._now_ms()
                await store.carry()
                if self._error is not None:
                    raise StoreError(f"Redis refuses the sums of the workers: {self._error}")
        finally:
            self._looking -= 1
        return merged(self._found, self.prefix)

    def is_due(self) -> bool:
        """Whether the mark is to be read, or rows are to be written."""
        return self._now_ms() >= self._due_ms

    def commands(self, key: str, now_ms: int) -> Sequence[Command]:
        """Read the mark, and write what changed while it stands; a viewer reads all."""
        found: list[Command] = []
        if self._looking:
            self._seen_until_ms = self._now_ms() + LOOK_MS
            found += [("HSET", key, MARK, now_ms + LOOK_MS), ("PEXPIRE", key, KEPT_MS)]
        is_seen = self._now_ms() < self._seen_until_ms
        if is_seen and self._tally is not None:
            found += self._written(self._tally, key, now_ms)
        self._due_ms = self._now_ms() + (SEEN_MS if is_seen else UNSEEN_MS)
        return [*found, ("HGETALL", key) if self._looking else ("HGET", key, MARK)]

    def _written(self, tally: Tally, key: str, now_ms: int) -> list[Command]:
        for row in self._writing:  # what was not confirmed is written again
            row.changed = True
        self._writing = tally.changed(ROWS)
        values: list[str | int] = []
        for row in self._writing:
            row.changed = False
            value = Sums.of_row(row).as_json(now_ms, self.prefix)
            values += [f"{self.name}|{row.number}", value]
        return [("HSET", key, *values), ("PEXPIRE", key, KEPT_MS)] if values else []

    def read(self, replies: Sequence[object], now_ms: int) -> None:
        """Note whether a viewer looks, and what there is to see."""
        self._error = next((reply for reply in replies if isinstance(reply, Exception)), None)
        if self._error is not None:
            return
        self._writing, last = [], replies[-1]
        if isinstance(last, (dict, list)):
            self._found = pairs_of(last)
            return
        was_seen = self._now_ms() < self._seen_until_ms
        until = int(last) if isinstance(last, (bytes, str)) and last.isdigit() else 0
        self._seen_until_ms = self._now_ms() + until - now_ms if until > now_ms else 0
        if until > now_ms:
            self._begin()
            if not was_seen:
                self._due_ms = self._now_ms()  # what was counted so far goes with the next batch
        elif not self._keeps and self._tally is not None:
            self._tally.close()
        self._wake()

    def close(self) -> None:
        """Write no more in this event loop."""
        if self._timer is not None:
            self._timer.cancel()
        if self._carrying is not None:
            self._carrying.cancel()
        self._timer = self._carrying = None

    def _begin(self) -> Tally:
        if self._tally is None:
            self._tally = Tally(self._limiter, counted=self._wake)
        else:
            self._tally.listen()
        return self._tally

    def _wake(self) -> None:
        """Have what is counted written, or the mark read, although no batch may come."""
        if self._timer is not None and self._loop is not None and not self._loop.is_closed():
            return
        if self._store is None or self._tally is None or not self._tally.changed(1):
            return
        with suppress(RuntimeError):  # no event loop
            self._loop = asyncio.get_running_loop()
            seen = self._now_ms() < self._seen_until_ms
            pause = (SEEN_MS if seen else UNSEEN_MS) / 1000
            self._timer = self._loop.call_later(pause, self._start_carrying)

    def _start_carrying(self) -> None:
        self._timer = None
        if self._store is not None and self._loop is not None:
            self._due_ms = min(self._due_ms, self._now_ms())
            self._carrying = self._loop.create_task(self._carry(self._store))

    async def _carry(self, store: CarryingStore) -> None:
        with suppress(StoreError):  # while it is away, the next decision wakes this
            await store.carry()


def merged(found: dict[str, object], prefix: str) -> FleetView:
    """The sums of all workers of limiters with this prefix, those that refuse most first."""
    rows: dict[tuple[str, str], Sums] = {}
    workers: set[str] = set()
    for name, value in found.items():
        one = _read(value, prefix) if name != MARK else None
        if one is not None:
            workers.add(name.partition("|")[0])
            known = rows.get((one.limit, one.scope))
            if known is None:
                rows[one.limit, one.scope] = one
            else:
                known.add(one)
    ordered = sorted(rows.values(), key=lambda row: (-row.refused, -row.allowed))
    return FleetView(ordered, len(workers))


def _read(value: object, prefix: str) -> Sums | None:
    """A row; None if it is another limiter's, or one of another version of the package."""
    try:
        _, own, limit, scope, quota, *numbers, busiest = json.loads(value)  # type: ignore[arg-type]
        allowed, refused, fallback, shadow, excess = numbers
        keys = {str(key): (int(one[0]), int(one[1])) for key, one in busiest.items()}
        one = Sums(limit, scope, quota_of(quota), allowed, refused, fallback, shadow, excess, keys)
    except (AttributeError, InvalidLimit, KeyError, TypeError, ValueError):
        return None
    return one if own == prefix else None
