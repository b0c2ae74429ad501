"""What happens when the store cannot decide: a breaker, then a policy; and when it can again.

A store around a store. Every decision that it makes up says so in `Decision.by`.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import time
import weakref
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from ..clock import Clock, monotonic_ms
from ..errors import (
    StoreAway,
    StoreError,
    StoreMisconfigured,
    StoreOverloaded,
)
from ..quotas import Decision, Hit
from ..quotas.fixed_window import is_counted
from ..quotas.policies import check_policy
from ..signals import store_asked, store_recovered, store_unavailable
from .breaker import Breaker, Breakers
from .fleet import Fleet, fleet_of
from .knowledge import Knowledge
from .memory import MemoryStore
from .payer import Payer
from .piggyback import CarryingStore
from .store import Store, StoreOfNodes, StoreThatConnects
from .tasks import spawn

#: Seconds between the registrations of a worker that has just started; after these they go along
#: with its hits.
SETTLING = (0.5, 1.0, 2.0, 4.0)
#: Different mistakes in a store's set-up that are logged at most.
MOST_REPORTS = 16

_log = logging.getLogger("quart_ratelimit")

#: Stores of the process that are not called now. Metrics that begin in an outage read it.
_away: weakref.WeakSet[Store] = weakref.WeakSet()


def stores_away() -> list[Store]:
    """Stores of this process that are not called now, as their breakers are open."""
    return list(_away)


class GuardedStore:
    """Calls a store while it replies, and follows a policy while it does not.

    ``GuardedStore(RedisStore("redis://localhost:6379/0"))``.

    - ``policy``: "local" (default), "open", "closed" or "raise".
    - ``local``: where "local" counts, and nothing else counts (default: a new `MemoryStore`).
    - ``fleet``: the workers that share each limit then (default: those that the store reports).
    - ``breaker``: when to call the store again (default: a new `Breaker`).
    - ``remember_ms``: how long a refusal is repeated without calling the store, in ms (default 0);
      never longer than the refusal itself lasts.
    - ``now_ms``: returns the time for it, in ms.

    Raises `ConfigurationError`.
    """

    def __init__(
        self,
        store: Store,
        *,
        policy: str = "local",
        local: MemoryStore | None = None,
        fleet: Fleet | None = None,
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
        if isinstance(store, StoreThatConnects):
            store.connected = self._breakers.probe_now
        self._known = Knowledge(
            MemoryStore() if local is None else local,  # an empty store is false
            fleet=fleet_of(store) if fleet is None else fleet,
            remember_ms=remember_ms,
            now_ms=now_ms,
        )
        self._payer = Payer(self._known, partial(self._charge, late=True))
        #: What is owed. Every hit looks at it, so it is a plain dictionary.
        self._owed = self._known.stand_in.bases
        #: Decides and gives back what was decided by "local".
        self.local: LocalSide = LocalSide(self)
        #: What registers this worker for a while after its start, and resets that are under way,
        #: also those whose callers left.
        self._tasks: set[asyncio.Task[Any]] = set()
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
        else:
            if isinstance(self._store, CarryingStore):
                await self._carry(self._store)
        if isinstance(self._store, CarryingStore):
            spawn(self._tasks, self._settle(self._store))

    async def aclose(self) -> None:
        """Leave the fleet and close the store. What is still owed to it after a second is lost."""
        _away.discard(self._store)
        await self._payer.aclose()
        tasks = [task for task in self._tasks if task.get_loop() is asyncio.get_running_loop()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        fleet = self._known.fleet
        if isinstance(self._store, CarryingStore) and fleet.name in fleet.names:
            fleet.leave()
            await self._carry(self._store)
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
        """Forget the state behind these hits, here and in the store. Raises `StoreError`.

        A caller that is cancelled leaves it to its end: its reply would be missing, and so its
        connection closed.
        """
        return await asyncio.shield(spawn(self._tasks, self._reset(hits)))

    async def clear(self, owns: Callable[[str], bool] | None = None) -> int:
        """Forget keys in the store, and all that is known here; as `reset`."""
        return await asyncio.shield(spawn(self._tasks, self._clear(owns)))

    async def _reset(self, hits: Sequence[Hit]) -> int:
        try:
            return await self._store.reset(hits)
        finally:
            # Afterwards: a hit that is decided meanwhile may know the state of before.
            self._known.forget(hits)

    async def _clear(self, owns: Callable[[str], bool] | None) -> int:
        try:
            return await self._store.clear(owns)
        finally:
            await self._known.clear()

    async def _give_back(self, hits: Sequence[Hit]) -> list[Decision]:
        if hits[0].lease:
            # A late charge of this lease that ended after its give-back would hold a place for no
            # request. So no charge that begins now takes the lease, and those under way must end:
            # one that was not sent owes the lease again, which is released before another begins.
            self._release_here(hits)
            await self._payer.pieces_end(partial(self._release_here, hits))
        try:
            return await self._charge(hits)
        finally:
            self._known.gave_back(hits)

    def _release_here(self, hits: Sequence[Hit]) -> None:
        if self._known.stand_in.counts(hits[0]):
            self._known.decide(hits, sent=False)

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

    async def _charge(self, hits: Sequence[Hit], *, late: bool = False) -> list[Decision]:
        """Charge in the store, or follow the policy. Raises `StoreError` if it is ``late``."""
        if self._payer.is_paying and not late:
            await self._payer.pay_first(hits)
        breaker, sent = self._breakers.first, self._known.generation
        turn = breaker.turn
        try:
            decisions = await self._call(hits)
        except StoreError as error:
            if not self._has_nodes:
                self._breakers.failed(None, turn, error)
            if late:
                raise
            return self._stand_in(hits, error)
        if breaker.failures and not self._has_nodes:
            self._breakers.succeeded(None)
        self._known.learn(hits, decisions, sent)
        if self._owed:
            self._payer.start()
        return decisions

    def _call(self, hits: Sequence[Hit]) -> Awaitable[list[Decision]]:
        call = self._timed if store_asked.receivers else self._store.hit
        return call(hits) if self._has_nodes else self._breakers.first.pass_on(call, hits)

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

    def _stand_in(self, hits: Sequence[Hit], error: StoreError) -> list[Decision]:
        """The decisions of the hits' policies: all are charged, or none if one refuses."""
        if isinstance(error, StoreOverloaded):
            return [self._closed(0) for _ in hits]  # a flood must not open the door
        if isinstance(error, StoreMisconfigured):
            self._report_once(str(error))
        policies = [hit.policy or self._policy for hit in hits]
        if "closed" in policies:
            closed = self._closed(error.wait_ms)
            return [closed if one == "closed" else _uncharged(one) for one in policies]
        if "raise" in policies:
            raise StoreError("the rate limit store is away")
        own = [hit for hit, policy in zip(hits, policies, strict=True) if policy == "local"]
        decided = iter(self.decide_here(own, sent=error.was_sent) if own else ())
        return [
            next(decided) if policy == "local" else _opened(hit)
            for hit, policy in zip(hits, policies, strict=True)
        ]

    def decide_here(self, hits: Sequence[Hit], *, sent: bool) -> list[Decision]:
        """Decide in this worker's memory, by its share."""
        decisions = self._known.decide(hits, sent=sent)
        self._payer.watch()
        return decisions

    async def _carry(self, store: CarryingStore) -> None:
        """Send what the store's batches would take along, unless the store fails."""
        if self._breakers.is_failing():
            return
        try:
            await store.carry()
        except StoreError as error:
            _log.debug("this worker could not register: %s", error)

    async def _settle(self, store: CarryingStore) -> None:
        """Register again a few times: workers that start together know each other after seconds."""
        for seconds in SETTLING:
            await asyncio.sleep(seconds)
            await self._carry(store)

    @staticmethod
    def _closed(wait_ms: int) -> Decision:
        return Decision(False, 0, 0, max(1000, wait_ms), 0, "closed")

    def _changed(self, error: StoreError | None) -> None:
        """Report that the first breaker opened, by the error that opened it, or the last closed."""
        if error is None:
            _away.discard(self._store)
            facts = {"ratelimit_event": "store_recovered"}
            _log.warning("the rate limit store answers again", extra=facts)
            store_recovered.send_safely(self._store)
            return
        _away.add(self._store)
        facts = {"ratelimit_event": "store_unavailable", "ratelimit_policy": self._policy}
        # As a text: a handler that keeps an error keeps the frames that its traceback leads to.
        text = "the rate limit store is away: %s; policy: %s"
        _log.error(text, str(error), self._policy, extra=facts)
        store_unavailable.send_safely(self._store, policy=self._policy)

    def _report_once(self, text: str) -> None:
        """Log what is wrong though other hits succeed, which keeps the breaker closed."""
        if text not in self._reported and len(self._reported) < MOST_REPORTS:
            self._reported.add(text)
            _log.error("the rate limit store cannot decide: %s; policy: %s", text, self._policy)


class LocalSide:
    """The store that decided what is by "local": there it is given back, and meta limits count."""

    def __init__(self, guard: GuardedStore) -> None:
        self._guard = guard

    async def start(self) -> None:
        """Nothing to open."""

    async def aclose(self) -> None:
        """Nothing to close."""

    async def hit(self, hits: Sequence[Hit]) -> list[Decision]:
        """Decide in this worker's memory; see `Store.hit`."""
        return self._guard.decide_here(hits, sent=False)

    def known_refusal(self, hits: Sequence[Hit]) -> None:
        """None: see `Store.known_refusal`."""

    async def reset(self, hits: Sequence[Hit]) -> int:
        """As `GuardedStore.reset`."""
        return await self._guard.reset(hits)

    async def clear(self, owns: Callable[[str], bool] | None = None) -> int:
        """As `GuardedStore.clear`."""
        return await self._guard.clear(owns)


def _opened(hit: Hit) -> Decision:
    return Decision(True, hit.quota.amount, 0, 0, 0, "open")


def _uncharged(policy: str) -> Decision:
    """The decision on a hit of a request that another hit's policy refuses."""
    return Decision(True, 0, 0, 0, 0, policy)
