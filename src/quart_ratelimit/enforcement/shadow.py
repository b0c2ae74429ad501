"""Limits in shadow: which of a request's limits are, what is tried together, what is logged.

Each rule in shadow is tried as if it alone were added to the limits in force: on requests that
these let pass, all of its quotas or none, and whatever other rules in shadow say.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace

from ..callables import Memo, UserFunction
from ..clock import Clock, monotonic_ms
from ..quotas import Quota
from ..rules.resolved import RuntimeLimit
from ..signals import limit_name

#: Milliseconds between two lines on one limit in one scope.
PAUSE_MS = 1000
#: Limits whose last line is remembered.
REMEMBERED = 1024

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
    """What the function says; if it fails the limit stays in shadow, and harms nobody."""
    try:
        return bool(await memo.call(function))
    except Exception:
        _log.exception("whether a limit is in shadow could not be asked")
        return True


def by_rule(limits: Iterable[RuntimeLimit]) -> list[list[RuntimeLimit]]:
    """The limits of each rule together, in their order."""
    rules: dict[int, list[RuntimeLimit]] = {}
    for limit in limits:
        rules.setdefault(id(limit.rule), []).append(limit)
    return list(rules.values())


class ShadowLog:
    """Logs what limits in shadow would refuse: a line a second for each, with how many."""

    def __init__(self, *, now_ms: Clock = monotonic_ms) -> None:
        self._now_ms = now_ms
        #: (limit, scope) -> when its last line was written, and what it would have refused since.
        self._last: dict[tuple[str, str], tuple[int, int]] = {}

    def note(self, quota: Quota, scope: str, by: str) -> None:
        """A limit in shadow would have refused a request."""
        name, now = (limit_name(quota), scope), self._now_ms()
        at, count = self._last.get(name, (now - PAUSE_MS, 0))
        count += 1
        if now - at < PAUSE_MS:
            self._last[name] = (at, count)
            return
        if len(self._last) >= REMEMBERED:
            self._last.clear()
        self._last[name] = (now, 0)
        facts = {
            "ratelimit_event": "limit_shadowed",
            "ratelimit_limit": name[0],
            "ratelimit_scope": scope,
            "ratelimit_by": by,
            "ratelimit_count": count,
        }
        text = "ratelimit %s is in shadow: it would have refused %d at endpoint: %s"
        _log.info(text, quota, count, scope, extra=facts)
