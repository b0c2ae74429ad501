"""Waiting for a turn instead of a refusal: fair, bounded, cancellable.

Callers of one key in one worker stand in one queue and only its head asks the store, once for each
wait that it was told; no one polls. Workers compete head against head.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from ..quotas import Decision, Hit
from ..quotas.quota import longest_wait_ms
from .ledger import Charge

Sleep = Callable[[float], Awaitable[None]]


class Turns:
    """The queues of one worker, one for each set of keys that is waited for."""

    def __init__(
        self,
        charge: Charge,
        *,
        longest: int = 1000,
        sleep: Sleep = asyncio.sleep,
        now: Callable[[], float] | None = None,
    ) -> None:
        self._charge = charge
        self._longest = longest
        self._sleep = sleep
        self._now = now
        self._queues: dict[tuple[str, ...], deque[asyncio.Event]] = {}

    def waiting(self) -> int:
        """How many callers stand in all queues."""
        return sum(map(len, self._queues.values()))

    async def take(self, hits: Sequence[Hit], seconds: float) -> list[Decision]:
        """The decisions once all are allowed, or the refusals if that cannot be in ``seconds``.

        Told at once, without waiting in vain: when the wait would outlast them, and when
        ``longest`` callers stand in the queue already. A caller that is cancelled leaves the queue.
        """
        now = self._now or asyncio.get_running_loop().time
        end = now() + seconds
        name = tuple(f"{hit.quota.tag}:{hit.key}" for hit in hits)
        queue = self._queues.setdefault(name, deque())
        if len(queue) >= self._longest:
            return await self._turned_away(hits)
        turn = asyncio.Event()
        queue.append(turn)
        try:
            if queue[0] is not turn and not await _until(turn, end - now()):
                return await self._turned_away(hits)
            while True:
                decisions = await self._charge(hits)
                wait_ms = longest_wait_ms(decisions)
                if not wait_ms or now() + wait_ms / 1000 > end:
                    return decisions
                await self._sleep(wait_ms / 1000)
        finally:
            was_head = queue[0] is turn
            queue.remove(turn)
            if not queue:
                del self._queues[name]
            elif was_head:
                queue[0].set()

    async def _turned_away(self, hits: Sequence[Hit]) -> list[Decision]:
        """What a look would be told, but refused: the others in the queue come first."""
        looks = await self._charge([hit._replace(cost=0) for hit in hits])
        return [
            look._replace(allowed=False, retry_ms=max(1, look.retry_ms or 0), by="queue")
            for look in looks
        ]


async def _until(turn: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await turn.wait()
    except TimeoutError:
        return False
    return True
