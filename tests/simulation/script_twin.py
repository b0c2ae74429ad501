"""The package's one script, decided by its Python twins: what EVALSHA does on a simulated Redis.

The driver repeats ``script.lua`` step by step; the arithmetic is each quota's own `advance`.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass

from quart_ratelimit.quotas import (
    GCRA,
    Concurrency,
    Decision,
    FixedWindow,
    Hit,
    MovingWindow,
    Penalty,
    Quota,
    SlidingWindow,
    StrictWindow,
)
from quart_ratelimit.quotas.fixed_window import KEPT_LONGER, USED_BITS
from quart_ratelimit.quotas.quota import MAX_EXACT

from .keyspace import WRONGTYPE, Entry, Keyspace
from .resp import RedisError

#: What each algorithm's Lua keeps its state in.
KINDS = {"moving_window": "list", "concurrency": "zset"}


@dataclass(frozen=True)
class Charge:
    """One hit as the server decided it."""

    key: str
    spec: tuple[str | int, ...]
    hit: Hit
    decision: Decision
    #: Whether its whole request was allowed; else nothing was charged.
    counts: bool


@functools.lru_cache(4096)
def quota_of(spec: tuple[str | int, ...]) -> Quota:
    """The quota that a spec describes."""
    name, amount, period_ms, *rest = spec
    assert isinstance(amount, int)
    assert isinstance(period_ms, int)
    numbers = [number for number in rest if isinstance(number, int)]
    period = period_ms // 1000
    if name == "gcra":
        quota = GCRA(amount, period, burst=numbers[0])
        object.__setattr__(quota, "_drain", numbers[1])
        object.__setattr__(quota, "_unit", numbers[2])
        return quota
    if name == "fixed_window":
        return FixedWindow(amount, period, aligned=bool(numbers[0]))
    if name == "strict_window":
        return StrictWindow(amount, period, segments=numbers[0])
    if name == "penalty":
        blocks = tuple(block // 1000 for block in numbers[1:])
        return Penalty(amount, period, forget=numbers[0] // 1000, blocks=blocks)
    kinds = {"sliding_window": SlidingWindow, "moving_window": MovingWindow}
    if name == "concurrency":
        return Concurrency(amount, period)
    return kinds[str(name)](amount, period)


class _InKey(FixedWindow):
    """A window by the clock whose number stands in its key: the key says when it ends."""

    end = 0

    def _end(self, now_ms: int) -> int:
        return max(now_ms + 1, type(self).end)


def _aligned(quota: FixedWindow, key: str) -> FixedWindow:
    number = key.rpartition(":")[2]
    end = (int(number) + 1) * quota.period_ms
    kind = type("_InThisKey", (_InKey,), {"end": end, "__slots__": ()})
    made: FixedWindow = kind(quota.amount, quota.period, aligned=True)
    return made


class Run:
    """One run of the script: states as they are decided, written at the end."""

    def __init__(self, keyspace: Keyspace, now: int, log: list[Charge]) -> None:
        self._keyspace = keyspace
        self._now = now
        self._log = log
        self._states: dict[str, object] = {}
        self._changed: dict[str, tuple[str | int, ...]] = {}

    def single(self, key: str, spec: tuple[str | int, ...]) -> list[object]:
        """One plain hit."""
        hit = Hit(quota_of(spec), key)
        state, decision = self._advance(spec, hit, self._load(key, spec))
        if decision.allowed:
            self._save(key, state, spec)
        self._log.append(Charge(key, spec, hit, decision, decision.allowed))
        return [self._now, *_numbers(decision)]

    def plan(self, keys: Sequence[str], text: bytes) -> list[object]:
        """Several requests, each all-or-nothing."""
        plan = json.loads(text)
        specs = [tuple(spec) for spec in plan["specs"]]
        reply: list[object] = [self._now]
        errors: list[str] = []
        for request in plan["requests"]:
            items = [_item(keys, specs, item) for item in request]
            try:
                decisions = self._decide(items)
            except RedisError as error:
                errors.append(str(error))
                reply += [-1, len(errors), 0, 0] * len(items)
                continue
            for (spec, hit), decision in zip(items, decisions, strict=True):
                self._log.append(Charge(hit.key, spec, hit, decision, all(decisions)))
                reply += _numbers(decision)
        for key, spec in self._changed.items():
            self._save(key, self._states[key], spec)
        return [*reply, *errors]

    def _decide(self, items: list[tuple[tuple[str | int, ...], Hit]]) -> list[Decision]:
        pending: dict[str, object] = {}
        decisions: list[Decision] = []
        for spec, hit in items:
            if hit.key not in self._states:
                self._states[hit.key] = self._load(hit.key, spec)
            before = pending.get(hit.key, self._states[hit.key])
            state, decision = self._advance(spec, hit, before)
            if decision.allowed:
                pending[hit.key] = state
            decisions.append(decision)
        if len(items) > 1 and not all(decisions):
            return [
                self._look(spec, hit) if decision.allowed else decision
                for (spec, hit), decision in zip(items, decisions, strict=True)
            ]
        if not all(decisions):
            return decisions
        for spec, hit in items:
            self._states[hit.key] = pending[hit.key]
            if hit.cost:
                self._changed[hit.key] = spec
        return decisions

    def _look(self, spec: tuple[str | int, ...], hit: Hit) -> Decision:
        look = hit._replace(cost=0, forced=False, lease="", at_ms=0)
        _, decision = self._advance(spec, look, self._states[hit.key])
        return decision._replace(allowed=True, retry_ms=0)

    def _quota(self, key: str, spec: tuple[str | int, ...]) -> Quota:
        quota = quota_of(spec)
        if isinstance(quota, FixedWindow) and quota.aligned:
            return _aligned(quota, key)
        return quota

    def _advance(
        self, spec: tuple[str | int, ...], hit: Hit, state: object
    ) -> tuple[object, Decision]:
        return self._quota(hit.key, spec).advance(state, self._now, hit)

    def _load(self, key: str, spec: tuple[str | int, ...]) -> object:
        entry = self._keyspace.get(key, self._now, KINDS.get(str(spec[0]), "string"))
        if entry is None:
            return None
        quota = self._quota(key, spec)
        if isinstance(quota, FixedWindow) and quota.aligned:
            used = int(entry.value) if str(entry.value).isdigit() else 0  # type: ignore[call-overload]
            return (quota._end(self._now) << USED_BITS) + min(used, MAX_EXACT)
        if entry.algorithm != spec[0]:  # the pattern of the Lua does not match
            return None
        healed = quota.heal(entry.value, self._now)
        if healed != entry.value:
            self._save(key, healed, spec)
        return healed

    def _save(self, key: str, state: object, spec: tuple[str | int, ...]) -> None:
        quota, entries = self._quota(key, spec), self._keyspace.entries
        kind = KINDS.get(str(spec[0]), "string")
        if isinstance(quota, FixedWindow) and quota.aligned:
            assert isinstance(state, int)
            used, before = state & MAX_EXACT, self._keyspace.get(key, self._now)
            if not used:
                entries.pop(key, None)
                return
            longest = self._now + quota.period_ms + KEPT_LONGER * 1000
            until = before.until if before else None
            if until is None or not self._now < until <= longest:
                until = longest
            entries[key] = Entry(kind, used, until, "counter")
            return
        _, look = quota.advance(state, self._now, Hit(quota, key, 0))
        if look.reset_ms == 0:
            entries.pop(key, None)
        else:
            entries[key] = Entry(kind, state, self._now + look.reset_ms, str(spec[0]))


def _item(
    keys: Sequence[str], specs: Sequence[tuple[str | int, ...]], item: list[object]
) -> tuple[tuple[str | int, ...], Hit]:
    key_index, spec_index, *rest = item
    assert isinstance(key_index, int)
    assert isinstance(spec_index, int)
    spec, key = specs[spec_index - 1], keys[key_index - 1]
    if not rest:
        return spec, Hit(quota_of(spec), key)
    cost, at_ms, forced, lease = rest
    return spec, Hit(quota_of(spec), key, cost, at_ms, bool(forced), lease)  # type: ignore[arg-type]


def _numbers(decision: Decision) -> list[int]:
    retry = -1 if decision.retry_ms is None else decision.retry_ms
    return [int(decision.allowed), decision.remaining, decision.reset_ms, retry]


__all__ = ["WRONGTYPE", "Charge", "Run", "quota_of"]
