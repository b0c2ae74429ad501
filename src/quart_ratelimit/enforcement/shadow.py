"""Limits in shadow: which of a request's limits are, what is tried together, what is logged.

Each rule in shadow is tried as if only that rule were added to the limits in force: on requests
that the limits in force allow, all of the rule's quotas or none, whatever other rules in shadow
say.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..callables import Memo, UserFunction
from ..clock import Clock, monotonic_ms
from ..errors import StoreError
from ..quotas import Quota
from ..recent import Recent
from ..rules.resolved import RuntimeLimit
from ..rules.truth import truth
from ..signals import limit_name
from ..stores import Store
from .charges import Charge, Charger
from .context import RequestContext
from .stage import Stage

#: Milliseconds between two lines on one limit in one scope.
PAUSE_MS = 1000
#: Limits whose last line is remembered at most.
REMEMBERED = 1024
#: Characters of the longest limit and scope that are kept: a client may choose the scope.
LONGEST_NAME = 1024

_log = logging.getLogger("quart_ratelimit")


async def divided(
    limits: Iterable[RuntimeLimit], memo: Memo
) -> tuple[list[RuntimeLimit], list[RuntimeLimit]]:
    """Those that bind this request after all, as their functions say, and those in shadow."""
    in_force: list[RuntimeLimit] = []
    shadows: list[RuntimeLimit] = []
    for limit in limits:
        if not callable(limit.shadow):
            shadows.append(limit)
        elif await _is_in_shadow(limit.shadow, memo):
            shadows.append(replace(limit, shadow=True))
        else:
            in_force.append(replace(limit, shadow=False))
    return in_force, shadows


async def _is_in_shadow(function: UserFunction[bool], memo: Memo) -> bool:
    """What the function says; if it fails the limit stays in shadow and refuses nothing."""
    try:
        return truth("shadow", function, await memo.call(function))
    except Exception:
        _log.exception("a function for shadow= failed; the limit stays in shadow")
        return True


def by_rule(limits: Iterable[RuntimeLimit]) -> list[list[RuntimeLimit]]:
    """The limits of each rule together, in their order."""
    rules: dict[int, list[RuntimeLimit]] = {}
    for limit in limits:
        rules.setdefault(id(limit.rule), []).append(limit)
    return list(rules.values())


class Trials:
    """Tries the limits in shadow of one app."""

    def __init__(self, charger: Charger, *, by_rule: bool) -> None:
        self._charger = charger
        #: Whether a rule's quotas are charged together; False: each by itself.
        self._by_rule = by_rule
        self._log = ShadowLog()

    async def run(
        self,
        context: RequestContext,
        stage: Stage,
        shadows: Sequence[RuntimeLimit],
        memo: Memo,
        store: Store,
    ) -> None:
        """Charge what these limits would, and log what they would refuse."""
        groups = []
        for together in by_rule(shadows) if self._by_rule else [[limit] for limit in shadows]:
            try:
                groups.append(
                    await self._charger.charges(context, together, memo, stage.key_form, store)
                )
            except Exception:  # a function of the app must not harm the request either
                _log.exception("a limit in shadow could not be tried")
        await asyncio.gather(*[self._try(context, stage, group) for group in groups if group])

    async def _try(self, context: RequestContext, stage: Stage, charges: Sequence[Charge]) -> None:
        try:
            await self._charger.decide(charges)
        except StoreError:
            return  # the store's own guard has logged it
        refused = [charge for charge in charges if not charge.decision.allowed]
        for charge in refused:
            self._log.note(charge.limit.limit, charge.args[-1], charge.decision.by)
        if not refused:
            context.keep(stage, charges)


class ShadowLog:
    """Logs what limits in shadow would refuse: a line a second for each, with how many."""

    def __init__(self, *, now_ms: Clock = monotonic_ms) -> None:
        self._now_ms = now_ms
        #: (limit, scope) -> when its last line was written, and what it would have refused since.
        self._last: Recent[tuple[str, str], tuple[int, int]] = Recent(
            REMEMBERED // 2, longest=LONGEST_NAME, length=lambda name: sum(map(len, name))
        )

    def note(self, quota: Quota, scope: str, by: str) -> None:
        """A limit in shadow would have refused a request."""
        name, now = (limit_name(quota), scope), self._now_ms()
        at, count = self._last.get(name) or (now - PAUSE_MS, 0)
        count += 1
        if now - at < PAUSE_MS:
            self._last.put(name, (at, count))
            return
        self._last.put(name, (now, 0))
        facts = {
            "ratelimit_event": "limit_shadowed",
            "ratelimit_limit": name[0],
            "ratelimit_scope": scope,
            "ratelimit_by": by,
            "ratelimit_count": count,
        }
        text = "ratelimit %s is in shadow: it would have refused %d hits at endpoint: %s"
        _log.info(text, quota, count, scope, extra=facts)
