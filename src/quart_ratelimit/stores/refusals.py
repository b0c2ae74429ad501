"""Refuses again from memory what the store refused a moment ago: a flood is not handed on.

A store around a store.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, NamedTuple

from ..clock import Clock, monotonic_ms
from ..errors import ConfigurationError
from ..quotas import Concurrency, Decision, FixedWindow, Hit
from ..quotas.fixed_window import is_counted
from .store import Store

#: Milliseconds that a refusal is remembered at most: a reset by another worker is seen after these.
REMEMBERED_MS = 1000
#: While one request asks again, the others are refused for so long: the store is asked once, not
#: by all that come until it answers.
HELD_MS = 50
#: Requests remembered at least; twice as many at most.
REMEMBERED = 10_000

#: A quota's tag and a key.
_Name = tuple[str, str]


class _Refusal(NamedTuple):
    #: What it is remembered under.
    name: _Name
    at_ms: int
    #: When the store is asked again, and when the refusal has come to its end.
    until_ms: int
    end_ms: int
    #: The whole request that it was part of, what it asked for, and what all of it was told.
    names: list[_Name]
    costs: list[int]
    decisions: list[Decision]


class RememberingStore:
    """Asks a store, but not again for what it refused until its time has come.

    A refusal is remembered for ``longest_ms`` at most, then one request asks again; and never past
    its own ``retry_ms``: the wait stays exact. A dear hit that was refused does not refuse a
    cheaper one, nor a dearer one that may have to wait longer. Places in flight come free at any
    time, so their refusals are not remembered.
    """

    def __init__(
        self,
        store: Store,
        *,
        longest_ms: int = REMEMBERED_MS,
        size: int = REMEMBERED,
        now_ms: Clock = monotonic_ms,
    ) -> None:
        if longest_ms < 1:
            raise ConfigurationError(f"longest_ms={longest_ms!r} must be 1 or more, e.g. 1000")
        self._store = store
        self._longest_ms = longest_ms
        self._size = size
        self._now_ms = now_ms
        # Two generations, so that old refusals are forgotten at no cost.
        self._young: dict[_Name, _Refusal] = {}
        self._old: dict[_Name, _Refusal] = {}
        #: Whether the store tells of its refusals itself, so that nothing waits here to see them.
        self._is_told = hasattr(store, "on_refusal")
        if self._is_told:
            store.on_refusal = self._remember  # type: ignore[attr-defined]

    async def start(self) -> None:
        """Start the store."""
        await self._store.start()

    async def aclose(self) -> None:
        """Close the store."""
        await self._store.aclose()

    def hit(self, hits: Sequence[Hit]) -> Coroutine[Any, Any, list[Decision]]:
        """The store's decisions, or the refusal that it gave a moment ago (by "memory")."""
        # `_hit` looks again, as it may begin later than it is called.
        ask = self._store.hit if self._is_told and self._known(hits) is None else self._hit
        return ask(hits)

    async def _hit(self, hits: Sequence[Hit]) -> list[Decision]:
        known = self._known(hits)
        if known is not None:
            now = self._now_ms()
            if now < known.until_ms:
                return _later(known, now)
            if now < known.end_ms:
                until = min(now + HELD_MS, known.end_ms)
                self._young[known.name] = known._replace(until_ms=until)
                if hits[0].cost and is_counted(hits):
                    # To look is one command; a hit would be four, and counted though refused.
                    decisions = await self._store.hit([hits[0]._replace(cost=0)])
                    if not decisions[0].allowed:
                        self._remember(hits, decisions)
                        return decisions
        decisions = await self._store.hit(hits)
        for decision in decisions:
            if not decision.allowed:
                self._remember(hits, decisions)
                return decisions
        if known is not None:
            self._drop(known.name)
        return decisions

    async def reset(self, hits: Sequence[Hit]) -> int:
        """Forget the state behind these hits, here and in the store. Raises `StoreError`."""
        self._forget(hits)
        return await self._store.reset(hits)

    async def clear(self) -> int:
        """Forget every key, here and in the store. Raises `StoreError`."""
        self._young, self._old = {}, {}
        return await self._store.clear()

    def refusal(self, hits: Sequence[Hit]) -> list[Decision] | None:
        """What is refused without asking the store; None: it must be asked."""
        known = self._known(hits)
        now = self._now_ms()
        return _later(known, now) if known is not None and now < known.until_ms else None

    def refuses(self, hits: Sequence[Hit]) -> bool:
        """Whether `refusal` would find one."""
        known = self._known(hits)
        return known is not None and self._now_ms() < known.until_ms

    def _known(self, hits: Sequence[Hit]) -> _Refusal | None:
        """The refusal that such a request was told of last."""
        if not self._young and not self._old:
            return None
        names = [(hit.quota.tag, hit.key) for hit in hits]
        for hit, name in zip(hits, names, strict=True):
            known = self._young.get(name) or self._old.get(name)
            if known is None:
                continue
            if hit.cost < 0:
                self._drop(name)  # what is given back may make room
            elif known.names == names and all(map(_waits_as_long, hits, known.costs)):
                return known
        return None

    def _remember(self, hits: Sequence[Hit], decisions: list[Decision]) -> None:
        """Note the refusal that lasts longest under the key that it is due to."""
        names = [(hit.quota.tag, hit.key) for hit in hits]
        longest = -1
        for place, decision in enumerate(decisions):
            if decision.by != "store" or isinstance(hits[place].quota, Concurrency):
                return
            if decision.retry_ms and (
                longest < 0 or decision.retry_ms > (decisions[longest].retry_ms or 0)
            ):
                longest = place
        if longest < 0:
            return
        now, wait = self._now_ms(), decisions[longest].retry_ms or 0
        until, costs = now + min(self._longest_ms, wait), [hit.cost or 1 for hit in hits]
        name = names[longest]
        self._young[name] = _Refusal(name, now, until, now + wait, names, costs, decisions)
        if len(self._young) > self._size:
            self._old, self._young = self._young, {}

    def _forget(self, hits: Sequence[Hit]) -> None:
        for hit in hits:
            self._drop((hit.quota.tag, hit.key))

    def _drop(self, name: _Name) -> None:
        self._young.pop(name, None)
        self._old.pop(name, None)


def _waits_as_long(hit: Hit, refused: int) -> bool:
    """Whether a hit of that refused cost is told what this one would be."""
    cost, quota = hit.cost or 1, hit.quota
    if hit.forced or cost < refused:
        return False
    # Nothing comes back of a fixed window before all of it does.
    return cost == refused or (isinstance(quota, FixedWindow) and cost <= quota.amount)


def _later(known: _Refusal, now_ms: int) -> list[Decision]:
    """The same decisions, as they are at that time."""
    passed = now_ms - known.at_ms
    return [
        Decision(
            decision.allowed,
            decision.remaining,
            max(0, decision.reset_ms - passed),
            max(1, decision.retry_ms - passed) if decision.retry_ms else decision.retry_ms,
            decision.at_ms + passed,
            "memory",
        )
        for decision in known.decisions
    ]
