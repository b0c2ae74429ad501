"""May it pass: hits are built, decided in one call of the store, and a breach becomes an answer."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from werkzeug.sansio.response import Response

from ..callables import Memo, UserFunction, call
from ..clients.keys import client_text
from ..errors import LimiterUnavailable, RateLimitExceeded, StoreError
from ..quotas import Hit
from ..responses.refusal import retry_after
from ..responses.request_limit import RequestLimit
from ..rules.kinds import check_cost
from ..rules.resolved import RuntimeLimit
from ..settings.table import Settings
from ..signals import limit_decided, limit_name, send_decided
from ..stores import Store
from .context import Charge, RequestContext
from .resolver import Lone, Rules
from .shadow import ShadowLog, by_rule, divided

_log = logging.getLogger("quart_ratelimit")

#: What a log says instead of the client.
SOMEBODY = "client"

#: Hits of lone limits that are kept to be asked again: of the clients of a moment, below 2 MB; and
#: the longest client of which one is, in characters: a client must not choose what we keep.
KNOWN = 4096
LONGEST_KNOWN = 64


#: Raises an error that came of these rules, or another instead, or lets the request go on.
Failed = Callable[[RequestContext, Rules, Exception], Awaitable[None]]


class Evaluator:
    """Charges one app's limits in a store.

    ``standin`` is where the store counts while it is away ("local"), so that what was charged
    there is given back there.
    """

    def __init__(self, extension: Any, settings: Settings, store: Store, standin: Store) -> None:
        self._extension = extension
        self._settings = settings
        self._store = store
        self._standin = standin
        self._slot_key = settings.keys.slot
        self._hits = functools.lru_cache(KNOWN)(Lone.hits)
        self._shadow_log = ShadowLog()

    def check(
        self, context: RequestContext, rules: Rules, memo: Memo | None = None
    ) -> Awaitable[None]:
        """Charge all limits of a stage, or refuse; ``memo`` instead of the request's.

        Raises `RateLimitExceeded`, `LimiterUnavailable` under the policy "closed", `StoreError`.
        """
        if rules.shadows:
            return self._check_with_shadows(context, rules, memo or context.memo)
        return self._check_all(context, rules, memo or context.memo)

    async def check_lone(
        self,
        context: RequestContext,
        rules: Rules,
        lone: Lone,
        failed: Failed,
        memo: Memo | None = None,
    ) -> None:
        """As `check`, for the usual case, at half the cost; errors are ``failed``'s to raise.

        The only coroutine between the one that is limited and the store: of all requests that wait
        for the store, the garbage collector looks at every one again and again.
        """
        try:
            if memo is None and context.client is None and context.answers is None:
                who = lone.key_func()
                if type(who) is not str and inspect.isawaitable(who):
                    who = await who
                context.client = (lone.key_func, who)
            else:
                who = await (memo or context.memo).call(lone.key_func)
            if type(who) is not str:
                who = "" if who is None else client_text(who)
            if not who:
                _log_skipped(lone.limit)
                return
            hits = self._hits(lone, who) if len(who) <= LONGEST_KNOWN else lone.hits(who)
            (decision,) = await self._store.hit(hits)
            limit, allowed = lone.limit, decision.allowed
            told = RequestLimit(
                self._extension,
                limit.limit,
                lone.args(who),
                not allowed,
                limit.shared,
                decision=decision,
            )
            if limit_decided.receivers:
                send_decided(self._extension, hits, (decision,), (lone.scope,))
            if allowed:
                context.limits.append(told)
                return
            store = self._standin if decision.by == "local" else self._store
            charge = Charge(limit, hits[0], told.request_args, store)
            charge.told = told
            context.asked = hits
            _refuse_if_closed([charge])
            await self._conclude(context, (), [charge])
        except Exception as error:
            await failed(context, rules, error)

    async def _check_all(self, context: RequestContext, rules: Rules, memo: Memo) -> None:
        general: list[Charge] = []
        looks: list[Charge] = []
        if rules.general or rules.metas:
            general = await self._charges(context, rules.general, memo, look=True)
            looks = general + await self._charges(context, rules.metas, memo, look=True)
        charges = await self._charges(context, rules.limits, memo)
        if not looks and not charges:
            return
        if looks or len(charges) > 1:
            await self._decide(context, looks, charges)
        else:
            context.asked = await self._ask(charges)
        _refuse_if_closed(looks, charges)
        if looks:
            context.general_looks = [*context.general_looks, *general]
            context.looks = [*context.looks, *looks[len(general) :]]
        await self._conclude(context, looks, charges)

    async def _check_with_shadows(self, context: RequestContext, rules: Rules, memo: Memo) -> None:
        """As `check`; then each rule in shadow is tried on what has passed."""
        in_force, shadows = await divided(rules.shadows, memo)
        limits = sorted((*rules.limits, *in_force), key=lambda one: one.limit)
        await self._check_all(context, rules._replace(limits=limits, shadows=()), memo)
        together = by_rule(shadows)
        if not self._settings.fail_on_first_breach:
            together = [[limit] for limit in shadows]
        groups = []
        for each in together:
            try:
                groups.append(await self._charges(context, each, memo))
            except Exception:  # a user's function: it may not harm the request either
                _log.exception("a limit in shadow could not be tried")
        await asyncio.gather(*[self._try(context, group) for group in groups if group])

    async def _try(self, context: RequestContext, charges: Sequence[Charge]) -> None:
        """Charge one rule in shadow, and log what it would refuse."""
        try:
            await self._ask(charges)
        except StoreError:
            return  # the store's own guard has logged it
        refused = [charge for charge in charges if not charge.decision.allowed]
        for charge in refused:
            self._shadow_log.note(charge.limit.limit, charge.args[-1], charge.decision.by)
        if not refused:
            _reserve(context, charges)

    async def _conclude(
        self, context: RequestContext, looks: Sequence[Charge], charges: Sequence[Charge]
    ) -> None:
        """Note what was decided, and refuse if it must be."""
        refused = [charge for charge in charges if not charge.told.decision.allowed]
        for look in looks:
            if not look.decision.allowed:
                await self._refuse_by_meta(context, look)
        if refused and self._settings.fail_on_first_breach:
            # All were asked at once. Flask-Limiter knows none after the first refusal.
            end = charges.index(refused[0]) + 1
            context.after_refusal = [charge.told for charge in charges[end:]]
            charges = charges[:end]
        context.limits += [charge.told for charge in charges]
        if not refused or not self._settings.fail_on_first_breach:
            _reserve(context, charges)
        if refused:
            await self._refuse(
                context,
                [c for c in charges if c in refused],
                retry_after(*[charge.decision for charge in refused]),
            )

    async def settle(self, context: RequestContext, response: Response) -> None:
        """Give back what the response says is not to be charged, or all of it on a refusal.

        A request that ends without a response, as when its client goes away, stays charged.
        """
        reserved, context.reserved = context.reserved, ()
        refusal = context.refusal
        refused = refusal is not None and (
            response.status_code == 429 or response is refusal.response
        )
        back = []
        for charge in reserved:
            if refused or not await self._deducts(charge, response):
                back.append(charge)
        for store in (self._store, self._standin):
            await self._give_back(store, [charge for charge in back if charge.store is store])

    async def _charges(
        self,
        context: RequestContext,
        limits: Iterable[RuntimeLimit],
        memo: Memo,
        *,
        look: bool = False,
    ) -> list[Charge]:
        charges = []
        for limit in limits:
            if limit.exempt_when is not None and await memo.call(limit.exempt_when):
                continue
            scope = limit.scope
            if callable(scope):
                scope = await memo.call(scope, context.route.endpoint)
            who = await memo.call(limit.key_func)
            cost: Any = 0 if look else limit.cost
            if callable(cost):
                cost = check_cost(await memo.call(cost))
            charge = self._charge(context, limit, who, scope, cost)
            if charge is not None:
                charges.append(charge)
        return charges

    def _charge(
        self, context: RequestContext, limit: RuntimeLimit, who: Any, scope: Any, cost: int
    ) -> Charge | None:
        scope = limit.full_scope(scope, context.identity, context.route.method)
        args = self._args(limit, who, scope)
        if args is None:
            return None
        hit = Hit(limit.limit, self._slot_key(*args), cost, refundable=bool(limit.deduct_when))
        return Charge(limit, hit, args, self._store)

    def _args(self, limit: RuntimeLimit, who: Any, scope: str) -> list[str] | None:
        """The key's parts; None, logged, if there is nobody or nothing to count."""
        if type(who) is not str:
            who = "" if who is None else client_text(who)
        if not who or not scope:
            _log_skipped(limit)
            return None
        return self._settings.key_parts(limit.key_func, who, scope)

    async def _decide(
        self, context: RequestContext, looks: Sequence[Charge], charges: Sequence[Charge]
    ) -> None:
        """Ask the store: once for all, all-or-nothing.

        But where every limit is to be evaluated, each is charged by itself; their hits share a
        batch.
        """
        if self._settings.fail_on_first_breach or len(charges) < 2:
            context.asked = await self._ask([*looks, *charges] if looks else charges)
            return
        await self._ask(looks)
        if all(look.decision.allowed for look in looks):
            await asyncio.gather(*[self._ask([charge]) for charge in charges])

    async def _ask(self, charges: Sequence[Charge]) -> list[Hit]:
        hits = [charge.hit for charge in charges]
        decisions = await self._store.hit(hits) if hits else []
        for charge, decision in zip(charges, decisions, strict=True):
            limit, breached = charge.limit, not decision.allowed
            charge.told = RequestLimit(
                self._extension, limit.limit, charge.args, breached, limit.shared, decision=decision
            )
            if decision.by == "local":
                charge.store = self._standin
        if limit_decided.receivers:
            scopes = [charge.args[-1] for charge in charges]
            shadow = any(charge.limit.shadow for charge in charges)
            send_decided(self._extension, hits, decisions, scopes, shadow=shadow)
        return hits

    async def _refuse_by_meta(self, context: RequestContext, look: Charge) -> None:
        context.limits.append(look.told)
        callback = look.limit.on_breach or self._settings.on_meta_breach
        response = None
        if callback is not None:
            response = await self._notify(callback, look.told, "on_meta_breach")
        await self._raise(context, look.limit, response, retry_after(look.decision))

    async def _refuse(
        self, context: RequestContext, failed: list[Charge], wait: int | None
    ) -> None:
        response = None
        for charge in failed:
            if _log.isEnabledFor(logging.INFO):
                _log_refusal(charge)
            for callback in dict.fromkeys([self._settings.on_breach, charge.limit.on_breach]):
                if callback is not None:
                    response = await self._notify(callback, charge.told, "on_breach") or response
        if context.looks or context.general_looks:
            await self._charge_metas(context, failed)
        await self._raise(context, failed[0].limit, response, wait)

    async def _charge_metas(self, context: RequestContext, failed: Sequence[Charge]) -> None:
        """Count the breach in the general meta limits and in those of the limits that failed."""
        own = [meta for charge in failed for meta in charge.limit.meta_limits]
        looks = [look for look in context.looks if look.limit in own]
        looks += context.general_looks
        hits = []
        for look in looks:
            cost = look.limit.cost
            cost = check_cost(await call(cost) if callable(cost) else cost)
            # No more than remains: a breach must count, also if it costs more than that.
            cost = min(cost, max(1, look.decision.remaining))
            hits.append(look.hit._replace(cost=cost))
        try:
            await asyncio.gather(*[self._store.hit([hit]) for hit in hits])
        except StoreError as error:  # the request stays refused, and asks no fallback
            _log.warning("a breach could not be counted in its meta limits: %s", error)

    async def _raise(
        self,
        context: RequestContext,
        limit: RuntimeLimit,
        response: Response | None,
        wait: int | None,
    ) -> None:
        message = limit.error_message
        text = await call(message) if callable(message) else message
        jitter = self._settings.retry_jitter
        if jitter and wait is not None:  # so that a crowd does not come back at the same moment
            wait += round(random.uniform(0, jitter * limit.limit.period))  # noqa: S311
        context.refusal = RateLimitExceeded(
            limit, response, description=text or str(limit.limit), retry_after=wait
        )
        raise context.refusal

    async def _notify(
        self, callback: UserFunction[Any], told: RequestLimit, name: str
    ) -> Response | None:
        try:
            response = await call(callback, told)
        except Exception as error:
            if not self._settings.swallow_errors:
                raise
            _log.exception("%s callback failed with error %s", name, error)
            return None
        return response if isinstance(response, Response) else None

    async def _deducts(self, charge: Charge, response: Response) -> bool:
        deduct_when = charge.limit.deduct_when
        assert deduct_when is not None
        try:
            return bool(await call(deduct_when, response))
        except Exception:
            if not self._settings.swallow_errors and not charge.limit.shadow:
                raise
            _log.exception("Failed to deduct rate limit. Swallowing error")
            return True

    async def _give_back(self, store: Store, charges: Sequence[Charge]) -> None:
        hits = [
            charge.hit._replace(cost=-charge.hit.cost, at_ms=charge.decision.at_ms)
            for charge in charges
        ]
        if not hits:
            return
        try:
            decisions = await store.hit(hits)
        except StoreError as error:
            _log.warning("%d reserved charges could not be given back: %s", len(hits), error)
            return
        for charge, decision in zip(charges, decisions, strict=True):
            charge.told.decide(decision)


def _reserve(context: RequestContext, charges: Iterable[Charge]) -> None:
    """Keep for the response those charges that it decides on."""
    kept = [
        charge
        for charge in charges
        if charge.limit.deduct_when and charge.decision.was_charged and charge.hit.cost
    ]
    context.reserved = [*context.reserved, *kept]


def _log_skipped(limit: RuntimeLimit) -> None:
    _log.error("Skipping limit: %s. Empty value found in parameters.", limit.limit)


def _log_refusal(charge: Charge) -> None:
    quota, scope = charge.limit.limit, charge.args[-1]
    facts = {
        "ratelimit_event": "limit_refused",
        "ratelimit_limit": limit_name(quota),
        "ratelimit_scope": scope,
        "ratelimit_by": charge.decision.by,
    }
    _log.info("ratelimit %s (%s) exceeded at endpoint: %s", quota, SOMEBODY, scope, extra=facts)


def _refuse_if_closed(*groups: Iterable[Charge]) -> None:
    for charges in groups:
        for charge in charges:
            if charge.told.decision.by == "closed":
                raise LimiterUnavailable(retry_after=retry_after(charge.decision))
