"""Waiting for a turn instead of a refusal: fair, bounded, cancellable.

Callers of one key in one worker stand in one queue and only its head calls the store, once for each
wait that the store returned; no one polls. Workers compete head against head.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from ..quotas import GCRA, Decision, Hit, Quota
from ..quotas.quota import longest_wait_ms
from .ledger import Ledger

Sleep = Callable[[float], Awaitable[None]]


@dataclass(eq=False, slots=True)
class Turn:
    """One caller in a queue."""

    cost: int
    #: When it waits no longer.
    end: float
    #: Set when it is the head, or turned away.
    called: asyncio.Event = field(default_factory=asyncio.Event)
    #: The shortest wait that it could have, in ms, if that is too long.
    too_long_ms: int = 0


@dataclass(eq=False, slots=True)
class Queue:
    """The callers that wait for one set of keys."""

    quotas: Sequence[Quota]
    turns: deque[Turn] = field(default_factory=deque)
    #: When the head can be allowed at the earliest; None: that is not known yet.
    head_at: float | None = None

    def too_long_ms(self, turn: Turn, now: float) -> int:
        """The shortest wait of a caller who comes now; 0 if it may be in time."""
        return self._too_long_ms(turn, sum(one.cost for one in self._behind_head()), now)

    def turn_away(self, now: float) -> None:
        """Call those who cannot be in time any more; who comes after them may still be."""
        units = 0
        for turn in list(self._behind_head()):
            turn.too_long_ms = self._too_long_ms(turn, units, now)
            if turn.too_long_ms:
                turn.called.set()
            else:
                units += turn.cost

    def _behind_head(self) -> Iterator[Turn]:
        return (turn for turn in islice(self.turns, 1, None) if not turn.too_long_ms)

    def _too_long_ms(self, turn: Turn, units: int, now: float) -> int:
        """The shortest wait behind the head and ``units`` units; longer if other workers charge."""
        if self.head_at is None or not self.turns:
            return 0
        units += turn.cost
        behind = max(_fastest_ms(quota, self.turns[0].cost, units) for quota in self.quotas)
        wait = max(0.0, self.head_at - now) + behind / 1000
        return round(wait * 1000) if now + wait > turn.end else 0


class Turns:
    """The queues of one worker, one for each set of keys that is waited for."""

    def __init__(
        self,
        *,
        longest: int = 1000,
        sleep: Sleep = asyncio.sleep,
        now: Callable[[], float] | None = None,
    ) -> None:
        self._longest = longest
        self._sleep = sleep
        self._now = now
        self._queues: dict[tuple[str, ...], Queue] = {}

    def waiting(self) -> int:
        """How many callers stand in all queues."""
        return sum(len(queue.turns) for queue in self._queues.values())

    async def take(self, ledger: Ledger, hits: Sequence[Hit], seconds: float) -> list[Decision]:
        """The decisions once all are allowed, or the refusals if that cannot be in ``seconds``.

        Refused at once, without waiting: who cannot be in time with those in the queue before it,
        and who comes when ``longest`` callers stand there. A caller that is cancelled leaves the
        queue and is charged nothing.
        """
        now = self._now or asyncio.get_running_loop().time
        name = tuple(f"{hit.quota.tag}:{hit.key}" for hit in hits)
        queue = self._queues.get(name) or Queue([hit.quota for hit in hits])
        turn = Turn(hits[0].cost, now() + seconds)
        turn.too_long_ms = queue.too_long_ms(turn, now())
        if turn.too_long_ms or len(queue.turns) >= self._longest:
            return await _refusals(ledger, hits, turn.too_long_ms)
        self._queues[name] = queue
        queue.turns.append(turn)
        try:
            decisions = await self._in_turn(ledger, hits, queue, turn, now)
        finally:
            self._leave(name, queue, turn)
        return decisions or await _refusals(ledger, hits, turn.too_long_ms)

    async def _in_turn(
        self,
        ledger: Ledger,
        hits: Sequence[Hit],
        queue: Queue,
        turn: Turn,
        now: Callable[[], float],
    ) -> list[Decision]:
        """Wait to be the head, then for the store; empty for who is turned away before."""
        if queue.turns[0] is not turn:
            in_time = await _until(turn.called, turn.end - now())
            if turn.too_long_ms or not in_time:
                return []
        while True:
            decisions = await ledger.take(hits)
            wait_ms = longest_wait_ms(decisions)
            if not wait_ms or now() + wait_ms / 1000 > turn.end:
                return decisions
            queue.head_at = now() + wait_ms / 1000
            queue.turn_away(now())
            await self._sleep(wait_ms / 1000)

    def _leave(self, name: tuple[str, ...], queue: Queue, turn: Turn) -> None:
        was_head = queue.turns[0] is turn
        queue.turns.remove(turn)
        if not queue.turns:
            del self._queues[name]
        elif was_head:
            queue.head_at = None
            queue.turns[0].called.set()


async def _refusals(ledger: Ledger, hits: Sequence[Hit], wait_ms: int) -> list[Decision]:
    """The decision of a look, but refused: the others in the queue come first."""
    looks = await ledger.charge([hit._replace(cost=0) for hit in hits])
    return [
        look._replace(allowed=False, retry_ms=max(1, wait_ms, look.retry_ms or 0), by="queue")
        for look in looks
    ]


async def _until(called: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await called.wait()
    except TimeoutError:
        return False
    return True


def _fastest_ms(quota: Quota, first: int, units: int) -> int:
    """From the head's ``first`` units on, until ``units`` can be allowed, if no other hit comes.

    A window has room for its amount once in each period; GCRA gives back unit by unit.
    """
    if isinstance(quota, GCRA):
        return units * quota.period_ms // quota.amount
    return (first + units - 1) // quota.amount * quota.period_ms
