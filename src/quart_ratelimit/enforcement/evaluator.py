"""Charges the limits of a stage in the store, and refuses the request if one of them does."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import Awaitable, Sequence
from typing import Any

from werkzeug.exceptions import HTTPException

from ..callables import Memo
from ..clients.keys import client_text
from ..errors import LimiterUnavailable, RateLimitExceeded, StoreError
from ..quotas import Hit
from ..responses.refusal import retry_after
from ..responses.request_limit import RequestLimit
from ..rules.resolved import RuntimeLimit
from ..settings.table import Settings
from ..signals import limit_decided, recorders, send_decided
from ..stores import Store
from .breach import Breach
from .charges import Charge, Charger
from .context import RequestContext
from .resolver import Resolver
from .settlement import Settlement
from .shadow import Trials, divided
from .stage import Stage

_log = logging.getLogger("quart_ratelimit")

#: Clients whose hits are kept per app, about 3 MB for each limit of a stage; and the longest client
#: that has them, in characters: a client must not choose how much we keep.
KEPT = 4096
LONGEST_KEPT = 64
#: The limits of a stage whose hits are kept, at most.
MOST_KEPT = 16


class Evaluator:
    """Charges one app's limits; an error is the app's, unless the settings say otherwise.

    ``local_store`` is where the guard of the store counts while the store is away, and
    ``fallback_store`` where the limits of ``in_memory_fallback`` count.
    """

    def __init__(
        self,
        extension: Any,
        settings: Settings,
        *,
        resolver: Resolver,
        breach: Breach,
        settlement: Settlement,
        store: Store,
        local_store: Store,
        fallback_store: Store,
    ) -> None:
        self._extension = extension
        self._settings = settings
        self._resolver = resolver
        self._breach = breach
        self._settlement = settlement
        self._store = store
        self._local_store = local_store
        self._fallback_store = fallback_store
        self._hits = functools.lru_cache(KEPT)(Stage.hits)
        self._charger = Charger(extension, local_store, settings.key_func, self.swallows)
        self._trials = Trials(self._charger, by_rule=settings.fail_on_first_breach)

    def check(self, context: RequestContext, stage: Stage, memo: Memo, by: str) -> Awaitable[None]:
        """Charge all limits of a stage, or refuse; ``by`` names the limited function, if any.

        Raises `RateLimitExceeded`, `LimiterUnavailable` under the policy "closed", and what the
        app's functions or the store raise, unless the settings swallow errors.
        """
        if context.defaults and stage.overrides:
            return self.check_instead(context, stage, memo, by)
        return self.check_in(self._store, context, stage, memo, by)

    def check_in(
        self, store: Store, context: RequestContext, stage: Stage, memo: Memo, by: str
    ) -> Awaitable[None]:
        """As `check`, in another store than the rules' own."""
        if stage.key_func is None:
            return self._check_each(store, context, stage, memo, by)
        return self._check_client(store, context, stage, memo, by)

    async def _check_client(
        self, store: Store, context: RequestContext, stage: Stage, memo: Memo, by: str
    ) -> None:
        """Charge limits for which nothing but the client must be found out.

        The only coroutine between the one that is limited and the store: of all requests that wait
        for the store, the garbage collector looks at every one again and again.
        """
        try:
            client = memo.answer(stage.key_func)  # type: ignore[arg-type]  # see `check_in`
            if type(client) is not str:
                client = await client if inspect.isawaitable(client) else client
                client = client_text(client)
            if not client:
                await self._check_each(store, context, stage, memo, by)
                return
            is_kept = stage.kept and len(client) <= LONGEST_KEPT and len(stage.limits) <= MOST_KEPT
            known = self._hits if is_kept else Stage.hits
            hits, args = known(stage, client)
            if context.paid and any(context.paid.covers(by, hit) for hit in hits):
                await self._check_each(store, context, stage, memo, by)
                return
        except Exception as error:
            if not self.swallows(error):
                raise
            return
        try:
            decisions = await store.hit(hits)
        except Exception as error:
            await self._check_without_store(context, error)
            return
        context.replaces = stage.overrides
        statuses, refused = [], False
        for limit, parts, decision in zip(stage.limits, args, decisions, strict=True):
            breached = not decision.allowed
            refused = refused or breached
            statuses.append(
                RequestLimit(
                    self._extension,
                    limit.limit,
                    parts,
                    breached,
                    limit.shared,
                    decision=decision,
                )
            )
        if recorders or limit_decided.receivers:
            named = zip(stage.limits, args, strict=True)
            scopes = [limit.told_as or parts[-1] for limit, parts in named]
            send_decided(self._extension, hits, decisions, scopes)
        if refused:
            charges = self._charged(store, stage, hits, statuses)
            await self._conclude(context, stage, (), charges, hits)
            return
        context.limits += statuses
        context.paid.add(by, hits)
        if stage.settles:
            context.keep(stage, self._charged(store, stage, hits, statuses))
            await self._settlement.settle_if_known(context)

    async def _check_each(
        self, store: Store, context: RequestContext, stage: Stage, memo: Memo, by: str
    ) -> None:
        """Charge limits whose functions must be called one by one."""
        try:
            in_force: Sequence[RuntimeLimit] = stage.limits
            shadows: Sequence[RuntimeLimit] = ()
            if stage.shadows:
                bound, shadows = await divided(stage.shadows, memo)
                in_force = sorted((*in_force, *bound), key=lambda one: one.limit)
            charges, key_form = self._charger.charges, stage.key_form
            any_breach: list[Charge] = []
            own: list[Charge] = []
            if stage.any_breach or stage.metas:
                any_breach = await charges(
                    context, stage.any_breach, memo, key_form, store, peek=True
                )
                own = await charges(context, stage.metas, memo, key_form, store, peek=True)
            hitting = await charges(context, in_force, memo, key_form, store)
            covered = [one for one in hitting if context.paid.covers(by, one.hit)]
            replaces = any(one.limit.override_defaults for one in hitting)
            hitting = [one for one in hitting if one not in covered]
        except Exception as error:
            if not self.swallows(error):
                raise
            return
        peeks = [*any_breach, *own]
        try:
            hitting = await self._decide(peeks, hitting)
        except Exception as error:
            await self._check_without_store(context, error)
            return
        context.replaces = replaces
        context.any_breach_peeks = [*context.any_breach_peeks, *any_breach]
        context.meta_peeks = [*context.meta_peeks, *own]
        hits = [charge.hit for charge in hitting]
        await self._conclude(context, stage, peeks, hitting, hits)
        context.paid.add(by, hits)
        context.paid.share(by, [(one.hit, one.limit.deduct_when) for one in covered])
        if shadows:
            await self._trials.run(context, stage, shadows, memo, store)
            await self._settlement.settle_if_known(context)

    async def check_instead(
        self, context: RequestContext, stage: Stage, memo: Memo, by: str
    ) -> None:
        """Check a stage that may replace the defaults; if it did, give back what those charged.

        The defaults stay charged where each limit that would replace them exempts the request.
        """
        replaced, context.defaults = context.defaults, ()
        statuses = [charge.status for charge in replaced]
        before, reserved = context.limits, context.reserved
        context.limits = kept = [one for one in before if one not in statuses]
        context.reserved = [charge for charge in reserved if charge not in replaced]
        count, held = len(kept), len(context.reserved)
        context.replaces = False

        async def end(stay: Sequence[Charge]) -> None:
            if context.replaces:
                context.limits = [*(charge.status for charge in stay), *kept]
                context.reserved = [*(one for one in stay if one in reserved), *context.reserved]
                await self._give_back(context, [one for one in replaced if one not in stay])
                return
            context.limits = [*before, *kept[count:]]
            context.reserved = [*reserved, *context.reserved[held:]]
            context.defaults = replaced

        try:
            await self.check_in(self._store, context, stage, memo, by)
        except (RateLimitExceeded, LimiterUnavailable):
            await end(())
            raise
        await end([charge for charge in replaced if context.paid.is_shared(charge.hit)])

    async def _give_back(self, context: RequestContext, charges: Sequence[Charge]) -> None:
        context.paid.forget([charge.hit for charge in charges])
        await self._settlement.give_back(charges)

    async def _check_without_store(self, context: RequestContext, error: Exception) -> None:
        """Charge what replaces all limits while the store is away, once per request."""
        if not isinstance(error, StoreError) or not self._settings.in_memory_fallback:
            if not self.swallows(error):
                raise error
            return
        if context.with_fallback:
            return
        context.with_fallback = True
        try:
            stage = await self._resolver.for_fallback(context)
        except Exception as failure:
            if not self.swallows(failure):
                raise
            return
        await self.check_in(self._fallback_store, context, stage, context.memo, "")

    async def _decide(self, peeks: Sequence[Charge], charges: list[Charge]) -> list[Charge]:
        """Call the store once for all, all-or-nothing; what was charged.

        But where every limit must be evaluated, each is charged by itself; their hits share a
        batch.
        """
        if self._settings.fail_on_first_breach or len(charges) < 2:
            await self._charger.decide([*peeks, *charges])
            return charges
        await self._charger.decide(peeks)
        if not all(peek.decision.allowed for peek in peeks):
            return []
        await asyncio.gather(*[self._charger.decide([charge]) for charge in charges])
        return charges

    async def _conclude(
        self,
        context: RequestContext,
        stage: Stage,
        peeks: Sequence[Charge],
        charges: Sequence[Charge],
        hits: Sequence[Hit],
    ) -> None:
        """Note what was decided, and refuse if one of them refused."""
        self._breach.unless_closed(context, [*peeks, *charges])
        for peek in peeks:
            if not peek.decision.allowed:
                await self._breach.refuse_by_meta(context, stage, peek)
        refused = [charge for charge in charges if not charge.decision.allowed]
        wait = retry_after(*[charge.decision for charge in refused]) if refused else None
        if refused and self._settings.fail_on_first_breach:
            # All were charged at once. Flask-Limiter knows none after the first refusal.
            end = charges.index(refused[0]) + 1
            context.after_refusal = [charge.status for charge in charges[end:]]
            charges, refused = charges[:end], refused[:1]
        elif stage.settles:
            context.keep(stage, charges)
            await self._settlement.settle_if_known(context)
        context.limits += [charge.status for charge in charges]
        if refused:
            await self._breach.refuse(context, stage, refused, wait, hits)

    def _charged(
        self, store: Store, stage: Stage, hits: Sequence[Hit], statuses: Sequence[RequestLimit]
    ) -> list[Charge]:
        charges = []
        for limit, hit, status in zip(stage.limits, hits, statuses, strict=True):
            local = status.decision.by == "local"
            place = self._local_store if local else store
            charge = Charge(limit, hit, status.request_args, place)
            charge.status = status
            charges.append(charge)
        return charges

    def swallows(self, error: Exception) -> bool:
        """Whether a request goes on after this error, which is logged then."""
        if isinstance(error, HTTPException) or not self._settings.swallow_errors:
            return False
        _log.exception("Failed to rate limit. Swallowing error")
        return True
