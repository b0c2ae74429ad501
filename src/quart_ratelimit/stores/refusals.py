"""What the store refused a moment ago, so that a flood of refused hits does not reach the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..clock import Clock, monotonic_ms
from ..errors import ConfigurationError
from ..quotas import Concurrency, Decision, FixedWindow, Hit
from ..recent import Recent

#: Milliseconds that a refusal is remembered at most: a reset by another worker is seen after these.
REMEMBERED_MS = 1000
#: While one request calls the store again, the others are refused for so many milliseconds: the
#: store is called once, not by all requests that come until it replies.
HELD_MS = 50
#: Refusals remembered at least; twice as many at most.
REMEMBERED = 10_000
#: Characters of the longest name that is remembered.
LONGEST_NAME = 2048


class Refusal(NamedTuple):
    """What a whole request was told when the store refused it."""

    #: What it is remembered under.
    name: str
    at_ms: int
    #: When the store is called again, and when the refusal has come to its end.
    until_ms: int
    end_ms: int
    hits: Sequence[Hit]
    decisions: list[Decision]

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


class Refusals:
    """The refusals of the last moment.

    A refusal is remembered for ``longest_ms`` at most (0: not at all), and never past its own
    ``retry_ms``: the wait stays exact. A costly hit that was refused does not refuse a cheaper
    one, nor a costlier one that may have to wait longer. Places in flight come free at any time,
    so their refusals are not remembered.
    """

    def __init__(self, *, longest_ms: int, now_ms: Clock = monotonic_ms) -> None:
        if longest_ms < 0:
            raise ConfigurationError(f"remember_ms={longest_ms!r} must be 0 or more, e.g. 1000")
        self._longest_ms = longest_ms
        self._refusals: Recent[str, Refusal] = Recent(REMEMBERED, longest=LONGEST_NAME)
        self.now_ms = now_ms

    def find(self, hits: Sequence[Hit]) -> Refusal | None:
        """The refusal that such a request would get, which may have come to its end."""
        if not self._refusals:
            return None
        for hit in hits:
            refusal = self._refusals.get(_name(hit))
            if refusal is None:
                continue
            if hit.cost < 0:
                self.forget([hit])  # what is given back may make room
            elif len(hits) == len(refusal.hits) and all(map(_waits_as_long, hits, refusal.hits)):
                return refusal
        return None

    def note(self, hits: Sequence[Hit], decisions: list[Decision]) -> None:
        """Remember a refusal, under the key that makes the request wait longest."""
        longest = -1
        for place, decision in enumerate(decisions):
            if decision.by != "store" or isinstance(hits[place].quota, Concurrency):
                return
            if decision.retry_ms and (
                longest < 0 or decision.retry_ms > (decisions[longest].retry_ms or 0)
            ):
                longest = place
        if longest < 0 or not self._longest_ms:
            return
        now, wait, name = self.now_ms(), decisions[longest].retry_ms or 0, _name(hits[longest])
        until = now + min(self._longest_ms, wait)
        self._refusals.put(name, Refusal(name, now, until, now + wait, hits, decisions))

    def hold(self, refusal: Refusal) -> None:
        """Repeat a refusal for a moment longer, while one request calls the store."""
        until = min(self.now_ms() + HELD_MS, refusal.end_ms)
        self._refusals.put(refusal.name, refusal._replace(until_ms=until))

    def forget(self, hits: Sequence[Hit]) -> None:
        """Forget what these hits were refused for."""
        for hit in hits:
            self._refusals.pop(_name(hit))

    def clear(self) -> None:
        """Forget every refusal."""
        self._refusals.clear()


def _name(hit: Hit) -> str:
    # A limit's name is printable: with a line break between them this is no other hit's.
    return f"{hit.quota.tag}\n{hit.key}"


def _waits_as_long(hit: Hit, refused: Hit) -> bool:
    """Whether a hit is told what the refused one was told."""
    if hit.quota.tag != refused.quota.tag or hit.key != refused.key or hit.forced:
        return False
    cost, least = hit.cost or 1, refused.cost or 1
    # Nothing comes back of a fixed window before all of it does.
    return cost == least or (
        cost > least and isinstance(hit.quota, FixedWindow) and cost <= hit.quota.amount
    )
