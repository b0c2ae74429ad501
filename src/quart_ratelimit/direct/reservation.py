"""Costs known only afterwards: charge an estimate, settle the truth.

Knows quotas and how to charge; nothing of requests. For tokens of a language model, bytes, query
time: what the work cost is known when it is done, and what it may cost is refused before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType

from ..errors import ConfigurationError
from ..quotas import Decision, Hit
from .ledger import Charge, Tell

#: Charges or gives back the rest of what these decisions charged.
Correct = Callable[[Sequence[Hit], Sequence[Decision]], Awaitable[list[Decision]]]


class Reservation:
    """What was charged before the work; `settle` says what it cost.

    Without a word the charge stands. Work that fails unsettled is given back whole.
    """

    def __init__(
        self, correct: Correct, tell: Tell, hits: Sequence[Hit], decisions: Sequence[Decision]
    ) -> None:
        self._correct = correct
        self._tell = tell
        self._hits = hits
        #: The answer to each hit, from before the work and, once closed, from after it.
        self.decisions = list(decisions)
        self._actual: int | None = None
        self._closed = False

    def settle(self, actual: int) -> None:
        """Say what the work cost; it is charged or given back as the block ends.

        More than the estimate is charged even past the limit: it was spent. The last word counts.
        Raises `ConfigurationError` for a cost below 0, and once the block has ended.
        """
        if type(actual) is not int or actual < 0:
            raise ConfigurationError(f"settle({actual!r}): a cost is a whole number, 0 or more")
        if self._closed:
            raise ConfigurationError("settle() inside the block: this reservation has ended")
        self._actual = actual

    async def close(self, *, failed: bool = False) -> None:
        """Charge or give back the difference; once, and to the end even if the caller leaves."""
        if self._closed:
            return
        self._closed = True
        actual = 0 if failed and self._actual is None else self._actual
        if actual is None:
            return
        corrections = [
            hit._replace(cost=actual - hit.cost, at_ms=decision.at_ms, forced=actual > hit.cost)
            for hit, decision in zip(self._hits, self.decisions, strict=True)
            if actual != hit.cost
        ]
        if corrections:
            self.decisions = await asyncio.shield(self._carry_out(corrections))

    async def _carry_out(self, corrections: Sequence[Hit]) -> list[Decision]:
        decisions = await self._correct(corrections, self.decisions)
        self._tell(corrections, decisions)
        return decisions


class Reserving:
    """``async with``: charges on entry, settles on exit.

    ``ask`` says what is to be charged, and who is to be told of the answer.
    """

    def __init__(
        self,
        charge: Charge,
        correct: Correct,
        ask: Callable[[], Awaitable[tuple[Sequence[Hit], Tell]]],
    ) -> None:
        self._charge = charge
        self._correct = correct
        self._ask = ask
        self._reservation: Reservation | None = None

    async def __aenter__(self) -> Reservation:
        hits, tell = await self._ask()
        decisions = await self._charge(hits)
        error = tell(hits, decisions)
        if error is not None:
            raise error
        self._reservation = Reservation(self._correct, tell, hits, decisions)
        return self._reservation

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._reservation is not None:
            await self._reservation.close(failed=error is not None)
