"""What a store last said of each key, for when it can no longer be asked.

Without it a client whose budget is spent would get a fresh one from every worker the moment the
store is away for one call.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..clock import Clock, wall_ms
from ..quotas import Decision, Hit
from .memory import MemoryStore

#: Keys remembered at least; twice as many at most.
REMEMBERED = 20_000


class Recall:
    """The last decision of each of the keys hit last."""

    def __init__(self, *, size: int = REMEMBERED, now_ms: Clock = wall_ms) -> None:
        self._size = size
        self._now_ms = now_ms
        #: (quota's tag, key) -> when it was decided (ms), and how; two generations, so that old
        #: keys are forgotten at no cost.
        self._young: dict[tuple[str, str], tuple[int, Decision]] = {}
        self._old: dict[tuple[str, str], tuple[int, Decision]] = {}

    def note(self, hits: Sequence[Hit], decisions: Sequence[Decision]) -> None:
        """Remember what the store said."""
        now, young = self._now_ms(), self._young
        if len(hits) == 1:  # nearly always, and a third of the loop's cost
            hit = hits[0]
            young[hit.quota.tag, hit.key] = (now, decisions[0])
        else:
            for hit, decision in zip(hits, decisions, strict=True):
                young[hit.quota.tag, hit.key] = (now, decision)
        if len(young) > self._size:
            self._old, self._young = young, {}

    def hand_over(self, hits: Sequence[Hit], store: MemoryStore) -> None:
        """Let another store go on from there, where it does not count already."""
        for hit in hits:
            name = (hit.quota.tag, hit.key)
            known = self._young.pop(name, None) or self._old.pop(name, None)
            if known is not None and known[1].reset_ms:
                at, decision = known
                store.adopt(hit, hit.quota.resume(decision, at), at)
