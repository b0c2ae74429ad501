"""Keeps state in this process: for one worker, for tests, and for when Redis is away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..clock import Clock, wall_ms
from ..errors import ConfigurationError
from ..quotas import Decision, Hit, Quota

#: Small dictionaries that one quota's keys are spread over, a power of 2: each is swept whole, and
#: grows, in well under a millisecond.
SHARDS = 1024
#: Keys looked at for each key written: two, so that the sweep outruns what comes.
SWEPT_PER_WRITE = 2

_ABSENT = object()


class MemoryStore:
    """Counts alone: with several workers each allows the whole amount.

    Deciding has no await, so no other hit comes between a read and its write. At most about
    ``max_keys`` keys are kept: a new one takes the place of one that is as good as never hit, else
    of the one with most left; a client that is refused is never forgotten for another's sake, so
    only keys that were paid for in full can exceed the bound.
    """

    def __init__(self, *, max_keys: int = 1_000_000, now_ms: Clock = wall_ms) -> None:
        if max_keys < 1:
            raise ConfigurationError(f"max_keys={max_keys!r} must be 1 or more, e.g. 100000")
        self._max_keys = max_keys
        self._now_ms = now_ms
        self._tables: dict[str, _Table] = {}
        self._newest_ms = 0

    async def start(self) -> None:
        """Nothing to open."""

    async def aclose(self) -> None:
        """Nothing to close; the counts stay."""

    async def hit(self, hits: Sequence[Hit]) -> list[Decision]:
        """Carry out all hits or none; see `Store.hit`."""
        return self.decide(hits, self._now_ms())

    def refusal(self, hits: Sequence[Hit]) -> list[Decision] | None:
        """What would be refused; None: it would not be. Charges nothing."""
        if any(hit.cost < 0 or hit.forced for hit in hits):
            return None
        looks = [hit._replace(cost=0) for hit in hits]
        decisions = self.decide(looks, self._now_ms())
        return None if all(decisions) else decisions

    async def reset(self, hits: Sequence[Hit]) -> int:
        """Forget the state behind these hits; how many keys there were."""
        tables = self._tables
        return sum(tables[h.quota.counter].forget(h.key) for h in hits if h.quota.counter in tables)

    async def clear(self) -> int:
        """Forget every key; how many there were."""
        count = len(self)
        self._tables.clear()
        return count

    def __len__(self) -> int:
        return sum(table.count for table in self._tables.values())

    def decide(self, hits: Sequence[Hit], now_ms: int) -> list[Decision]:
        """Decide one request at that time: the twin of ``decide.lua``."""
        if now_ms < self._newest_ms:
            self._heal(hits, now_ms)
        else:
            self._newest_ms = now_ms
        if len(hits) > 1:
            return self._decide_together(hits, now_ms)
        hit = hits[0]
        quota = hit.quota
        table = self._tables.get(quota.counter)
        if table is None or quota.amount < table.look.quota.amount:
            table = self._table(quota)
        state, decision = quota.advance(table.get(hit.key), now_ms, hit)
        if decision.allowed and hit.cost:
            self._keep(table, hit.key, state, decision, now_ms)
        return [decision]

    def adopt(self, hit: Hit, state: Any, now_ms: int) -> None:
        """Take over the state of a hit's key, unless it is counted here already."""
        table = self._table(hit.quota)
        if table.get(hit.key) is None:
            table.put(hit.key, state, now_ms, self._is_full)

    def _decide_together(self, hits: Sequence[Hit], now_ms: int) -> list[Decision]:
        pending: dict[tuple[str, str], Any] = {}
        decisions = []
        for hit in hits:
            name = (hit.quota.counter, hit.key)
            before = pending[name] if name in pending else self._table(hit.quota).get(hit.key)
            state, decision = hit.quota.advance(before, now_ms, hit)
            if decision.allowed:
                pending[name] = state
            decisions.append(decision)
        if not all(decisions):
            return [
                self._look(hit, now_ms) if decision.allowed else decision
                for hit, decision in zip(hits, decisions, strict=True)
            ]
        for hit, decision in zip(hits, decisions, strict=True):
            if hit.cost:
                state = pending[hit.quota.counter, hit.key]
                self._keep(self._table(hit.quota), hit.key, state, decision, now_ms)
        return decisions

    def _look(self, hit: Hit, now_ms: int) -> Decision:
        """What a hit that is not charged after all is told of its key."""
        look = Hit(hit.quota, hit.key, 0)
        _, decision = hit.quota.advance(self._table(hit.quota).get(hit.key), now_ms, look)
        return decision._replace(allowed=True, retry_ms=0)

    def _keep(self, table: _Table, key: str, state: Any, decision: Decision, now_ms: int) -> None:
        if decision.reset_ms:
            table.put(key, state, now_ms, self._is_full)
        else:
            table.forget(key)

    def _heal(self, hits: Sequence[Hit], now_ms: int) -> None:
        """The clock went back: the states of these keys may come from the future."""
        for hit in hits:
            table = self._table(hit.quota)
            state = table.get(hit.key)
            if state is not None:
                table.put(hit.key, hit.quota.heal(state, now_ms), now_ms, self._is_full)

    def _table(self, quota: Quota) -> _Table:
        table = self._tables.get(quota.counter)
        if table is None:
            table = self._tables[quota.counter] = _Table(quota)
        elif quota.amount < table.look.quota.amount:
            table.look = Hit(quota, "", 0)
        return table

    def _is_full(self) -> bool:
        return len(self) >= self._max_keys


