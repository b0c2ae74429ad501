"""Costs known only afterwards: charge an estimate, settle the truth.

Knows quotas and how to charge; nothing of requests. For tokens of a language model, bytes, query
time: what the work cost is known when it is done, and what it may cost is refused before.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType

from ..errors import ConfigurationError
from ..quotas import Decision, Hit
from .blocks import Blocks, block_of
from .ledger import Account


class Reservation:
    """An estimate that was charged before the work; `settle` sets the true cost.

    Without `settle` the estimate stays charged, also when the work is cancelled, as by a client
    that leaves, because the work may have cost as much. If the work raises before `settle`, the
    whole estimate is given back.
    """

    def __init__(
        self, account: Account, hits: Sequence[Hit], decisions: Sequence[Decision]
    ) -> None:
        self._account = account
        self._hits = hits
        #: The answer to each hit, from before the work and, once closed, from after it.
        self.decisions: list[Decision] = list(decisions)
        self._actual: int | None = None
        self._closed = False

    def settle(self, actual: int) -> None:
        """Set the true cost; the difference is charged or given back when the block ends.

        A cost above the estimate is charged even past the limit, because it was spent. The last
        call applies. Raises `ConfigurationError` for a cost below 0, and after the block's end.
        """
        if type(actual) is not int or actual < 0:
            raise ConfigurationError(
                f"settle({actual!r}): a cost must be a whole number of at least 0"
            )
        if self._closed:
            raise ConfigurationError("this reservation has ended; call settle() inside its block")
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
            settling = self._account.ledger.settle(corrections, self.decisions)
            self.decisions = await settling
            self._account.report(corrections, self.decisions)


class Reserving:
    """``async with``: charges on entry, settles on exit."""

    def __init__(self, cost: int, open_account: Callable[[], Awaitable[Account]]) -> None:
        self._cost = cost
        self._open_account = open_account
        self._blocks: Blocks[Reservation] = Blocks()

    def __aenter__(self) -> Awaitable[Reservation]:
        # Not a coroutine function: its caller is the frame that holds the ``async with``.
        return self._enter(block_of())

    def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> Awaitable[None]:
        return self._blocks.leave(block_of()).close(failed=isinstance(error, Exception))

    async def _enter(self, block: int) -> Reservation:
        account = await self._open_account()
        hits = [hit._replace(cost=self._cost) for hit in account.hits]
        decisions = await account.ledger.take(hits)
        error = account.report(hits, decisions)
        if error is not None:
            raise error
        reservation = Reservation(account, hits, decisions)
        try:
            return self._blocks.enter(block, hits[0].key, reservation)
        except ConfigurationError:
            await reservation.close(failed=True)
            raise
