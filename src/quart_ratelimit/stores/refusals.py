"""Refuses again from memory what the store refused a moment ago: a flood is not handed on.

A store around a store.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..clock import Clock, monotonic_ms
from ..errors import ConfigurationError
from ..quotas import Concurrency, Decision, Hit
from .store import Store

#: Milliseconds that a refusal is remembered at most: a reset by another worker is seen after these.
REMEMBERED_MS = 1000
#: Requests remembered at least; twice as many at most.
REMEMBERED = 10_000

#: A quota's tag and a key.
_Name = tuple[str, str]


class _Refusal(NamedTuple):
    at_ms: int
    until_ms: int
    #: What was asked for of this key.
    cost: int
    #: The whole request that it was part of, and what all of it was told.
    names: list[_Name]
    decisions: list[Decision]


class RememberingStore:
    """Asks a store, but not again for what it refused until its time has come.

    A refusal is remembered for ``longest_ms`` at most, and never past its own ``retry_ms``: the
    wait stays exact. A dear hit that was refused does not refuse a cheaper one. Places in flight
    come free at any time, so their refusals are not remembered.
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

    async def start(self) -> None:
        """Start the store."""
        await self._store.start()

    async def aclose(self) -> None:
        """Close the store."""
        await self._store.aclose()

    async def hit(self, hits: Sequence[Hit]) -> list[Decision]:
        """The store's decisions, or the refusal that it gave a moment ago (by "memory")."""
        known = self.refusal(hits)
        if known is not None:
            return known
        decisions = await self._store.hit(hits)
        for decision in decisions:
            if not decision.allowed:
                self._remember(hits, decisions)
                break
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
        if not self._young and not self._old:
            return None
        names = [(hit.quota.tag, hit.key) for hit in hits]
        for hit, name in zip(hits, names, strict=True):
            known = self._young.get(name) or self._old.get(name)
            if known is None:
                continue
            now = self._now_ms()
            if hit.cost < 0 or now >= known.until_ms:
                self._drop(name)  # what is given back may make room
            elif known.names == names and (hit.cost or 1) >= known.cost and not hit.forced:
                return [_later(decision, now - known.at_ms) for decision in known.decisions]
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
        until, cost = now + min(self._longest_ms, wait), hits[longest].cost or 1
        self._young[names[longest]] = _Refusal(now, until, cost, names, decisions)
        if len(self._young) > self._size:
            self._old, self._young = self._young, {}

    def _forget(self, hits: Sequence[Hit]) -> None:
        for hit in hits:
            self._drop((hit.quota.tag, hit.key))

    def _drop(self, name: _Name) -> None:
        self._young.pop(name, None)
        self._old.pop(name, None)


def _later(decision: Decision, passed: int) -> Decision:
    """The same decision so many milliseconds later."""
    retry = decision.retry_ms
    return Decision(
        decision.allowed,
        decision.remaining,
        max(0, decision.reset_ms - passed),
        max(1, retry - passed) if retry else retry,
        decision.at_ms + passed,
        "memory",
    )