class _Table:
    """The states of the keys of one quota, or of all that share a counter."""

    def __init__(self, quota: Quota) -> None:
        self.count = 0
        #: By the smallest amount, which says what is spent and so never forgotten.
        self.look = Hit(quota, "", 0)
        self._shards: list[dict[str, Any]] = [{} for _ in range(SHARDS)]
        self._next_swept = 0
        #: Keys written until the next shard is swept.
        self._due = 0

    def get(self, key: str) -> Any:
        return self._shards[hash(key) & (SHARDS - 1)].get(key)

    def put(self, key: str, state: Any, now_ms: int, is_full: Callable[[], bool]) -> None:
        shard = self._shards[hash(key) & (SHARDS - 1)]
        if key not in shard:
            if is_full():
                self._evict(shard, now_ms)
            self.count += 1
        shard[key] = state
        self._due -= 1
        if self._due <= 0:
            self._sweep(now_ms)

    def forget(self, key: str) -> bool:
        shard = self._shards[hash(key) & (SHARDS - 1)]
        if shard.pop(key, _ABSENT) is _ABSENT:
            return False
        self.count -= 1
        return True

    def _sweep(self, now_ms: int) -> None:
        """Drop what is as good as never hit from one shard, now that so many were written."""
        self._drop_expired(self._shards[self._next_swept], now_ms)
        self._next_swept = (self._next_swept + 1) & (SHARDS - 1)
        self._due = 1 + len(self._shards[self._next_swept]) // SWEPT_PER_WRITE

    def _drop_expired(self, shard: dict[str, Any], now_ms: int) -> None:
        over = [key for key, state in shard.items() if not self._decide(state, now_ms).reset_ms]
        for key in over:
            del shard[key]
        self.count -= len(over)

    def _evict(self, shard: dict[str, Any], now_ms: int) -> None:
        self._drop_expired(shard, now_ms)
        left = {key: self._decide(state, now_ms).remaining for key, state in shard.items()}
        key = max(left, key=left.__getitem__, default=None)
        if key is not None and left[key]:
            del shard[key]
            self.count -= 1

    def _decide(self, state: Any, now_ms: int) -> Decision:
        quota = self.look.quota
        return quota.advance(quota.heal(state, now_ms), now_ms, self.look)[1]
