"""Keeps state in this process: for one worker, for tests, and for when Redis is away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..clock import Clock, wall_ms
from ..quotas import Decision, Hit

#: Keys looked at per hit for being over: two, so that more go than come.
SWEPT_PER_HIT = 2


class MemoryStore:
    """Counts alone: with several workers each allows the whole amount.

    Deciding has no await, so no other hit comes between a read and its write.
    """

    def __init__(self, *, now_ms: Clock = wall_ms) -> None:
        self._now_ms = now_ms
        #: key -> (when it is as good as never hit, its state), in order of the last write.
        self._states: dict[str, tuple[int, Any]] = {}

    async def start(self) -> None:
        """Nothing to open."""

    async def aclose(self) -> None:
        """Nothing to close; the counts stay."""

    async def hit(self, hits: Sequence[Hit]) -> list[Decision]:
        """Carry out all hits or none; see `Store.hit`."""
        return self.decide(hits, self._now_ms())

    async def reset(self, hits: Sequence[Hit]) -> int:
        """Forget the state behind these hits; how many keys there were."""
        now = self._now_ms()
        keys = {hit.quota.state_key(hit.key, now) for hit in hits}
        return sum(self._states.pop(key, None) is not None for key in keys)

    async def clear(self) -> int:
        """Forget every key; how many there were."""
        count = len(self._states)
        self._states.clear()
        return count

    def __len__(self) -> int:
        return len(self._states)

    def decide(self, hits: Sequence[Hit], now_ms: int) -> list[Decision]:
        """Decide one request at that time: the twin of ``decide.lua``."""
        keys = [hit.quota.state_key(hit.key, now_ms) for hit in hits]
        pending: dict[str, tuple[int, Any]] = {}
        decisions = []
        refused = False
        for key, hit in zip(keys, hits, strict=True):
            state = pending[key][1] if key in pending else self._state(key, now_ms)
            state, decision = hit.quota.advance(state, now_ms, hit)
            if decision.allowed:
                pending[key] = (now_ms + decision.reset_ms, state)
            else:
                refused = True
            decisions.append(decision)
        if refused:
            return [
                self._look(key, hit, now_ms) if decision.allowed else decision
                for key, hit, decision in zip(keys, hits, decisions, strict=True)
            ]
        for key, hit in zip(keys, hits, strict=True):
            if hit.cost:
                self._keep(key, pending[key], now_ms)
        return decisions

    def _state(self, key: str, now_ms: int) -> Any:
        expires, state = self._states.get(key, (0, None))
        return state if now_ms < expires else None

    def _look(self, key: str, hit: Hit, now_ms: int) -> Decision:
        _, decision = hit.quota.advance(self._state(key, now_ms), now_ms, Hit(hit.quota, key, 0))
        return decision._replace(allowed=True, retry_ms=0)

    def _keep(self, key: str, entry: tuple[int, Any], now_ms: int) -> None:
        self._states.pop(key, None)
        if entry[0] > now_ms:
            self._states[key] = entry
        for _ in range(SWEPT_PER_HIT):
            oldest = next(iter(self._states), None)
            if oldest is None:
                return
            entry = self._states.pop(oldest)
            if entry[0] > now_ms:
                self._states[oldest] = entry
