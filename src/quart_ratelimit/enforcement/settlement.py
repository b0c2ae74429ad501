"""What the response decides on: charges that are kept or given back.

A stream and a websocket go on after their response is known. What they charge then is settled at
once, so that nothing is collected without end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from werkzeug.sansio.response import Response

from ..callables import UserFunction, call
from ..current import known_response
from ..responses.refusal import noted
from ..rules.truth import truth
from ..settings.table import Settings
from ..stores import Store
from .charges import Charge
from .context import RequestContext

#: Charges that are given back at once: Redis gives back thousands in one script, and
#: serves no other call meanwhile.
PIECE = 100

_log = logging.getLogger("quart_ratelimit")


class Settlement:
    """Settles the charges of one app's requests."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def settle(self, context: RequestContext, response: Response) -> None:
        """Give back what the response says is not to be charged, or all of it on a refusal.

        A request that ends without a response, as when its client goes away, stays charged.
        """
        reserved, context.reserved = context.reserved, ()
        refusal = noted()
        refused = refusal is not None and (
            response.status_code == refusal.code or response is refusal.response
        )
        for start in range(0, len(reserved), PIECE):
            back = []
            for charge in reserved[start : start + PIECE]:
                if not await self._stays(context, charge, response, refused=refused):
                    back.append(charge)
            await self.give_back(back)
            await asyncio.sleep(0)  # so that others are served between the pieces

    async def settle_if_known(self, context: RequestContext) -> None:
        """As `settle`, if the response is known already."""
        if context.reserved:
            response = known_response()
            if response is not None:
                await self.settle(context, response)

    async def give_back(self, charges: Sequence[Charge]) -> None:
        """Give these charges back, each where it was charged; a failure is logged."""
        by_store: dict[int, list[Charge]] = {}
        for charge in charges:
            by_store.setdefault(id(charge.store), []).append(charge)
        for together in by_store.values():
            await self._give_back(together[0].store, together)

    async def _give_back(self, store: Store, charges: Sequence[Charge]) -> None:
        hits = [
            charge.hit._replace(cost=-charge.hit.cost, at_ms=charge.decision.at_ms)
            for charge in charges
        ]
        try:
            decisions = await store.hit(hits)
        except Exception as error:  # the response is made: no error of a store may replace it
            _log.warning("%d reserved charges could not be given back: %s", len(hits), str(error))
            return
        for charge, decision in zip(charges, decisions, strict=True):
            charge.status.decide(decision)

    async def _stays(
        self, context: RequestContext, charge: Charge, response: Response, *, refused: bool
    ) -> bool:
        """Whether one of the limits that share this charge is to be charged."""
        deciders = [charge.limit.deduct_when, *context.paid.deciders(charge.hit)]
        if refused or None in deciders:  # a limit without ``deduct_when`` is charged in any case
            return None in deciders
        for place, decider in enumerate(deciders):
            if decider in deciders[:place]:
                continue
            if decider is not None and await self._deducts(charge, decider, response):
                return True
        return False

    async def _deducts(
        self, charge: Charge, deduct_when: UserFunction[bool], response: Response
    ) -> bool:
        try:
            answer: object = await call(deduct_when, response)
        except Exception:
            if not self._settings.swallow_errors and not charge.limit.shadow:
                raise
            _log.exception("Failed to deduct rate limit. Swallowing error")
            return True
        return truth("deduct_when", deduct_when, answer, otherwise=True)
