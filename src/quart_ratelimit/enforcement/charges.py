"""Charges of one request: built by calling the app's functions, then decided by a store."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..callables import Memo, UserFunction
from ..clients.key_functions import client_named
from ..clients.keys import has_text
from ..errors import InvalidLimit
from ..quotas import Decision, Hit
from ..responses.request_limit import RequestLimit
from ..rules.costs import content_bytes
from ..rules.kinds import cost_by
from ..rules.limits import MetaLimit
from ..rules.resolved import RuntimeLimit
from ..rules.truth import truth
from ..signals import limit_decided, recorders, send_decided
from ..stores import Store
from .stage import MakeKey, last_of_each

if TYPE_CHECKING:
    from .context import RequestContext

_log = logging.getLogger("quart_ratelimit")


@dataclass(eq=False, slots=True)
class Charge:
    """One limit, its hit and, once `decided`, its state."""

    limit: RuntimeLimit
    hit: Hit
    #: The key's parts, see `RequestLimit.request_args`.
    args: list[str]
    #: Where it was charged.
    store: Store
    status: RequestLimit = field(init=False)

    @property
    def decision(self) -> Decision:
        """The last decision on it."""
        return self.status.decision


class Charger:
    """Builds charges and has a store decide them.

    ``local_store`` is where the store's guard counts while the store is away, so that what was
    charged there is given back there. ``key_func`` is the limiter's own. ``swallows`` logs an error
    if the settings swallow errors, and returns whether they do.
    """

    def __init__(
        self,
        extension: Any,
        local_store: Store,
        key_func: UserFunction[object],
        swallows: Callable[[Exception], bool],
    ) -> None:
        self._extension = extension
        self._key_func = key_func
        self._swallows = swallows
        self._local_store = local_store

    async def charges(
        self,
        context: RequestContext,
        limits: Iterable[RuntimeLimit],
        memo: Memo,
        key_form: MakeKey,
        store: Store,
        *,
        peek: bool = False,
    ) -> list[Charge]:
        """What these limits charge this request, as the app's functions say."""
        charges = []
        for limit in limits:
            exempts = limit.exempt_when
            if exempts is not None and truth("exempt_when", exempts, await memo.call(exempts)):
                continue
            own = limit.scope
            if callable(own):
                own = await memo.call(own, context.route.endpoint)
                if own is not None and not has_text(own):
                    _log.error(
                        "%s: its scope has no text, so it counts without a scope", limit.limit
                    )
                    own = None
            answer = await memo.call(limit.key_func)
            client, by = client_named(answer, limit.key_func, self._key_func)
            counted = limit
            if by is not limit.key_func:  # addresses have a space of their own in keys
                counted = replace(counted, key_func=by)
            if limit.shared and own in (None, ""):  # it counts by itself, not without a limit
                counted = replace(counted, shared=False)
            scope = counted.full_scope(own, context.identity, context.route.method)
            cost: Any = 0 if peek else limit.cost
            if callable(cost):
                cost = await self._cost(cost, memo)
            args, key = key_form(counted, client, scope)
            hit = Hit(
                limit.limit,
                key,
                cost,
                refundable=bool(limit.deduct_when),
                policy=limit.on_store_error,
                of_breaches=isinstance(limit.rule, MetaLimit),
            )
            charges.append(Charge(limit, hit, args, store))
        return once(charges) if len(charges) > 1 else charges

    async def _cost(self, function: UserFunction[object], memo: Memo) -> int:
        """What a request costs by a function; 1 if it names no cost, and errors are swallowed."""
        try:
            return cost_by(function, await memo.call(function))
        except InvalidLimit as error:
            if not self._swallows(error):
                raise
            return 1

    async def decide(self, charges: Sequence[Charge]) -> None:
        """Charge all or none, in one call of their store. Raises `StoreError`."""
        if not charges:
            return
        hits = [charge.hit for charge in charges]
        decisions = await charges[0].store.hit(hits)
        self.decided(charges, decisions)
        if recorders or limit_decided.receivers:
            scopes = [charge.limit.told_as or charge.args[-1] for charge in charges]
            shadow = any(charge.limit.shadow for charge in charges)
            send_decided(self._extension, hits, decisions, scopes, shadow=shadow)

    def decided(self, charges: Sequence[Charge], decisions: Sequence[Decision]) -> None:
        """Note what a store decided."""
        for charge, decision in zip(charges, decisions, strict=True):
            limit = charge.limit
            charge.status = RequestLimit(
                self._extension,
                limit.limit,
                charge.args,
                not decision.allowed,
                limit.shared,
                decision=decision,
                quota_unit="content-bytes" if limit.cost is content_bytes else "",
            )
            if decision.by == "local":
                charge.store = self._local_store


def once(charges: Sequence[Charge]) -> list[Charge]:
    """The charges, the same hit only once: the last one's options count."""
    return last_of_each(charges, lambda one: (one.hit.quota.tag, one.hit.key, one.hit.cost))
