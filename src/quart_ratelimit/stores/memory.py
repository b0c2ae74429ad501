"""Keeps state in this process: for one worker, for tests, and for when Redis is away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from marshal import dumps, loads
from typing import Any

from ..clock import Clock, wall_ms
from ..errors import ConfigurationError
from ..quotas import Decision, Hit, Quota

#: Small dictionaries that one quota's keys are spread over, a power of 2: each grows in well under
#: a millisecond.
SHARDS = 1024
#: Keys looked at for each new key: two, so that the sweep outruns what comes.
SWEPT_PER_NEW = 2
#: Keys looked at for one to make room, as Redis does to evict.
SAMPLE = 64


class MemoryStore:
    """Counts in this process: with several workers, each worker allows the whole amount.

    - ``max_keys``: about how many keys are kept (default 1,000,000). Beyond this number a new key
      replaces, of a few keys, the key with most left. A key with nothing left is never replaced,
      so such keys may exceed the bound.
    - ``now_ms``: returns the time in ms, for tests (default: the machine's clock).

    Deciding has no await, so no other hit comes between a read and its write. Raises
    `ConfigurationError`.
    """

    def __init__(self, *, max_keys: int = 1_000_000, now_ms: Clock = wall_ms) -> None:
        if max_keys < 1:
            raise ConfigurationError(f"max_keys={max_keys!r} must be 1 or more, e.g. 100000")
        self._max_keys = max_keys
        self.now_ms = now_ms
        self._tables: dict[str, _Table] = {}
        self._newest_ms = 0

    async def start(self) -> None:
        """Nothing to open."""

    async def aclose(self) -> None:
        """Nothing to close; the counts stay."""

    async def hit(self, hits: Sequence[Hit]) -> list[Decision]:
        """Carry out all hits or none; see `Store.hit`."""
        return self.decide(hits, self.now_ms())

    def known_refusal(self, hits: Sequence[Hit]) -> list[Decision] | None:
        """The refusal that these hits would get; None: they would be allowed. Charges nothing."""
        if any(hit.cost < 0 or hit.forced for hit in hits):
            return None
        looks = [hit._replace(cost=0) for hit in hits]
        decisions = self.decide(looks, self.now_ms())
        return None if all(decisions) else decisions

    async def reset(self, hits: Sequence[Hit]) -> int:
        """Forget the state behind these hits; how many keys there were."""
        tables = self._tables
        return sum(tables[h.quota.counter].forget(h.key) for h in hits if h.quota.counter in tables)

    async def clear(self, owns: Callable[[str], bool] | None = None) -> int:
        """Forget the keys for which ``owns`` is true, or every key; how many there were."""
        if owns is not None:
            return sum(table.forget_those(owns) for table in self._tables.values())
        count = len(self)
        self._tables.clear()
        return count

    def __len__(self) -> int:
        return sum(table.count for table in self._tables.values())

    def decide(self, hits: Sequence[Hit], now_ms: int) -> list[Decision]:
        """Decide one request at that time: the twin of ``script.lua``."""
        if now_ms < self._newest_ms:
            self._heal(hits, now_ms)
        else:
            self._newest_ms = now_ms
        if len(hits) > 1:
            return self._decide_together(hits, now_ms)
        hit = hits[0]
        quota = hit.quota
        if hit.late:
            hit = fitted(hit, self.state(hit), now_ms)
        table = self._tables.get(quota.counter)
        if table is None or quota.amount < table.amount:
            table = self._table(quota)
        key = hit.key
        shard = table.shards[hash(key) & (SHARDS - 1)]
        kept = shard.get(key)
        # As `_thaw` and `_freeze` do, without two calls in every hit.
        known = loads(kept) if type(kept) is bytes else kept  # noqa: S302  # our own bytes
        state, decision = quota.advance(known, now_ms, hit)
        if decision.allowed and hit.cost:
            if kept is None or not decision.reset_ms:
                self._keep(table, key, state, decision, now_ms)
            else:
                shard[key] = dumps(state, 2) if type(state) is tuple else state
        return [decision]

    def state(self, hit: Hit) -> Any:
        """The state of a hit's key; None: the key was never hit."""
        table = self._tables.get(hit.quota.counter)
        return None if table is None else table.get(hit.key)

    def adopt(self, hit: Hit, state: object, now_ms: int) -> None:
        """Replace the state of a hit's key; None: the key was never hit."""
        table = self._table(hit.quota)
        if state is None:
            table.forget(hit.key)
        else:
            table.put(hit.key, state, now_ms, self._excess)

    def _decide_together(self, hits: Sequence[Hit], now_ms: int) -> list[Decision]:
        pending: dict[tuple[str, str], object] = {}
        decisions = []
        for hit in hits:
            name = (hit.quota.counter, hit.key)
            before = pending[name] if name in pending else self._table(hit.quota).get(hit.key)
            if hit.late:
                hit = fitted(hit, before, now_ms)  # noqa: PLW2901
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
        """The decision of a hit that is not charged after all, by its key."""
        look = Hit(hit.quota, hit.key, 0)
        _, decision = hit.quota.advance(self._table(hit.quota).get(hit.key), now_ms, look)
        return decision._replace(allowed=True, retry_ms=0)

    def _keep(
        self, table: _Table, key: str, state: object, decision: Decision, now_ms: int
    ) -> None:
        if decision.reset_ms:
            table.put(key, state, now_ms, self._excess)
        else:
            table.forget(key)

    def _heal(self, hits: Sequence[Hit], now_ms: int) -> None:
        """The clock went back: the states of these keys may come from the future."""
        for hit in hits:
            table = self._table(hit.quota)
            state = table.get(hit.key)
            if state is not None:
                table.put(hit.key, hit.quota.heal(state, now_ms), now_ms, self._excess)

    def _table(self, quota: Quota) -> _Table:
        table = self._tables.get(quota.counter)
        if table is None:
            table = self._tables[quota.counter] = _Table(quota)
        elif quota.amount < table.amount:
            table.judge_by(quota)
        return table

    def _excess(self) -> int:
        """How many keys must go for a new one."""
        return len(self) + 1 - self._max_keys


def fitted(hit: Hit, state: Any, now_ms: int) -> Hit:
    """A late hit as it is charged now: no more than there is room for."""
    _, look = hit.quota.advance(state, now_ms, hit._replace(cost=0))
    return hit._replace(cost=min(hit.cost, look.remaining), forced=True)


class _Table:
    """The states of the keys of one quota, or of all that share a counter."""

    def __init__(self, quota: Quota) -> None:
        self.count = 0
        self.shards: list[dict[str, object]] = [{} for _ in range(SHARDS)]
        self._swept = self.shards[0]
        self._next_swept = 0
        #: Keys of the shard that is being swept, not yet looked at.
        self._unswept: list[str] = []
        self.judge_by(quota)

    def judge_by(self, quota: Quota) -> None:
        """The smallest amount says what is spent, and so never forgotten."""
        self.amount = quota.amount
        self._look = Hit(quota, "", 0)

    def get(self, key: str) -> object:
        kept = self.shards[hash(key) & (SHARDS - 1)].get(key)
        return None if kept is None else _thaw(kept)

    def put(self, key: str, state: object, now_ms: int, excess: Callable[[], int]) -> None:
        shard = self.shards[hash(key) & (SHARDS - 1)]
        if key not in shard:
            self._sweep(now_ms)
            over = excess()
            if over > 0:
                self._evict(shard, hash(key), over, now_ms)
            self.count += 1
        shard[key] = _freeze(state)

    def forget(self, key: str) -> bool:
        found = self.shards[hash(key) & (SHARDS - 1)].pop(key, None) is not None
        self.count -= found
        return found

    def forget_those(self, owns: Callable[[str], bool]) -> int:
        """Forget the keys for which ``owns`` is true; how many there were."""
        found = [key for shard in self.shards for key in shard if owns(key)]
        return sum(map(self.forget, found))

    def _sweep(self, now_ms: int) -> None:
        """Look at the next few keys, and drop what is as good as never hit."""
        for _ in range(SWEPT_PER_NEW):
            if not self._unswept:
                self._swept = self.shards[self._next_swept]
                self._unswept = list(self._swept)
                self._next_swept = (self._next_swept + 1) & (SHARDS - 1)
            elif not self._look_at(self._swept, key := self._unswept.pop(), now_ms).reset_ms:
                self.forget(key)

    def _evict(self, shard: dict[str, object], start: int, excess: int, now_ms: int) -> None:
        """Drop some of a sample's keys, those with most left."""
        first = start % max(1, len(shard) - SAMPLE + 1)
        sample = islice(shard, first, first + SAMPLE)
        left = {key: self._look_at(shard, key, now_ms).remaining for key in sample}
        spare = sorted((key for key in left if left[key]), key=left.__getitem__, reverse=True)
        for key in spare[:excess]:
            self.forget(key)

    def _look_at(self, shard: dict[str, object], key: str, now_ms: int) -> Decision:
        quota, kept = self._look.quota, shard.get(key)
        state = None if kept is None else quota.heal(_thaw(kept), now_ms)
        return quota.advance(state, now_ms, self._look)[1]


def _freeze(state: object) -> object:
    """A state as the garbage collector passes it by.

    It looks into every tuple, and into what holds one, at each full collection: a million would
    stop the event loop for a fifth of a second.
    """
    return dumps(state, 2) if type(state) is tuple else state


def _thaw(kept: object) -> object:
    return loads(kept) if type(kept) is bytes else kept  # noqa: S302  # our own bytes
