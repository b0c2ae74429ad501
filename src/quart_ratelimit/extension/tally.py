"""What the limits of one limiter did in this worker: rates, sums, the busiest keys. Bounded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from ..clock import Clock, wall_ms
from ..quotas import Hit
from ..signals import Decided, limit_decided
from .history import SPANS, History
from .space_saving import SpaceSaving

#: `Decision.by` of the policies that decide while the store is away.
POLICIES = ("open", "closed", "local")
#: Keys watched in each row.
KEYS = 64
#: Rows kept; decisions of further ones are counted together.
ROWS = 200
#: Characters of the longest scope that has a row: a client may choose it.
LONGEST_SCOPE = 1024


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

    def add(self, event: Decided, hit: Hit, second: int) -> None:
        """Count a decision."""
        self.hit, self.shadow, self.changed = hit, event.shadow, True
        self.fallback += event.by in POLICIES
        self.hits.add(hit.key)
        is_allowed = event.outcome == "allowed"
        self.history.add(second, is_allowed=is_allowed)
        if is_allowed:
            self.allowed += 1
        else:
            self.refused += 1
            self.refusals.add(hit.key)


class Tally:
    """Listens to one limiter's decisions from when it is made until `close`.

    ``now_ms``: the clock for its history, in ms; all workers of a machine have the same (default:
    the machine's). ``counted``: called after each decision (default: nothing is called).
    """

    def __init__(
        self,
        limiter: object,
        *,
        now_ms: Clock = wall_ms,
        counted: Callable[[], None] | None = None,
    ) -> None:
        self._limiter = limiter
        self._counted = counted
        self._now_ms = now_ms
        self._rows: dict[tuple[str, str], Row] = {}
        #: Decisions on limits that found no room.
        self.left_off: int = 0
        self.listen()

    def listen(self) -> None:
        """Listen, again after `close`."""
        limit_decided.connect(self._on_decided, sender=self._limiter, weak=False)

    def close(self) -> None:
        """Listen no more."""
        limit_decided.disconnect(self._on_decided, sender=self._limiter)

    @property
    def second(self) -> int:
        """The present second."""
        return self._now_ms() // 1000

    @property
    def rows(self) -> Sequence[Row]:
        """All rows, those that refuse most now first."""
        first = self.second - SPANS + 1
        return sorted(
            self._rows.values(),
            key=lambda row: [-sum(one[n] for one in row.history.seconds(first)) for n in (2, 1)],
        )

    @property
    def has_changed(self) -> bool:
        """Whether there is a row that `take` would return."""
        return any(row.changed for row in self._rows.values())

    def take(self, most: int) -> list[Row]:
        """Rows that have changed since they were taken, at most ``most``, each in its turn."""
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

    def _on_decided(self, _: object, *, event: Decided, hit: Hit) -> None:
        name = (event.limit, event.scope)
        row = self._rows.get(name)
        if row is None:
            if len(self._rows) >= ROWS or len(event.scope) > LONGEST_SCOPE:
                self.left_off += 1
                return
            row = Row(event.limit, event.scope, hit, number=len(self._rows))
            self._rows[name] = row
        row.add(event, hit, self.second)
        if self._counted is not None:
            self._counted()
