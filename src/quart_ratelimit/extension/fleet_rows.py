"""What one worker counted as text in the store, and the sums of what all workers wrote. No I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ..clients.keys import client_of
from ..errors import InvalidLimit
from ..quotas import Quota
from ..stores.fleet import LONGEST_MS
from .history import SPANS, packed, unpacked
from .seen import quota_fields, quota_of
from .tally import Row

#: How long a row counts after it was written, in ms.
KEPT_MS = 3_600_000
#: The busiest keys in a row.
BUSIEST = 5


class Worker(NamedTuple):
    """A process, as its rows name it."""

    #: Its name in the `Fleet`.
    name: str
    host: str
    pid: int

    @property
    def text(self) -> str:
        """The worker for an operator."""
        return f"{self.host}:{self.pid}"


@dataclass(slots=True)
class Part:
    """What one worker counted: at one limit, or at all."""

    allowed: int = 0
    refused: int = 0
    fallback: int = 0

    def add(self, sums: Sums) -> None:
        """Add what one row counted."""
        self.allowed += sums.allowed
        self.refused += sums.refused
        self.fallback += sums.fallback

    def as_dict(self) -> dict[str, int]:
        """For JSON."""
        return {"allowed": self.allowed, "refused": self.refused, "fallback": self.fallback}


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
    #: [second, allowed, refused] of the last minute, in any order, some seconds more than once.
    seconds: list[list[int]] = field(default_factory=list)
    #: The same of the last hour's minutes.
    minutes: list[list[int]] = field(default_factory=list)
    #: What each worker counted; none in a worker's own row.
    parts: dict[Worker, Part] = field(default_factory=dict)

    @classmethod
    def of_row(cls, row: Row, second: int) -> Sums:
        """What one worker counted, with the history that ends with this second."""
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
            row.history.seconds(second - SPANS + 1),
            row.history.minutes(second // 60 - SPANS + 1),
        )

    def add(self, other: Sums) -> None:
        """Add another worker's."""
        self.allowed += other.allowed
        self.refused += other.refused
        self.fallback += other.fallback
        self.shadow = self.shadow or other.shadow
        self.excess += other.excess
        self.seconds.extend(other.seconds)
        self.minutes.extend(other.minutes)
        for key, (hits, refused) in other.busiest.items():
            known = self.busiest.get(key, (0, 0))
            self.busiest[key] = (known[0] + hits, known[1] + refused)

    @property
    def top(self) -> list[tuple[str, int, int]]:
        """The busiest keys, with their hits and refusals, the busiest first."""
        found = [(key, *counts) for key, counts in self.busiest.items()]
        return sorted(found, key=lambda one: -one[1])[:BUSIEST]

    def as_json(self, at_ms: int, prefix: str, worker: Worker) -> str:
        """The row as a worker writes it."""
        return json.dumps(
            [
                at_ms, prefix, worker, self.limit, self.scope, quota_fields(self.quota),
                self.allowed, self.refused, self.fallback, self.shadow, self.excess, self.busiest,
                packed(self.seconds), packed(self.minutes),
            ],
            separators=(",", ":"),
        )  # fmt: skip

    def as_dict(self, *, with_workers: bool) -> dict[str, object]:
        """For JSON."""
        known: dict[str, object] = {
            "limit": self.limit,
            "scope": self.scope,
            "quota": str(self.quota),
            "allowed": self.allowed,
            "refused": self.refused,
            "fallback": self.fallback,
            "shadow": self.shadow,
            "busiest": [
                {"key": key, "client": client_of(key), "hits": hits, "refused": refused}
                for key, hits, refused in self.top
            ],
        }
        if with_workers:
            known["parts"] = _parts(self.parts)
        return known


@dataclass(slots=True)
class FleetView:
    """What all workers wrote."""

    #: Those that refuse most first.
    rows: list[Sums] = field(default_factory=list)
    #: What each worker that wrote counted at all limits; one without traffic writes nothing.
    parts: dict[Worker, Part] = field(default_factory=dict)
    #: Names of workers that wrote a moment ago.
    recent: frozenset[str] = frozenset()
    #: Fields whose rows are too old.
    stale: frozenset[str] = frozenset()

    def as_dict(self, *, with_workers: bool = False) -> dict[str, object]:
        """For JSON."""
        limits = [row.as_dict(with_workers=with_workers) for row in self.rows]
        known: dict[str, object] = {"workers": len(self.parts), "limits": limits}
        if with_workers:
            known["parts"] = _parts(self.parts)
        return known


def in_order(parts: Mapping[Worker, Part]) -> list[tuple[Worker, Part]]:
    """Each worker's part, in the order of hosts and processes."""
    return sorted(parts.items(), key=lambda one: one[0][1:])


def _parts(parts: Mapping[Worker, Part]) -> list[dict[str, object]]:
    return [{"worker": worker.text, **part.as_dict()} for worker, part in in_order(parts)]


def merged(found: Mapping[str, object], prefix: str, now_ms: int) -> FleetView:
    """The sums of all workers of limiters with this prefix; ``now_ms`` is the server's time."""
    rows: dict[tuple[str, str], Sums] = {}
    view, stale, recent = FleetView(), set[str](), set[str]()
    for name, value in found.items():
        one = _read(value)
        if one is None:
            continue
        at_ms, own, worker, sums = one
        if at_ms < now_ms - KEPT_MS:
            stale.add(name)
        elif own == prefix:
            if at_ms > now_ms - LONGEST_MS:
                recent.add(worker.name)
            view.parts.setdefault(worker, Part()).add(sums)
            known = rows.setdefault((sums.limit, sums.scope), sums)
            if known is not sums:
                known.add(sums)
            known.parts.setdefault(worker, Part()).add(sums)
    view.stale, view.recent = frozenset(stale), frozenset(recent)
    view.rows = sorted(rows.values(), key=lambda row: (-row.refused, -row.allowed))
    return view


def _read(value: object) -> tuple[int, str, Worker, Sums] | None:
    """A row, with when, for which prefix and by which worker it was written.

    None for a row of another version of the package.
    """
    try:
        at_ms, own, writer, limit, scope, quota, *counts, busiest, minute, hour = json.loads(
            value  # type: ignore[arg-type]
        )
        name, host, pid = writer
        allowed, refused, fallback, shadow, excess = counts
        keys = {str(key): (int(one[0]), int(one[1])) for key, one in busiest.items()}
        sums = Sums(
            limit, scope, quota_of(quota), allowed, refused, fallback, shadow, excess, keys,
            unpacked(minute), unpacked(hour),
        )  # fmt: skip
        return int(at_ms), str(own), Worker(name, host, pid), sums
    except (AttributeError, InvalidLimit, KeyError, TypeError, ValueError):
        return None
