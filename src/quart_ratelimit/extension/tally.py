"""What the limits of one limiter did in this worker: rates, sums, the busiest keys. Bounded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from ..clock import Clock, wall_ms
from ..quotas import Decision, Hit
from ..signals import counted, limit_name, recorders
from .history import SPANS, History
from .space_saving import SpaceSaving

#: `Decision.by` of the policies that decide while the store is away.
POLICIES = ("open", "closed", "local")
#: Keys watched in each row.
KEYS = 64
#: Requests that are noted before they are counted: one loop costs each less than a call.
TOGETHER = 64
#: Rows kept; decisions of further ones are counted together.
ROWS = 200
#: Characters of the longest scope that has a row: a client may choose it.
LONGEST_SCOPE = 1024


class Group(NamedTuple):
    """What decisions have in common that are counted together."""

    #: The quota's `id`.
    quota: int
    scope: str
    key: str
    second: int
    is_allowed: bool
    #: `Decision.by`.
    by: str
    shadow: bool


@dataclass(eq=False, slots=True)
class Row:
    """One limit in one scope."""

    limit: str
    scope: str
    #: The last hit on it: its quota, and how its keys look.
    hit: Hit
    allowed: int = 0
    #: Or would have been, by a limit in shadow.
    refused: int = 0
    #: By a policy, while the store was away.
    fallback: int = 0
    shadow: bool = False
    #: Whether anything was counted since its sums were written for the fleet.
    changed: bool = True
    #: Its place among the rows of its tally.
    number: int = 0
    hits: SpaceSaving = field(default_factory=lambda: SpaceSaving(KEYS))
    refusals: SpaceSaving = field(default_factory=lambda: SpaceSaving(KEYS))
    history: History = field(default_factory=History)

    def add(self, group: Group, hit: Hit, count: int) -> None:
        """Count ``count`` decisions."""
        self.hit, self.shadow, self.changed = hit, group.shadow, True
        self.fallback += count * (group.by in POLICIES)
        self.hits.add(group.key, count)
        self.history.add(group.second, is_allowed=group.is_allowed, count=count)
        if group.is_allowed:
            self.allowed += count
        else:
            self.refused += count
            self.refusals.add(group.key, count)


class Tally:
    """Records one limiter's decisions from when it is made until `close`.

    ``now_ms``: the clock for its history, in ms; all workers of a machine have the same (default:
    the machine's). ``woken``: called when there is something to count again (default: nothing is).
    """

    def __init__(
        self,
        limiter: object,
        *,
        now_ms: Clock = wall_ms,
        woken: Callable[[], None] | None = None,
    ) -> None:
        self._limiter = limiter
        self._woken = woken
        self._now_ms = now_ms
        self._rows: dict[tuple[str, str], Row] = {}
        self._left_off = 0
        #: What was noted and not counted: the time, the hits, decisions and scopes, and the shadow.
        self._noted: list[tuple[int, Sequence[Hit], Sequence[Decision], Sequence[str], bool]] = []
        self.listen()

    def listen(self) -> None:
        """Record, again after `close`."""
        recorders[id(self._limiter)] = self._record

    def close(self) -> None:
        """Record no more."""
        recorders.pop(id(self._limiter), None)

    @property
    def left_off(self) -> int:
        """Decisions on limits that found no room."""
        self.fold()
        return self._left_off

    @property
    def second(self) -> int:
        """The present second."""
        return self._now_ms() // 1000

    @property
    def rows(self) -> Sequence[Row]:
        """All rows, those that refuse most now first."""
        self.fold()
        first = self.second - SPANS + 1
        return sorted(
            self._rows.values(),
            key=lambda row: [-sum(one[n] for one in row.history.seconds(first)) for n in (2, 1)],
        )

    @property
    def has_changed(self) -> bool:
        """Whether there is a row that `take` would return."""
        self.fold()
        return any(row.changed for row in self._rows.values())

    def take(self, most: int) -> list[Row]:
        """Rows that have changed since they were taken, at most ``most``, each in its turn."""
        self.fold()
        taken = list(islice((row for row in self._rows.values() if row.changed), most))
        for row in taken:
            row.changed = False
            name = (row.limit, row.scope)
            self._rows[name] = self._rows.pop(name)  # behind the others, so that all have a turn
        return taken

    def renew(self) -> None:
        """Have all rows taken again."""
        for row in self._rows.values():
            row.changed = True

    def _record(
        self,
        hits: Sequence[Hit],
        decisions: Sequence[Decision],
        scopes: Sequence[str],
        *,
        shadow: bool,
    ) -> None:
        noted = self._noted
        noted.append((self._now_ms(), hits, decisions, scopes, shadow))
        if len(noted) >= TOGETHER:
            self.fold()
        elif len(noted) == 1 and self._woken is not None:
            self._woken()

    def fold(self) -> None:
        """Count what was noted, equal decisions together."""
        noted, self._noted = self._noted, []
        groups: dict[tuple[int, str, str, int, bool, str, bool], list[Hit]] = {}
        for at_ms, hits, decisions, scopes, shadow in noted:
            second = at_ms // 1000
            for hit, one, scope in counted(hits, decisions, scopes):
                name = (id(hit.quota), scope, hit.key, second, one.allowed, one.by, shadow)
                known = groups.get(name)
                if known is None:
                    groups[name] = [hit]
                else:
                    known.append(hit)
        for parts, equal in groups.items():
            group, hit = Group(*parts), equal[0]
            row = self._row(hit, group.scope, len(equal))
            if row is not None:
                row.add(group, hit, len(equal))

    def _row(self, hit: Hit, scope: str, count: int) -> Row | None:
        """The row of a limit in a scope; None: no room, so ``count`` decisions are left off."""
        name = (limit_name(hit.quota), scope)
        row = self._rows.get(name)
        if row is None:
            if len(self._rows) >= ROWS or len(scope) > LONGEST_SCOPE:
                self._left_off += count
                return None
            row = self._rows[name] = Row(*name, hit, number=len(self._rows))
        return row
