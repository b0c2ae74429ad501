"""Where limits that code checks itself are charged, and where what they took is given back.

A charge ends with its caller; giving back does not. A caller may leave at any await, and the store
may be away, so what is given back belongs to the ledger until the store has confirmed it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import Any, NamedTuple

from ..errors import StoreError
from ..quotas import Decision, Hit
from ..signals import limit_decided, recorders, send_decided
from ..stores import Store
from ..stores.tasks import spawn

#: Leases that are kept for a store that is away; beyond it the oldest wait for their expiry.
MOST_KEPT = 10_000

#: How many of them are given back at once.
PIECE = 100

_log = logging.getLogger("quart_ratelimit")


class Ledger:
    """One limiter's charges and give-backs in one app, in this worker.

    Each parameter is a part of the limiter's binding:

    - ``store``: where it counts.
    - ``local``: where the store counts while it is away.
    - ``is_active``: whether anything is charged now.
    - ``sender``: the limiter, for signals.
    """

    def __init__(
        self, store: Store, local: Store, *, is_active: Callable[[], bool], sender: object
    ) -> None:
        self._store = store
        self._local = local
        self._is_active = is_active
        self._sender = sender
        #: What is under way whatever becomes of its caller.
        self._tasks: set[asyncio.Task[Any]] = set()
        #: Give-backs that no store has confirmed, with the time when their leases have expired.
        self._kept: dict[str, tuple[Hit, float]] = {}

    async def charge(self, hits: Sequence[Hit]) -> list[Decision]:
        """Charge all hits or none. Raises `StoreError` under the policy "raise"."""
        if not self._is_active():
            return [Decision(True, hit.quota.amount, 0, 0, by="off") for hit in hits]
        decisions = await self._store.hit(hits)
        if self._kept and decisions[0].by == "store":
            spawn(self._tasks, self._flush())
        if (recorders or limit_decided.receivers) and hits and hits[0].cost > 0:
            send_decided(self._sender, hits, decisions)
        return decisions

    async def take(self, hits: Sequence[Hit]) -> list[Decision]:
        """As `charge`; a caller that is cancelled meanwhile is charged nothing in the end."""
        charging = spawn(self._tasks, self.charge(hits))
        try:
            return await asyncio.shield(charging)
        except asyncio.CancelledError:
            spawn(self._tasks, self._undo(charging, hits))
            raise

    def give_back(
        self, hits: Sequence[Hit], charged: Sequence[Decision]
    ) -> Awaitable[list[Decision]]:
        """Carry out hits of costs below 0, each in the store that decided on its charge.

        What was never charged is not given back: its decision stands. A caller that is cancelled
        leaves it to its end. Raises `StoreError`.
        """
        return asyncio.shield(spawn(self._tasks, self._give_back(hits, charged)))

    def settle(self, hits: Sequence[Hit], charged: Sequence[Decision]) -> Awaitable[list[Decision]]:
        """Charge or give back the rest of what these decisions charged, though the caller leaves.

        An outage leaves the charge as it is, because no request can be refused any more.
        """
        return asyncio.shield(spawn(self._tasks, self._settle(hits, charged)))

    def release(self, hit: Hit) -> Awaitable[None]:
        """Start to give a lease back; the result ends when that is done, and raises nothing.

        No other request has this lease, so it may be given back again, and where it never was
        taken.
        """
        return asyncio.shield(spawn(self._tasks, self._release(hit._replace(cost=-1))))

    async def finish(self) -> None:
        """Wait for what is under way, as its app ends."""
        while self._tasks:
            await asyncio.wait(self._tasks)  # not `gather`: of ended tasks alone it never yields

    async def _undo(self, charging: asyncio.Task[list[Decision]], hits: Sequence[Hit]) -> None:
        await asyncio.wait([charging])
        # Looked at for a lease as well, or the event loop logs an error that was never retrieved.
        failed = charging.cancelled() or charging.exception() is not None
        if hits[0].lease:
            await self._release(hits[0]._replace(cost=-1))
        elif not failed and all(charging.result()):
            back = [
                hit._replace(cost=-hit.cost, at_ms=one.at_ms)
                for hit, one in zip(hits, charging.result(), strict=True)
            ]
            await self._settle(back, charging.result())

    async def _give_back(self, hits: Sequence[Hit], charged: Sequence[Decision]) -> list[Decision]:
        found = list(charged)
        for store, by in ((self._store, "store"), (self._local, "local")):
            places = [n for n, one in enumerate(charged) if one.allowed and one.by == by]
            decisions = await store.hit([hits[n] for n in places]) if places else []
            for place, decision in zip(places, decisions, strict=True):
                found[place] = decision if by == "store" else decision._replace(by=by)
        return found

    async def _settle(self, hits: Sequence[Hit], charged: Sequence[Decision]) -> list[Decision]:
        try:
            if hits[0].cost > 0:
                return await self.charge(hits)
            return await self._give_back(hits, charged)
        except Exception as error:  # the work is done: no error of a store may replace its result
            _log.warning("a charge could not be settled: %s", str(error))
            return list(charged)

    async def _release(self, back: Hit) -> None:
        if self._local is not self._store:
            await self._local.hit([back])
        if await self._confirmed(back):
            await self._flush()
            return
        self._kept[back.lease] = (back, time.monotonic() + back.quota.period)
        if len(self._kept) > MOST_KEPT:
            del self._kept[next(iter(self._kept))]

    async def _confirmed(self, back: Hit) -> bool:
        try:
            (decision,) = await self._store.hit([back])
        except Exception as error:
            if not isinstance(error, StoreError):
                _log.warning("a place could not be given back: %s", str(error))
            return False
        return decision.by == "store"

    async def _flush(self) -> None:
        """Give back what is kept, until the store is away again."""
        while self._kept:
            piece = [self._kept.pop(lease) for lease in list(islice(self._kept, PIECE))]
            living = [one for one in piece if one[1] > time.monotonic()]
            confirmed = await asyncio.gather(*[self._confirmed(back) for back, _ in living])
            failed = [one for one, done in zip(living, confirmed, strict=True) if not done]
            self._kept.update({one[0].lease: one for one in failed})
            if failed:
                return


class Account(NamedTuple):
    """What is charged for one client by one check in code."""

    ledger: Ledger
    #: One for each quota, of a cost of 1.
    hits: Sequence[Hit]
    #: Notes decisions on hits for the response's fields; the error of a refusal, else None.
    report: Callable[[Sequence[Hit], Sequence[Decision]], Exception | None]


#: Opens the account of the current client, given the limited view's name; None: for a block.
OpenAccount = Callable[[str | None], Awaitable[Account]]
