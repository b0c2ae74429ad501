"""What happens when the store cannot decide: a breaker, then a policy.

A store around a store. Every decision that it makes up says so in `Decision.by`.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from ..clock import Clock, monotonic_ms
from ..errors import (
    ConfigurationError,
    StoreAway,
    StoreError,
    StoreMisconfigured,
    StoreOverloaded,
)
from ..quotas import Decision, Hit
from ..quotas.fixed_window import is_counted
from ..signals import store_asked, store_recovered, store_unavailable
from .breaker import Breaker, Breakers
from .knowledge import Knowledge
from .memory import MemoryStore
from .store import Store, StoreOfNodes, StoreThatConnects

#: "open" admits, "closed" refuses with 503, "local" counts in this worker's memory, "raise" raises
#: `StoreError`: the caller has an answer of its own.
POLICIES = ("open", "closed", "local", "raise")

#: Different mistakes in a store's set-up that are logged at most.
MOST_REPORTS = 16

_log = logging.getLogger("quart_ratelimit")


class GuardedStore:
    """Calls a store while it replies, and follows a policy while it does not.

    ``policy``: one of "local" (the default), "open", "closed" and "raise". ``local``: the store
    that "local" counts in (default: a new one). ``breaker``: when to call the store again (default:
    a new `Breaker`). ``remember_ms``: how long a refusal is repeated without calling the store, in
    ms (default 0: not at all); never longer than the refusal itself lasts. ``now_ms``: the clock
    for that, in ms.
    """

    def __init__(
        self,
        store: Store,
        *,
        policy: str = "local",
        local: MemoryStore | None = None,
        breaker: Breaker | None = None,
        remember_ms: int = 0,
        now_ms: Clock = monotonic_ms,
    ) -> None:
        check_policy(policy)
        self._store = store
        self._policy = policy
        self._breakers = Breakers(Breaker() if breaker is None else breaker, self._changed)
        #: Whether the store counts the failures of its nodes itself.
        self._has_nodes = isinstance(store, StoreOfNodes)
        if isinstance(store, StoreOfNodes):
            store.breakers = self._breakers
        #: Where the policy "local" counts.
        self.local = MemoryStore() if local is None else local  # an empty store is false
        if isinstance(store, StoreThatConnects):
            store.connected = self._breakers.probe_now
        self._known = Knowledge(
            self.local,
            remember_ms=remember_ms,
            now_ms=now_ms,
        )
        #: What was wrong with the store's set-up, as it was logged.
        self._reported: set[str] = set()

    def following(self, policy: str) -> GuardedStore:
        """The same store, with all that is known of it, under another policy."""
        other = copy.copy(self)
        other._policy = policy
        return other

    async def start(self) -> None:
        """Start the store; a store that is away is logged and does not stop the app.

        Raises `StoreMisconfigured`: nothing but another set-up would help.
        """
        try:
            await self._store.start()
        except StoreMisconfigured:
            await self._store.aclose()
            raise
        except StoreError as error:
            _log.warning("the rate limit store does not answer yet: %s", error)

    async def aclose(self) -> None:
        """Close the store."""
        await self._store.aclose()

    def hit(self, hits: Sequence[Hit]) -> Awaitable[list[Decision]]:
        """The store's decisions, a remembered refusal, or the policy's decisions.

        Raises `StoreError` under "raise" alone.
        """
        for hit in hits:
            if hit.cost < 0:
                return self._give_back(hits)
        if self._known.refuses and self._known.may_refuse(hits):
            return self._charge_unless_refused(hits)
        return self._charge(hits)

    def known_refusal(self, hits: Sequence[Hit]) -> list[Decision] | None:
        """The refusal that the store gave a moment ago (by "memory"); None: call the store."""
        return self._known.refusal(hits)

    async def reset(self, hits: Sequence[Hit]) -> int:
        """Forget the state behind these hits, here and in the store. Raises `StoreError`."""
        try:
            return await self._store.reset(hits)
        finally:
            # Afterwards: a hit that is decided meanwhile may know the state of before.
            await self._known.forget(hits)

    async def clear(self, owns: Callable[[str], bool] | None = None) -> int:
        """Forget keys in the store, and all that is known here. Raises `StoreError`."""
        try:
            return await self._store.clear(owns)
        finally:
            await self._known.clear()

    async def _give_back(self, hits: Sequence[Hit]) -> list[Decision]:
        try:
            return await self._charge(hits)
        finally:
            self._known.gave_back(hits)

    async def _charge_unless_refused(self, hits: Sequence[Hit]) -> list[Decision]:
        refusal = self._known.refusal(hits)  # this may begin later than `hit` was called
        if refusal is not None:
            return refusal
        if self._known.hold(hits) and hits[0].cost and is_counted(hits):
            # A look is one command; a hit would be four, and counted although it is refused.
            look = await self._charge([hits[0]._replace(cost=0)])
            if not look[0].allowed:
                return look
        decisions = await self._charge(hits)
        if all(decisions):
            self._known.was_allowed(hits)
        return decisions

    async def _charge(self, hits: Sequence[Hit]) -> list[Decision]:
        call = self._timed if store_asked.receivers else self._store.hit
        sent = self._known.generation
        try:
            if self._has_nodes:
                decisions = await call(hits)
            else:
                decisions = await self._breakers.call(None, call, hits)
        except StoreOverloaded:
            return [self._closed(0) for _ in hits]  # a flood must not open the door
        except StoreError as error:
            if isinstance(error, StoreMisconfigured):
                self._report_once(str(error))
            return await self._stand_in(hits, error.wait_ms)
        self._known.learn(hits, decisions, sent)
        return decisions

    async def _timed(self, hits: Sequence[Hit]) -> list[Decision]:
        started, answered, was_asked = time.perf_counter(), False, True
        try:
            decisions = await self._store.hit(hits)
            answered = True
        except StoreAway:
            was_asked = False
            raise
        finally:
            if was_asked:
                seconds = time.perf_counter() - started
                store_asked.send_safely(self._store, seconds=seconds, answered=answered)
        return decisions

    async def _stand_in(self, hits: Sequence[Hit], wait_ms: int) -> list[Decision]:
        """The policy's decisions."""
        if self._policy == "raise":
            raise StoreError("the rate limit store is away")
        if self._policy == "closed":
            return [self._closed(wait_ms) for _ in hits]
        if self._policy == "open":
            return [Decision(True, hit.quota.amount, 0, 0, 0, "open") for hit in hits]
        return await self._known.stand_in(hits)

    @staticmethod
    def _closed(wait_ms: int) -> Decision:
        return Decision(False, 0, 0, max(1000, wait_ms), 0, "closed")

    def _changed(self, error: StoreError | None) -> None:
        """Report that the first breaker opened, by the error that opened it, or the last closed."""
        if error is None:
            facts = {"ratelimit_event": "store_recovered"}
            _log.warning("the rate limit store answers again", extra=facts)
            store_recovered.send_safely(self._store)
            return
        facts = {"ratelimit_event": "store_unavailable", "ratelimit_policy": self._policy}
        _log.error("the rate limit store is away: %s; policy: %s", error, self._policy, extra=facts)
        store_unavailable.send_safely(self._store, policy=self._policy)

    def _report_once(self, text: str) -> None:
        """Log what is wrong though other hits succeed, which keeps the breaker closed."""
        if text not in self._reported and len(self._reported) < MOST_REPORTS:
            self._reported.add(text)
            _log.error("the rate limit store cannot decide: %s; policy: %s", text, self._policy)


def check_policy(policy: str) -> None:
    """Raise `ConfigurationError` unless the policy is one of `POLICIES`."""
    if policy not in POLICIES:
        raise ConfigurationError(f"{policy!r} is not a policy; write one of {', '.join(POLICIES)}")
