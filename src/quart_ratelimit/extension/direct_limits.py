"""Code that asks by itself: hits, reservations, places in flight, messages, in a request or not."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from secrets import token_hex
from typing import Any

from ..callables import UserFunction, call, check_called, check_user_function, to_await
from ..clients.keys import client_text
from ..current import current_request_or_none
from ..direct.in_flight import InFlight
from ..direct.ledger import Tell
from ..direct.messages import Messages
from ..direct.reservation import Reserving
from ..direct.turns import Turns
from ..enforcement.report import Teller
from ..errors import ConfigurationError, InvalidLimit
from ..quotas import Concurrency, Decision, Hit, Quota
from ..quotas.quota import tightness
from ..responses.refusal import refusal
from ..rules.notation import quotas_of, read_limit
from ..signals import limit_decided, send_decided
from ..stores import Store
from .binding import Binding
from .bound import Bindings


class DirectLimits(Bindings):
    """The part of `Limiter` that charges keys, by limits that belong to no rule."""

    def __init__(self, given: dict[str, Any], *, store: Store | None, enabled: bool) -> None:
        super().__init__(given, store=store, enabled=enabled)
        self._turns = Turns(self.charge)

    @contextmanager
    def counting_in(self, store: Store, turns: Turns | None = None) -> Iterator[None]:
        """Count in this store within this block, in all of the limiter's apps: for tests.

        See `quart_ratelimit.testing`. ``turns`` says how `wait` waits there. Nothing is carried
        over, in or out.
        """
        own, self._store = (self._store, self._turns), store
        self._turns = self._turns if turns is None else turns
        before = dict(self._bindings())
        self._rebind({})
        try:
            yield
        finally:
            self._store, self._turns = own
            self._rebind(before)

    @to_await("limiter.reset(...)")
    async def reset(self, limit: str | Quota | None = None, key: str | None = None) -> int:
        """Forget all that was counted, or what one key used of a limit; how many counters.

        Raises `StoreError`.
        """
        if limit is not None:
            return await self.store.reset(await self._hits(limit, key, 1))
        count = await self.store.clear()
        self.logger.info("Storage has been reset and all limits cleared")
        return count

    @to_await("limiter.hit(...)")
    async def hit(
        self,
        limit: str | Quota | None = None,
        key: str | None = None,
        *,
        requests: int | None = None,
        duration: int | None = None,
        cost: int = 1,
    ) -> Decision:
        """Charge a key, by default the request's: true while the limit allows it.

        ``hit("10/minute", key)`` or ``hit(requests=10, duration=60)`` (seconds). With several
        limits in the text, all or none are charged, and the answer is that of the one that
        refused, else of the one with least left.
        Raises `InvalidLimit`; what happens when the store is away is the limiter's policy.
        """
        quotas = self.quotas(limit, requests=requests, duration=duration)
        bucket = self.keys.join(await self.identify() if key is None else key)
        return min(await self.charge([Hit(quota, bucket, cost) for quota in quotas]), key=tightness)

    @to_await("limiter.peek(...)")
    async def peek(self, limit: str | Quota, key: str | None = None) -> Decision:
        """What a hit of cost 1 would be told; nothing is charged. Raises `InvalidLimit`."""
        return await self.hit(limit, key, cost=0)

    @to_await("limiter.refund(...)")
    async def refund(
        self, limit: str | Quota, key: str | None = None, *, charged: Decision, cost: int = 1
    ) -> Decision:
        """Give back a cost that this decision charged; never more than still counts of it."""
        hits = await self._hits(limit, key, cost)
        back = [hit._replace(cost=-hit.cost, at_ms=charged.at_ms) for hit in hits]
        return min(await self._correct(back, [charged]), key=tightness)

    @to_await("limiter.wait(...)")
    async def wait(
        self, limit: str | Quota, key: str | None = None, *, seconds: float, cost: int = 1
    ) -> Decision:
        """Charge a key as soon as the limit allows it, at most so many seconds from now.

        Fair among the callers of this worker, and false without waiting when it cannot be in time.
        Works outside a request as well, for background tasks and outbound calls.
        """
        return min(
            await self._turns.take(await self._hits(limit, key, cost), seconds), key=tightness
        )

    def reserve(self, limit: str | Quota, key: str | None = None, *, cost: int) -> Reserving:
        """``async with limiter.reserve("10000/hour", cost=estimate) as reservation:``.

        Charges the estimate on entry or raises `RateLimitExceeded`; `Reservation.settle` says in
        the block what it cost in truth. A block that fails unsettled is given back whole.
        """
        if type(cost) is not int or cost < 1:
            raise InvalidLimit(f"cost={cost!r} is not a positive whole number; write e.g. cost=100")
        for quota in self.quotas(limit):
            if cost > quota.capacity:
                raise InvalidLimit(f"cost={cost} can never be allowed by '{quota}'")

        async def first_hits() -> tuple[list[Hit], Tell]:
            who = await self.identify() if key is None else key
            return await self._hits(limit, who, cost), await self._teller(who, "reserve")

        return Reserving(self.charge, self._correct, first_hits)

    def in_flight(
        self,
        amount: int,
        key: str | None = None,
        *,
        key_func: UserFunction[str] | None = None,
        scope: str | None = None,
        lease: int = 60,
    ) -> InFlight:
        """At most ``amount`` at a time of each key across all workers.

        Decorates a view, under its route, and is held until its response, a stream too, has been
        sent; or guards a block, ``async with limiter.in_flight(5, key):``. A worker that dies
        frees its places after ``lease`` seconds. Raises `InvalidLimit`.
        """
        check_called(amount, "limiter.in_flight", "limiter.in_flight(10)")
        if key_func is not None:
            check_user_function(key_func, "limiter.in_flight(key_func=...)")
        quota = Concurrency(amount, lease, counted_as="in_flight")  # whatever the amount

        async def first_hits(default_scope: str) -> tuple[Hit, Tell]:
            who = await self.identify(key_func) if key is None else key
            hit = Hit(quota, self.keys.slot(who, scope or default_scope))
            return hit, await self._teller(who, scope or "in_flight")

        return InFlight(quota, self.charge, first_hits)

    def messages(
        self,
        limit: str | Quota,
        key: str | None = None,
        *,
        key_func: UserFunction[str] | None = None,
        scope: str | None = None,
        per_connection: bool = False,
        cost: int | UserFunction[int] = 1,
        on_breach: str | UserFunction[Any] = "close",
    ) -> Messages:
        """Limit what the client of a websocket sends: by its key, or each connection by itself.

        Decorates a view, under its ``@app.websocket``, or guards a block, ``async with
        limiter.messages("10/second"):``; there ``websocket.receive`` gives only what the limit
        allows. ``cost`` may be a function of the message, such as `message_bytes`. A breach may
        "close" the connection with code 1008, be answered by an "error" in JSON, "drop" the
        message, or "raise" `RateLimitExceeded` where it is received; or a function is given the
        `RequestLimit`, and what it answers with is sent. Raises `InvalidLimit`,
        `ConfigurationError`.
        """
        check_called(limit, "limiter.messages", 'limiter.messages("10/second")')
        if key_func is not None:
            check_user_function(key_func, "limiter.messages(key_func=...)")
        quotas_of(limit, self._strategy())

        async def hits(default_scope: str) -> list[Hit]:
            if self._off_here() or not (self.enabled or self.initialized):
                return []  # switched off from the start
            if (await self._require_binding().hooks.context()).free:
                return []
            who = token_hex(8) if per_connection else key
            bucket = self.keys.slot(
                await self.identify(key_func) if who is None else who, scope or default_scope
            )
            return [Hit(quota, bucket) for quota in quotas_of(limit, self._strategy())]

        charge = self._charge_here if per_connection else self.charge
        return Messages(self, charge, hits, cost=cost, on_breach=on_breach)

    def quotas(
        self,
        limit: str | Quota | None = None,
        *,
        requests: int | None = None,
        duration: int | None = None,
    ) -> list[Quota]:
        """The quotas of a limit given in any of its spellings. Raises `InvalidLimit`."""
        return list(read_limit(limit, requests, duration, self._strategy()))

    async def identify(self, key: UserFunction[str] | None = None) -> str:
        """Whom the current request counts for, by this key function or else the limiter's."""
        if current_request_or_none() is None:
            raise ConfigurationError("outside a request say whom to count: hit(limit, key)")
        binding = self._binding()
        own = binding.settings.key_func if binding else self._key_func
        return client_text(await call(key or own))

    async def charge(self, hits: Sequence[Hit]) -> list[Decision]:
        """Charge all hits or none; a disabled limiter allows and charges nothing."""
        binding = self._current_or_latest()
        if self._off_here() or not (self.enabled if binding is None else self.is_on(binding)):
            return [Decision(True, hit.quota.amount, 0, 0) for hit in hits]
        decisions = await self.store.hit(hits)
        if limit_decided.receivers and hits and hits[0].cost > 0:
            send_decided(self, hits, decisions)
        return decisions

    async def _correct(self, hits: Sequence[Hit], charged: Sequence[Decision]) -> list[Decision]:
        """As `charge`; but what was charged in this worker, as Redis was away, is given back there.

        Redis, back again, would give back what others have charged.
        """
        binding = self._current_or_latest()
        if binding is None or charged[0].by != "local" or hits[0].cost > 0:
            return await self.charge(hits)
        return [each._replace(by="local") for each in await binding.local.hit(hits)]

    async def _charge_here(self, hits: Sequence[Hit]) -> list[Decision]:
        """As `charge`, in this worker alone."""
        binding = self._require_binding()
        if not self.is_on(binding):
            return await self.charge(hits)
        decisions = await binding.local.hit(hits)
        if limit_decided.receivers:
            send_decided(self, hits, decisions)
        return decisions

    async def _hits(self, limit: str | Quota, key: str | None, cost: int) -> list[Hit]:
        bucket = self.keys.join(await self.identify() if key is None else key)
        return [Hit(quota, bucket, cost) for quota in self.quotas(limit)]

    async def _teller(self, who: str, scope: str) -> Tell:
        """Who is to be told of decisions on limits that belong to no rule."""
        binding = self._binding()
        if binding is not None and binding.settings.headers_enabled and self.is_on(binding):
            await binding.hooks.know_request()
            return binding.hooks.teller(who, scope)
        return functools.partial(self._refused, binding, who, scope)

    def _refused(
        self,
        binding: Binding | None,
        who: str,
        scope: str,
        hits: Sequence[Hit],
        decisions: Sequence[Decision],
    ) -> Exception | None:
        """The error of a refusal, where responses tell of nothing else."""
        for decision in decisions:
            if not decision.allowed:
                tell = Teller(refusal) if binding is None else binding.hooks.teller(who, scope)
                return tell(hits, decisions)
        return None
