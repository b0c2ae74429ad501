"""Limits that code checks itself: hits, reservations, places in flight, messages."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from secrets import token_hex

from ..callables import UserFunction, call, check_called, check_user_function, to_await
from ..clients.key_functions import address_function, client_named
from ..clients.key_spaces import space_of
from ..clients.keys import KeyForm, Keys, client_text, has_text, owned_by
from ..current import current_request_or_none
from ..direct.blocks import place_in_code
from ..direct.in_flight import InFlight
from ..direct.ledger import Account, Ledger
from ..direct.messages import Messages
from ..direct.reservation import Reserving
from ..direct.websocket_connection import Data
from ..enforcement.report import Report
from ..errors import ConfigurationError, InvalidLimit
from ..quotas import Concurrency, Decision, Hit, Quota
from ..quotas.quota import Receipt, decided, tightness
from ..rules.kinds import check_cost, checked, switch
from ..rules.kinds import policy as policy_kind
from ..rules.notation import one_per_counter, quotas_of, read_limit
from ..rules.registry import OwnLimit, Registry
from .binding import Bindings

#: The keys of a limit on a view of that name, or on a block, at an endpoint, of clients that a
#: function names.
_Form = Callable[[str | None, str, UserFunction[object] | None], KeyForm]

_log = logging.getLogger("quart_ratelimit")


class DirectLimits:
    """The part of `Limiter` that charges keys, by limits that belong to no rule."""

    def __init__(self, bindings: Bindings) -> None:
        self._bindings = bindings

    @property
    def _registry(self) -> Registry:
        return self._bindings.registry

    @to_await("limiter.reset(...)")
    async def reset(
        self, limit: str | Quota | None = None, key: str | None = None, *, scope: str | None = ""
    ) -> int:
        """Clear all counts, or the count of one key and limit; return the number of counters.

        Keys with another ``key_prefix`` stay, also if this limiter has no prefix. ``scope`` is
        the scope of the `hit`. Raises `StoreError`.
        """
        if limit is not None:
            hits = await self._hits(self.quotas(limit), key, 1, scope)
            return await self._bindings.store.reset(hits)
        count = await self._bindings.store.clear(owned_by(self._bindings.key_prefix))
        _log.info("Storage has been reset and all limits cleared")
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
        scope: str | None = "",
        on_store_error: str | None = None,
    ) -> Decision:
        """Charge a key, and return the decision: true if the limit allows the hit.

        ``if not await limiter.hit("10/minute", "ann"): ...``. Outside a request, ``key`` is
        required.

        - ``limit``: ``"10/minute"``, several limits in one text, or a `Quota`. All are charged or
          none, and the decision is of the limit that refused, else of the one with least left.
        - ``key``: what is counted (default: the request's client).
        - ``requests``, ``duration``: the limit as two numbers, ``duration`` in seconds.
        - ``cost``: units to charge (default 1).
        - ``scope``: each scope has its own counts (default ``""``); None selects the Flask
          snippet's key, ``rate_limit:{key}:{window}``.
        - ``on_store_error``: what decides while the store is away, "local", "open", "closed" or
          "raise" (default: the limiter's).

        Raises `InvalidLimit`.
        """
        quotas = self.quotas(limit, requests=requests, duration=duration)
        ledger = self._bindings.ledger()
        hits = await self._hits(quotas, key, cost, scope, on_store_error)
        return _told(ledger, hits, await ledger.charge(hits))

    @to_await("limiter.peek(...)")
    async def peek(
        self, limit: str | Quota, key: str | None = None, *, scope: str | None = ""
    ) -> Decision:
        """Return the decision of a hit of cost 1, and charge nothing. Raises `InvalidLimit`."""
        return await self.hit(limit, key, cost=0, scope=scope)

    @to_await("limiter.refund(...)")
    async def refund(
        self,
        limit: str | Quota,
        key: str | None = None,
        *,
        charged: Decision,
        cost: int = 1,
        scope: str | None = "",
    ) -> Decision:
        """Give back what a decision of `hit` or `wait` charged, and return the new state.

        ``await limiter.refund("10/minute", "ann", charged=decision)``.

        - ``limit``, ``key``, ``scope``: as in the `hit`.
        - ``charged``: the decision. All refunds of one decision together give back at most what
          the decision charged to this key and limit, and only units that still count.
        - ``cost``: units to give back (default 1).

        If there is nothing to give back (a refusal, a `peek`, the policy "open", another key),
        `refund` returns what `peek` returns. Do not repeat a refund that failed.
        Raises `InvalidLimit`.
        """
        if not isinstance(charged, Decision):
            raise ConfigurationError(
                f"charged={charged!r} is not a Decision; write charged=await limiter.hit(...)"
            )
        hits = await self._hits(self.quotas(limit), key, cost, scope)
        back = charged.receipt.spend(hits) if charged.receipt else []
        if charged.receipt is None or not back:
            return await self.peek(limit, key, scope=scope)
        return min(await charged.receipt.give_back(*zip(*back, strict=True)), key=tightness)

    @to_await("limiter.wait(...)")
    async def wait(
        self,
        limit: str | Quota,
        key: str | None = None,
        *,
        seconds: float,
        cost: int = 1,
        scope: str | None = "",
        on_store_error: str | None = None,
    ) -> Decision:
        """Charge a key as soon as the limit allows it, within a number of seconds.

        ``if await limiter.wait("10/second burst 1", "partner", seconds=30): ...``. Callers of one
        worker are served in order. Works outside a request as well.

        - ``limit``, ``key``, ``cost``, ``scope``, ``on_store_error``: as in `hit`.
        - ``seconds``: the longest wait. If the turn would come later, the decision is false at
          once.

        Raises `InvalidLimit`.
        """
        is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
        if not is_number or not seconds >= 0:
            raise ConfigurationError(f"seconds={seconds!r} must be 0 or more, e.g. seconds=5")
        hits = await self._hits(self.quotas(limit), key, cost, scope, on_store_error)
        ledger = self._bindings.ledger()
        return _told(ledger, hits, await self._bindings.turns.take(ledger, hits, seconds))

    def reserve(
        self,
        limit: str | Quota,
        key: str | None = None,
        *,
        cost: int,
        on_store_error: str | None = None,
    ) -> Reserving:
        """Charge an estimate for a block of code, and settle the true cost inside the block.

        ``async with limiter.reserve("10000/hour", cost=estimate) as reservation:`` charges the
        estimate or raises `RateLimitExceeded`; ``reservation.settle(spent)`` sets the true cost.

        - ``limit``, ``key``, ``on_store_error``: as in `hit`.
        - ``cost``: the estimate, in units.

        If the block raises before it settles, the estimate is given back. If the block is
        cancelled, as when the client leaves, the charge stays. Raises `InvalidLimit`.
        """
        _check_names("limiter.reserve", key, None)
        if type(cost) is not int or cost < 1:
            raise InvalidLimit(f"cost={cost!r} is not a positive whole number; write e.g. cost=100")
        for quota in self.quotas(limit):
            if cost > quota.capacity:
                raise InvalidLimit(f"cost={cost} can never be allowed by '{quota}'")
        policy = _check_policy(on_store_error)

        async def open_account() -> Account:
            who, by = await self._client(key)
            hits = _under(policy, self._hits_of(self.quotas(limit), who, by, 1))
            return await self._account(hits, who, "reserve")

        return Reserving(cost, open_account)

    def in_flight(
        self,
        amount: int,
        key: str | None = None,
        *,
        key_func: UserFunction[str] | None = None,
        scope: str | None = None,
        lease: int = 60,
        on_store_error: str | None = None,
    ) -> InFlight:
        """Allow at most ``amount`` requests or blocks per key at a time, across all workers.

        ``@limiter.in_flight(3)`` under a route holds a place until the response, also a stream, has
        been sent. ``async with limiter.in_flight(3, "ann"):`` guards a block.

        - ``amount``: the number of places.
        - ``key``, or ``key_func``: what is counted (default: the request's client).
        - ``scope``: calls with one scope share their places (default: each call has places of its
          own).
        - ``lease``: after how many seconds the places of a worker that died are free (default 60).
        - ``on_store_error``: as in `hit`.

        Raises `InvalidLimit`.
        """
        check_called(amount, "limiter.in_flight", "limiter.in_flight(10)")
        policy = _check_policy(on_store_error)
        _check_names("limiter.in_flight", key, scope)
        if type(lease) is not int or lease < 1:
            raise InvalidLimit(f"lease={lease!r} must be whole seconds, 1 or more, e.g. lease=60")
        if key_func is not None:
            check_user_function(key_func, "limiter.in_flight(key_func=...)")
            space_of(key_func)  # as in `Limit`
        quota = Concurrency(amount, lease, counted_as="in_flight")  # whatever the amount
        block = place_in_code()

        def form(view: str | None, endpoint: str, by: UserFunction[object] | None) -> KeyForm:
            place, what = ("", scope) if scope else _place_and_scope(view, endpoint, block)
            return self._bindings.key_form("in_flight", what, place=place, key_func=by)

        async def open_account(view: str | None) -> Account:
            who, by = await self._client(key, key_func)
            keys = form(view, _endpoint(), by)
            if view is None:
                self._bindings.seen.note("in_flight", [quota], keys)
            hits = [Hit(quota, keys.of(self.keys, who), policy=policy)]
            return await self._account(hits, who, scope or "in_flight")

        own = self._own_limit("in_flight", lambda _: [quota], form, key, key_func)
        return InFlight(open_account, own)

    def messages(
        self,
        limit: str | Quota,
        key: str | None = None,
        *,
        key_func: UserFunction[str] | None = None,
        scope: str | None = None,
        per_connection: bool = False,
        cost: int | UserFunction[int] = 1,
        on_breach: str | UserFunction[Data | None] = "close",
    ) -> Messages:
        """Limit what the client of a websocket sends.

        ``@limiter.messages("10/second")`` under ``@app.websocket(...)``, or ``async with
        limiter.messages("10/second"):``. There ``websocket.receive`` returns only messages that
        the limit allows.

        - ``limit``: as in `hit`.
        - ``key``, or ``key_func``: what is counted (default: the websocket's client).
        - ``scope``: calls with one scope share a count (default: each call has a count of its own).
        - ``per_connection``: count each connection separately, without a call to Redis (default
          False).
        - ``cost``: units per message (default 1), or a function of the message, as `message_bytes`.
        - ``on_breach``: "close" the connection with code 1008 (default), send an "error" in JSON,
          "drop" the message, or "raise" `RateLimitExceeded`; or a function of the `RequestLimit`,
          whose result is sent.

        Raises `InvalidLimit`, `ConfigurationError`.
        """
        check_called(limit, "limiter.messages", 'limiter.messages("10/second")')
        _check_names("limiter.messages", key, scope)
        if key_func is not None:
            check_user_function(key_func, "limiter.messages(key_func=...)")
            space_of(key_func)  # as in `Limit`
        per_connection = checked(switch, "limiter.messages(per_connection=...)", per_connection)
        read = functools.partial(quotas_of, limit)
        read(self._bindings.strategy)

        block = place_in_code()
        # Bytes and messages of one view are counted apart, whatever their scopes are called.
        unit = f":{getattr(cost, '__qualname__', 'cost')}" if callable(cost) else ""

        def form(view: str | None, endpoint: str, by: UserFunction[object] | None) -> KeyForm:
            place, what = ("", scope) if scope else _place_and_scope(view, endpoint, block)
            return self._bindings.key_form(f"messages{unit}", what, place=place, key_func=by)

        async def open_account(view: str | None) -> Account:
            binding = self._bindings.current()
            ledger = self._bindings.ledger()
            if binding is not None:
                if (await binding.hooks.context()).free:
                    return Account(ledger, [], Report())
                ledger = binding.local_ledger if per_connection else ledger
            who, by = await self._client(token_hex(8) if per_connection else key, key_func)
            keys, quotas = form(view, _endpoint(), by), read(self._bindings.strategy)
            if view is None and not per_connection:
                self._bindings.seen.note("messages", quotas, keys)
            bucket = keys.of(self.keys, who)
            return Account(ledger, [Hit(quota, bucket) for quota in quotas], Report())

        own = self._own_limit("messages", read, None if per_connection else form, key, key_func)
        return Messages(self, open_account, own, cost=cost, on_breach=on_breach)

    @property
    def keys(self) -> Keys:
        """How the limiter's keys are made: with clients in clear, or by their pseudonyms."""
        return self._bindings.keys

    def quotas(
        self,
        limit: str | Quota | None = None,
        *,
        requests: int | None = None,
        duration: int | None = None,
    ) -> list[Quota]:
        """Return the quotas of a limit, given as text or as a `Quota`. Raises `InvalidLimit`."""
        return list(read_limit(limit, requests, duration, self._bindings.strategy))

    async def identify(self, key: UserFunction[str] | None = None) -> str:
        """Return the request's client, by this key function or by the limiter's."""
        who, _ = await self._client(None, key)
        return who

    async def _client(
        self, key: object, key_func: UserFunction[str] | None = None
    ) -> tuple[str, UserFunction[object] | None]:
        """The client by its key or, without one, by a key function; and the function it is by."""
        if key is not None:
            return client_text(key), key_func
        if current_request_or_none() is None:
            raise ConfigurationError("outside a request a key is required: hit(limit, key)")
        binding = self._bindings.current()
        own = binding.settings.key_func if binding else self._bindings.key_func
        answer = await call(key_func or own)
        return client_named(answer, key_func or own, own)

    async def _hits(
        self,
        quotas: Sequence[Quota],
        key: str | None,
        cost: int,
        scope: str | None = "",
        policy: str | None = None,
    ) -> list[Hit]:
        own = _check_policy(policy)
        check_cost(cost, or_bool=False)
        _check_names("limiter.hit", key, scope)
        return _under(own, self._hits_of(quotas, *await self._client(key), cost, scope))

    def _hits_of(
        self,
        quotas: Sequence[Quota],
        who: str,
        by: UserFunction[object] | None,
        cost: int,
        scope: str | None = "",
    ) -> list[Hit]:
        form, charged = self._bindings.key_form("hit", scope, key_func=by), one_per_counter(quotas)
        self._bindings.seen.note("hit", charged, form)
        bucket = form.of(self.keys, who)
        return [Hit(quota, bucket, cost, refundable=True) for quota in charged]

    def _own_limit(
        self,
        kind: str,
        quotas: Callable[[str | None], Sequence[Quota]],
        form: _Form | None,
        key: object,
        key_func: UserFunction[object] | None,
    ) -> Callable[[str], OwnLimit]:
        """What a view, of that name, charges; without a form each connection counts by itself."""

        def own(view: str) -> OwnLimit:
            def counters(endpoint: str, _: str) -> Sequence[KeyForm]:
                if form is None:
                    return []
                if key is not None:
                    return [form(view, endpoint, key_func)._replace(who=client_text(key))]
                binding = self._bindings.current()
                usual = binding.settings.key_func if binding else self._bindings.key_func
                names = (key_func or usual, address_function(usual))
                return [form(view, endpoint, by) for by in names]

            return OwnLimit(
                kind=kind,
                name=view,
                quotas=quotas,
                counters=counters,
                key_func=key_func,
                limiter=self,
            )

        return own

    async def _account(self, hits: Sequence[Hit], who: str, scope: str) -> Account:
        """An account whose decisions the response's fields report, if they report any."""
        ledger, binding = self._bindings.ledger(), self._bindings.current()
        if binding is None or not binding.is_active:
            return Account(ledger, hits, Report())
        if binding.settings.headers_enabled:
            await binding.hooks.know_request()
        return Account(ledger, hits, binding.hooks.teller(who, scope))


def _told(ledger: Ledger, hits: Sequence[Hit], decisions: Sequence[Decision]) -> Decision:
    """The tightest of these decisions, with what may be given back of all."""
    told = decisions[0] if len(decisions) == 1 else min(decisions, key=tightness)
    if not told.allowed or not hits[0].cost:
        return told
    return decided((*told[:-1], Receipt(hits, decisions, ledger.give_back)))


def _check_policy(policy: str | None) -> str:
    """What decides while the store is away; "": as the limiter says."""
    return "" if policy is None else checked(policy_kind, "on_store_error", policy)


def _under(policy: str, hits: list[Hit]) -> list[Hit]:
    return [hit._replace(policy=policy) for hit in hits] if policy else hits


def _check_names(place: str, key: object, scope: object) -> None:
    """Raise `ConfigurationError` unless the key has a text, and the scope is one; or None."""
    if key is not None and not has_text(key):
        raise ConfigurationError(f"{place}: key={key!r} has no text; write e.g. key=str(user.id)")
    if scope is not None and not isinstance(scope, str):
        raise ConfigurationError(f"{place}: scope={scope!r} is not text; write e.g. scope='shop'")


def _endpoint() -> str:
    """The endpoint of the current request; "" if there is none."""
    request = current_request_or_none()
    return (request.endpoint if request else None) or ""


def _place_and_scope(view: str | None, endpoint: str, block: str) -> tuple[str, str]:
    """What distinguishes a limited view, or a block, also if several have one function."""
    return ("block", block) if view is None else (f"view {endpoint}", view)
