"""A place in flight: taken, renewed while it is held, and given back whatever happens.

Knows quotas and how to charge; nothing of requests. A worker that dies stops renewing, and its
places are free when their leases expire.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable

from ..errors import StoreError
from ..quotas import Hit
from .ledger import Charge, Tell

#: A lease is renewed this often in its length: two renewals may be lost.
RENEWALS = 3

_log = logging.getLogger("quart_ratelimit")


class Slot:
    """One place of a concurrency limit: `take` it, `release` it."""

    def __init__(self, charge: Charge, ask: Callable[[], Awaitable[tuple[Hit, Tell]]]) -> None:
        self._charge = charge
        self._ask = ask
        self._hit: Hit | None = None
        self._renewing: asyncio.Task[None] | None = None

    async def take(self) -> None:
        """Take a place, or raise the refusal."""
        hit, tell = await self._ask()
        hit = hit._replace(cost=1, lease=secrets.token_hex(8))
        try:
            (decision,) = await self._charge([hit])
        except asyncio.CancelledError:
            await asyncio.shield(self._give_back(hit))  # it may have been taken before we left
            raise
        error = tell([hit], [decision])
        if error is not None:
            raise error
        self._hit = hit
        self._renewing = asyncio.get_running_loop().create_task(self._renew(hit))

    def release(self) -> Awaitable[None]:
        """Start to give the place back, once; the caller may wait for the end, or leave."""
        loop = asyncio.get_running_loop()
        hit, self._hit = self._hit, None
        if hit is None:
            done = loop.create_future()
            done.set_result(None)
            return done
        if self._renewing is not None:
            self._renewing.cancel()
        return asyncio.shield(loop.create_task(self._give_back(hit)))

    async def _give_back(self, hit: Hit) -> None:
        await self._charge([hit._replace(cost=-1)])

    async def _renew(self, hit: Hit) -> None:
        while True:
            await asyncio.sleep(hit.quota.period / RENEWALS)
            try:
                (decision,) = await self._charge([hit])
            except StoreError:
                continue  # the lease outlives two lost renewals
            if not decision.allowed:
                _log.warning("a concurrency lease was lost: its place is taken by another")
