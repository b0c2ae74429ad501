"""What happens when the store cannot decide: a breaker, then the limit's policy.

A store around a store. Every answer that it makes up says so in `Decision.by`.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence

from ..clock import Clock, monotonic_ms
from ..errors import ConfigurationError, StoreError, StoreMisconfigured, StoreOverloaded
from ..quotas import Decision, Hit
from ..signals import store_asked, store_recovered, store_unavailable
from .last_decisions import LastDecisions
from .memory import MemoryStore
from .store import Store

#: "open" admits, "closed" refuses with 503, "local" counts in this worker's memory, "raise" raises
#: `StoreError`: the caller has an answer of its own.
POLICIES = ("open", "closed", "local", "raise")

#: Different mistakes in a store's set-up that are logged at most.
MOST_REPORTS = 16

_log = logging.getLogger("quart_ratelimit")


class Breaker:
    """Stops asking a store that fails: open after 5 failures in a row, then one probe at a time."""

    def __init__(
        self,
        *,
        failures: int = 5,
        first_ms: int = 250,
        longest_ms: int = 1000,
        now_ms: Clock = monotonic_ms,
    ) -> None:
        self._limit = failures
        self._first_ms = first_ms
        self._longest_ms = longest_ms
        self._now_ms = now_ms
        #: How many calls in a row failed; nearly always 0.
        self.failures = 0
        self._pause_ms = first_ms
        self._probe_at_ms = 0

    @property
    def is_open(self) -> bool:
        """Whether the store is taken to be away."""
        return self.failures >= self._limit

    @property
    def wait_ms(self) -> int:
        """Until the store is asked again; 0 if it is asked now."""
        return max(0, self._probe_at_ms - self._now_ms()) if self.is_open else 0

    def allows(self) -> bool:
        """Whether the next call may ask the store; while open, one call in each pause may."""
        if not self.is_open:
            return True
        now = self._now_ms()
        if now < self._probe_at_ms:
            return False
        self._probe_at_ms = now + self._pause_ms
        return True

    def succeeded(self) -> None:
        """The store decided."""
        self.failures = 0
        self._pause_ms = self._first_ms

    def failed(self) -> None:
        """The store could not decide."""
        self.failures += 1
        if not self.is_open:
            return
        if self.failures > self._limit:
            self._pause_ms = min(self._longest_ms, self._pause_ms * 2)
        # Jitter, so that workers do not probe in step.
        pause = self._pause_ms - random.randrange(self._pause_ms // 10 + 1)  # noqa: S311
        self._probe_at_ms = self._now_ms() + pause


class GuardedStore:
    """Asks a store while it answers, and follows each hit's policy while it does not."""

    def __init__(
        self,
        store: Store,
        *,
        policy: str = "local",
        local: MemoryStore | None = None,
        breaker: Breaker | None = None,
    ) -> None:
        check_policy(policy)
        self._store = store
        self._policy = policy
        self._local = MemoryStore() if local is None else local  # an empty store is false
        self._breaker = Breaker() if breaker is None else breaker
        self._last_decisions = LastDecisions()
        self._ask = _asking(store)
        #: What was wrong with the store's set-up, as it was logged.
        self._reported: set[str] = set()
        #: Told of each request that the store refused.
        self.on_refusal: Callable[[Sequence[Hit], list[Decision]], None] | None = None

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
            self._note_failure(error)

    async def aclose(self) -> None:
        """Close the store."""
        await self._store.aclose()

    async def hit(self, hits: Sequence[Hit]) -> list[Decision]:
        """The store's decisions, or the policies'. Raises `StoreError` under "raise" alone."""
        breaker = self._breaker
        if not breaker.failures or breaker.allows():
            ask = self._timed if store_asked.receivers else self._ask
            try:
                decisions = await ask(hits)
            except StoreOverloaded:
                return [self._refusal(0) for _ in hits]  # a flood must not open the door
            except StoreError as error:
                self._note_failure(error)
            else:
                if breaker.failures:
                    self._note_success()
                self._last_decisions.note(hits, decisions)
                for decision in decisions:
                    if not decision.allowed and self.on_refusal is not None:
                        self.on_refusal(hits, decisions)
                        break
                return decisions
        return await self._stand_in(hits)

    async def reset(self, hits: Sequence[Hit]) -> int:
        """Forget the state behind these hits, here and in the store. Raises `StoreError`."""
        await self._local.reset(hits)
        return await self._store.reset(hits)

    async def clear(self) -> int:
        """Forget every key, here and in the store. Raises `StoreError`."""
        await self._local.clear()
        return await self._store.clear()

    async def _timed(self, hits: Sequence[Hit]) -> list[Decision]:
        started, answered = time.perf_counter(), False
        try:
            decisions = await self._store.hit(hits)
            answered = True
        finally:
            seconds = time.perf_counter() - started
            store_asked.send_safely(self._store, seconds=seconds, answered=answered)
        return decisions

    async def _stand_in(self, hits: Sequence[Hit]) -> list[Decision]:
        policies = [hit.policy or self._policy for hit in hits]
        if "raise" in policies:
            raise StoreError("the rate limit store is away")
        local = [hit for hit, policy in zip(hits, policies, strict=True) if policy == "local"]
        self._last_decisions.hand_over(local, self._local)
        counted = iter(await self._local.hit(local)) if local else iter(())
        decisions = []
        for hit, policy in zip(hits, policies, strict=True):
            if policy == "local":
                decisions.append(next(counted)._replace(by="local"))
            elif policy == "open":
                decisions.append(Decision(True, hit.quota.amount, 0, 0, 0, "open"))
            else:
                decisions.append(self._refusal(self._breaker.wait_ms))
        return decisions

    @staticmethod
    def _refusal(wait_ms: int) -> Decision:
        return Decision(False, 0, 0, max(1000, wait_ms), 0, "closed")

    def _note_failure(self, error: StoreError) -> None:
        was_open = self._breaker.is_open
        self._breaker.failed()
        if isinstance(error, StoreMisconfigured):
            self._report_once(str(error))
        if self._breaker.is_open and not was_open:
            facts = {"ratelimit_event": "store_unavailable", "ratelimit_policy": self._policy}
            _log.error(
                "the rate limit store is away: %s; policy: %s", error, self._policy, extra=facts
            )
            store_unavailable.send_safely(self._store, policy=self._policy)

    def _report_once(self, text: str) -> None:
        """Log what is wrong though other hits succeed, which keeps the breaker closed."""
        if text not in self._reported and len(self._reported) < MOST_REPORTS:
            self._reported.add(text)
            _log.error("the rate limit store cannot decide: %s; policy: %s", text, self._policy)

    def _note_success(self) -> None:
        was_open = self._breaker.is_open
        self._breaker.succeeded()
        if not was_open:
            return
        _log.warning(
            "the rate limit store answers again", extra={"ratelimit_event": "store_recovered"}
        )
        store_recovered.send_safely(self._store)


def _asking(store: Store) -> Callable[[Sequence[Hit]], Awaitable[list[Decision]]]:
    """The store's ``hit``, or the ``join`` that stands beside it and needs no coroutine of its own.

    A subclass that has a ``hit`` of its own is asked by that.
    """
    kind = next((kind for kind in type(store).__mro__ if "hit" in vars(kind)), type(store))
    asking: Callable[[Sequence[Hit]], Awaitable[list[Decision]]]
    asking = getattr(store, "join" if "join" in vars(kind) else "hit")
    return asking


def check_policy(policy: str) -> None:
    """Raise `ConfigurationError` unless the policy is one of `POLICIES`."""
    if policy not in POLICIES:
        raise ConfigurationError(f"{policy!r} is not a policy; write one of {', '.join(POLICIES)}")
