"""A refused request, and which later requests would be refused just as long. No I/O, no state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..quotas import Concurrency, Decision, FixedWindow, Hit


class Refusal(NamedTuple):
    """The decisions of a whole request that the store refused; times in ms.

    A costly hit that was refused does not refuse a cheaper one, nor a costlier one that may have
    to wait longer.
    """

    at_ms: int
    #: When the store is called again, and when the refusal has come to its end.
    until_ms: int
    end_ms: int
    hits: Sequence[Hit]
    decisions: Sequence[Decision]
    #: Which of the hits has to wait longest.
    longest: Hit

    def refuses(self, hits: Sequence[Hit]) -> bool:
        """Whether these hits would be refused as long."""
        return hits is self.hits or (
            len(hits) == len(self.hits) and all(map(_waits_as_long, hits, self.hits))
        )

    def repeated(self, now_ms: int) -> list[Decision]:
        """The same decisions, as they are at that time."""
        passed = now_ms - self.at_ms
        return [
            Decision(
                decision.allowed,
                decision.remaining,
                max(0, decision.reset_ms - passed),
                max(1, decision.retry_ms - passed) if decision.retry_ms else decision.retry_ms,
                decision.at_ms + passed,
                "memory",
            )
            for decision in self.decisions
        ]


def refusal_of(
    hits: Sequence[Hit], decisions: Sequence[Decision], now_ms: int, longest_ms: int
) -> Refusal | None:
    """The refusal to repeat for ``longest_ms`` at most, and never past its own wait.

    None: it can never be allowed, the store did not make it, or it concerns places in flight,
    which come free at any time.
    """
    longest, wait = None, 0
    for hit, decision in zip(hits, decisions, strict=True):
        if decision.by != "store" or isinstance(hit.quota, Concurrency):
            return None
        if decision.retry_ms and decision.retry_ms > wait:
            longest, wait = hit, decision.retry_ms
    if longest is None:
        return None
    return Refusal(now_ms, now_ms + min(longest_ms, wait), now_ms + wait, hits, decisions, longest)


def _waits_as_long(hit: Hit, refused: Hit) -> bool:
    """Whether a hit has the decision of the refused one."""
    if hit.quota.tag != refused.quota.tag or hit.key != refused.key or hit.forced:
        return False
    cost, least = hit.cost or 1, refused.cost or 1
    # Nothing comes back of a fixed window before all of it does.
    return cost == least or (
        cost > least and isinstance(hit.quota, FixedWindow) and cost <= hit.quota.amount
    )
