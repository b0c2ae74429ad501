"""Concurrency: a number in flight at once, each under a lease that outlives no dead worker."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import nsmallest
from typing import ClassVar

from .quota import Decision, Hit, Quota

#: When each lease expires (ms since the epoch). Never changed in place.
Leases = dict[str, int]


@dataclass(frozen=True, slots=True)
class Concurrency(Quota):
    """At most ``amount`` places at a time, each with a lease: what `Limiter.in_flight` counts in.

    - ``amount``: places per key.
    - ``period``: how many seconds a lease lasts that is not renewed.

    A hit with a cost above 0 takes one place for `Hit.lease`, or renews it; a cost below 0 gives
    the place back. A refusal waits until enough leases expire: a place is often free earlier.
    """

    algorithm: ClassVar[str] = "concurrency"

    def __str__(self) -> str:
        return f"{self.amount} at a time"

    def resume(self, decision: Decision, now_ms: int) -> Leases:
        """As many leases as were held, by unknown owners, until the last of them ends."""
        end = now_ms + decision.reset_ms
        return {f"?{number}": end for number in range(self.amount - decision.remaining)}

    def heal(self, state: Leases, now_ms: int) -> Leases:
        """No lease ends later than a period from now."""
        longest = now_ms + self.period_ms
        if all(end <= longest for end in state.values()):
            return state
        return {lease: min(end, longest) for lease, end in state.items()}

    def advance(self, state: Leases | None, now_ms: int, hit: Hit) -> tuple[Leases, Decision]:
        """Decide by the leases that have not expired."""
        leases = {lease: end for lease, end in (state or {}).items() if end > now_ms}
        if hit.cost < 0:
            leases.pop(hit.lease, None)
        elif hit.lease in leases or len(leases) < self.amount or hit.forced:
            if hit.cost:
                leases[hit.lease] = now_ms + self.period_ms
        else:
            excess = len(leases) - self.amount  # forced, or taken before the amount was lowered
            retry = nsmallest(excess + 1, leases.values())[-1] - now_ms
            return leases, self._decide(False, leases, now_ms, retry)
        return leases, self._decide(True, leases, now_ms, 0)

    def _decide(self, allowed: bool, leases: Leases, now_ms: int, retry: int) -> Decision:
        reset = max(leases.values()) - now_ms if leases else 0
        return Decision(allowed, max(0, self.amount - len(leases)), reset, retry, now_ms)
