"""The Quart extension: ties settings, rules, evaluation and headers to apps and their requests."""

from __future__ import annotations

import functools
import inspect
import logging
import weakref
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from secrets import token_hex
from typing import Any, TypeVar, cast

from quart import Blueprint, Quart, current_app
from quart.typing import ResponseTypes
from werkzeug.sansio.response import Response

from .binding import Binding, bind
from .callables import ask
from .checkup import startup_findings
from .client import LOCAL, NO_PEER, client_address
from .connection import connection_at_hand
from .constants import ConfigVars
from .current import app_at_hand, request_at_hand
from .errors import ConfigurationError, InvalidLimit
from .evaluate import refusal
from .exemptions import USUAL, ExemptionScope
from .gate import known_context
from .headers import HeaderNames
from .in_flight import InFlight
from .keys import Keys, keys_with
from .limits import ApplicationLimit, Asked, Limit, MetaLimit, Provider, RouteLimit
from .marks import ATTRIBUTE, Limited, Marks, limited_by, note_wrapped
from .messages import Messages
from .quotas import Concurrency, Decision, Hit, Quota
from .reservation import Reserving, Tell
from .runtime import RequestLimit
from .settings import Settings, check_limit, read_settings
from .shield import Shield
from .signals import limit_decided, tell_decided
from .storage import Storage, Strategy
from .stores import Store
from .strategies import quotas_of, read_limit
from .telling import Teller
from .waiting import Turns

#: Where `rate_limit` finds the app's first limiter; ``app.extensions["limiter"]`` holds all.
EXTENSION = "quart_ratelimit"

#: Whom a request counts for.
KeyFunction = Callable[[], "str | Awaitable[str]"]

R = TypeVar("R", bound=Response)

#: A finding's severity -> the level that it is logged at.
LEVELS = {"error": logging.ERROR, "warning": logging.WARNING, "info": logging.INFO}

_log = logging.getLogger("quart_ratelimit")


def get_remote_address() -> str:
    """The address of the peer that the request came from, as the server writes it.

    Flask-Limiter's; `client_address` gives an address in one form, and an IPv6 client's network.
    127.0.0.1 if the server names none, as on a Unix socket and in Quart's test client.
    """
    request = request_at_hand()
    if request is None:
        raise RuntimeError("the address of a peer is known in a request or a websocket only")
    address = request.remote_addr
    return LOCAL if address in (None, "", NO_PEER) else address


get_remote_address.request_fields = ()  # type: ignore[attr-defined]  # for the shield


class Limiter:
    """Rate limiting for Quart apps; `init_app` may bind it later, and to several.

    The keywords up to ``enabled`` are Flask-Limiter's; every function may be sync or async. Each
    has an app's variable that counts if it is None here. Our own are ``store`` (where to count,
    instead of ``storage_uri``), ``on_store_error`` ("local", "open", "closed" or "raise"),
    ``limit_unmatched`` (requests without a route, 404 and 405, fall under application and default
    limits), ``remember_refusals`` (seconds for which a worker refuses a key again by itself
    that Redis just refused; at most until its time has come), ``header_fields`` ("x-ratelimit", a
    draft of the IETF's such as "draft-10", or both), ``partition_secret`` (adds partition keys
    to draft-10, a client's by keyed hash), ``problem_details`` (refusals as
    ``application/problem+json`` for clients that take it), ``key_secret``, by which keys bear
    pseudonyms instead of clients, ``doctor`` (False logs no findings at start), and ``shadow``
    (limits count and report, and refuse nothing). Without a ``key_func`` it counts by
    `client_address`, and believes no header.
    """

    def __init__(
        self,
        key_func: KeyFunction | None = None,
        *,
        app: Quart | None = None,
        default_limits: Sequence[Provider | Limit] | None = None,
        default_limits_per_method: bool | None = None,
        default_limits_exempt_when: Asked[bool] | None = None,
        default_limits_deduct_when: Asked[bool] | None = None,
        default_limits_cost: int | Asked[int] | None = None,
        application_limits: Sequence[Provider | ApplicationLimit] | None = None,
        application_limits_per_method: bool | None = None,
        application_limits_exempt_when: Asked[bool] | None = None,
        application_limits_deduct_when: Asked[bool] | None = None,
        application_limits_cost: int | Asked[int] | None = None,
        headers_enabled: bool | None = None,
        header_name_mapping: Mapping[HeaderNames, str] | None = None,
        strategy: str | None = None,
        storage_uri: str | None = None,
        storage_options: Mapping[str, Any] | None = None,
        swallow_errors: bool | None = None,
        fail_on_first_breach: bool | None = None,
        on_breach: Asked[Any] | None = None,
        meta_limits: Sequence[Provider | MetaLimit] | None = None,
        on_meta_breach: Asked[Any] | None = None,
        in_memory_fallback: Sequence[Provider | Limit] | None = None,
        in_memory_fallback_enabled: bool | None = None,
        retry_after: str | None = None,
        key_prefix: str = "",
        request_identifier: Asked[str] | None = None,
        enabled: bool = True,
        store: Store | None = None,
        on_store_error: str | None = None,
        limit_unmatched: bool = False,
        remember_refusals: float = 1.0,
        header_fields: str | Sequence[str] | None = None,
        partition_secret: str | bytes | None = None,
        problem_details: bool | None = None,
        key_secret: str | bytes | None = None,
        doctor: bool | None = None,
        shadow: bool | Asked[bool] | None = None,
    ) -> None:
        self._given = {
            name: value for name, value in locals().items() if name not in ("self", "app", "store")
        }
        self._key_func: KeyFunction = key_func or client_address()
        self._given["default_key_func"] = self._key_func
        self._store = store
        self._marks = Marks()
        self._filters: list[Asked[bool]] = []
        #: Each app's latest binding, in a list that its hooks look into.
        self._rooms: weakref.WeakKeyDictionary[Quart, list[Binding]] = weakref.WeakKeyDictionary()
        self._latest: Binding | None = None
        self._turns = Turns(self.charge)
        self._warned = False
        self._known_apps: weakref.WeakSet[Quart] = weakref.WeakSet()
        self.app = app
        self.logger = _log
        self.enabled = enabled
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Quart) -> None:
        """Bind the limiter to an app. Opens nothing. Raises `ConfigurationError`."""
        app.extensions.setdefault(EXTENSION, self)
        self._known_apps.add(app)
        if not app.config.setdefault(ConfigVars.ENABLED, self.enabled):
            self.enabled = self.initialized  # another app may be limited
            return
        self.enabled = True
        settings = read_settings(self._given, app.config)
        # Private in Flask-Limiter, and read by its users' tests.
        self._in_memory_fallback = settings.in_memory_fallback
        self._in_memory_fallback_enabled = settings.on_store_error in ("raise", "local")
        self._latest = binding = self._bind(settings, app.config)
        if app not in self._rooms:
            self._rooms[app] = [binding]
            self._watch(app)
            app.before_serving(functools.partial(self._start, app))
            app.after_serving(functools.partial(self._close, app))
        self._rooms[app][:] = [binding]
        app.extensions.setdefault("limiter", set()).add(self)

    def shield(self, app: Quart) -> Shield:
        """Put a `Shield` before an app that is bound already, and every other ASGI layer.

        It refuses again, without Quart, whom a limit just refused whose key needs no more than the
        connection: `get_remote_address`, `client_address`. Raises `ConfigurationError`.
        """
        binding = self.binding_for(app)
        if binding is None:
            raise ConfigurationError("write limiter.init_app(app) before limiter.shield(app)")
        if not hasattr(binding.store, "refusal"):
            raise ConfigurationError(
                "a shield needs the memory of refusals: leave out remember_refusals=0 and store="
            )
        binding.gate.shielded = True
        shield = Shield(app.asgi_app, functools.partial(self._refusal, app))
        app.asgi_app = cast(Any, shield)  # type: ignore[method-assign]  # how Quart takes layers
        return shield

    # Its state

    def is_on(self, binding: Binding) -> bool:
        """Whether it limits this app now: by `enabled`, and by its ``RATELIMIT_ENABLED``."""
        return self.enabled and bool(binding.config.get(ConfigVars.ENABLED, True))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Limit and charge nothing within this block, in all of the limiter's apps."""
        enabled, self.enabled = self.enabled, False
        try:
            yield
        finally:
            self.enabled = enabled

    @contextmanager
    def counting_in(self, store: Store, turns: Turns | None = None) -> Iterator[None]:
        """Count in this store within this block, in all of the limiter's apps: for tests.

        See `quart_ratelimit.testing`. ``turns`` says how `wait` waits there. Nothing is carried
        over, in or out.
        """
        own, self._store = (self._store, self._turns), store
        self._turns = self._turns if turns is None else turns
        before = {app: binding for app, (binding,) in self._rooms.items()}
        self._rebind({})
        try:
            yield
        finally:
            self._store, self._turns = own
            self._rebind(before)

    # Rules

    def limit(
        self,
        limit_value: Provider,
        *,
        key_func: Asked[Any] | None = None,
        per_method: bool = False,
        methods: Sequence[str] | None = None,
        error_message: str | Asked[str] | None = None,
        exempt_when: Asked[bool] | None = None,
        override_defaults: bool = True,
        deduct_when: Asked[bool] | None = None,
        on_breach: Asked[Any] | None = None,
        cost: int | Asked[int] = 1,
        scope: Any = None,
        meta_limits: Sequence[Provider | MetaLimit] | None = None,
        name: str | None = None,
        shadow: bool | Asked[bool] | None = None,
    ) -> RouteLimit:
        """Limit a view, a helper function, a blueprint or, by ``async with``, a block of code.

        The arguments are the fields of `Limit`. A malformed text is an `InvalidLimit` as soon as
        the function or the blueprint is known.
        """
        return RouteLimit(
            limit_value,
            key_func,
            scope,
            cost,
            methods=methods,
            per_method=per_method,
            error_message=error_message,
            meta_limits=meta_limits,
            exempt_when=exempt_when,
            deduct_when=deduct_when,
            on_breach=on_breach,
            override_defaults=override_defaults,
            name=name,
            shadow=shadow,
            limiter=self,
        )

    def shared_limit(
        self,
        limit_value: Provider,
        scope: Any,
        *,
        key_func: Asked[Any] | None = None,
        per_method: bool = False,
        methods: Sequence[str] | None = None,
        error_message: str | Asked[str] | None = None,
        exempt_when: Asked[bool] | None = None,
        override_defaults: bool = True,
        deduct_when: Asked[bool] | None = None,
        on_breach: Asked[Any] | None = None,
        cost: int | Asked[int] = 1,
        meta_limits: Sequence[Provider | MetaLimit] | None = None,
        name: str | None = None,
        shadow: bool | Asked[bool] | None = None,
    ) -> RouteLimit:
        """As `limit`, with one counter for all that is limited with this scope."""
        return RouteLimit(
            limit_value,
            key_func,
            scope,
            cost,
            shared=True,
            methods=methods,
            per_method=per_method,
            error_message=error_message,
            meta_limits=meta_limits,
            exempt_when=exempt_when,
            deduct_when=deduct_when,
            on_breach=on_breach,
            override_defaults=override_defaults,
            name=name,
            shadow=shadow,
            limiter=self,
        )

    def exempt(self, obj: Any = None, *, flags: ExemptionScope = USUAL) -> Any:
        """Exempt a view or a blueprint from limits; without one, the decorator for it."""
        if obj is None:
            return functools.partial(self.exempt, flags=flags)
        if isinstance(obj, Blueprint):
            self._marks.exempt_blueprint(obj, flags)
        else:
            limited = limited_by(self, obj)
            self._marks.exempt(limited.function if limited else obj, flags)
        return obj

    def request_filter(self, fn: Asked[bool]) -> Asked[bool]:
        """Do not limit requests for which this function answers true."""
        self._filters.append(fn)
        return fn

    def apply_limit(self, limit: RouteLimit, target: Any) -> Any:
        """See `RouteLimit.__call__`. Raises `InvalidLimit`."""
        strategy = self._given["strategy"]
        if isinstance(target, Blueprint):
            check_limit(limit, f"blueprint {target.name}", strategy)
            self._marks.limit_blueprint(target, limit)
            return None
        name = f"{target.__module__}.{getattr(target, '__qualname__', repr(target))}"
        check_limit(limit, f"function {name}", strategy)
        self._marks.version += 1
        known = limited_by(self, target)
        if known is not None:
            known.add(limit)
            return target
        limited = Limited(name, [limit], target)
        is_async = inspect.iscoroutinefunction(target)

        @functools.wraps(target)
        async def limited_function(*args: Any, **kwargs: Any) -> Any:
            binding = self._binding()
            if binding is None:
                self._warn_if_unbound(limited)
            elif self.is_on(binding):
                await binding.gate.call(limited)
            if is_async:
                return await target(*args, **kwargs)
            return await current_app.ensure_async(target)(*args, **kwargs)

        marks = {**getattr(target, ATTRIBUTE, {}), self: limited}
        setattr(limited_function, ATTRIBUTE, marks)
        note_wrapped(target, limited_function)
        return limited_function

    async def enter_limit(self, limit: RouteLimit, where: str) -> None:
        """See `RouteLimit.__aenter__`."""
        check_limit(limit, where, self._given["strategy"])
        await self._call(Limited(where, [limit]))

    # What was decided

    @property
    def current_limit(self) -> RequestLimit | None:
        """The limit of this request to tell its client of; None before any was evaluated."""
        context = known_context(self)
        return None if context is None else context.current_limit

    @property
    def current_limits(self) -> list[RequestLimit]:
        """All limits of this request, in the order in which they were evaluated."""
        context = known_context(self)
        return list(context.limits) if context else []

    async def identify_request(self) -> str:
        """What this request's endpoint is called in keys; "" when nothing is limited."""
        binding = self._binding()
        if binding is None or not self.is_on(binding):
            return ""
        return (await binding.gate.context()).identity

    # The store

    @property
    def initialized(self) -> bool:
        """Whether the limiter is bound to an app that it limits."""
        return self._latest is not None

    @property
    def store(self) -> Store:
        """Where the limiter counts. Raises `ConfigurationError` before `init_app`."""
        binding = self._binding() or self._latest
        if binding is not None:
            return binding.store
        if self._store is not None:
            return self._store
        raise ConfigurationError("this Limiter is bound to no app: call limiter.init_app(app)")

    @property
    def storage(self) -> Storage:
        """The store as Flask-Limiter knows it. Raises `ConfigurationError` before `init_app`."""
        return self._bound().storage

    @property
    def limiter(self) -> Strategy:
        """Single limits by key. Raises `ConfigurationError` before `init_app`."""
        return self._bound().strategy

    async def reset(self, limit: str | Quota | None = None, key: str | None = None) -> int:
        """Forget all that was counted, or what one key used of a limit; how many counters.

        Raises `StoreError`.
        """
        if limit is not None:
            return await self.store.reset(await self._hits(limit, key, 1))
        count = await self.store.clear()
        self.logger.info("Storage has been reset and all limits cleared")
        return count

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

    async def peek(self, limit: str | Quota, key: str | None = None) -> Decision:
        """What a hit of cost 1 would be told; nothing is charged. Raises `InvalidLimit`."""
        return await self.hit(limit, key, cost=0)

    async def refund(
        self, limit: str | Quota, key: str | None = None, *, charged: Decision, cost: int = 1
    ) -> Decision:
        """Give back a cost that this decision charged; never more than still counts of it."""
        hits = await self._hits(limit, key, cost)
        back = [hit._replace(cost=-hit.cost, at_ms=charged.at_ms) for hit in hits]
        return min(await self.charge(back), key=tightness)

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

        async def ask() -> tuple[list[Hit], Tell]:
            who = await self.identify() if key is None else key
            return await self._hits(limit, who, cost), await self._teller(who, "reserve")

        return Reserving(self.charge, ask)

    def in_flight(
        self,
        amount: int,
        key: str | None = None,
        *,
        key_func: KeyFunction | None = None,
        scope: str | None = None,
        lease: int = 60,
    ) -> InFlight:
        """At most ``amount`` at a time of each key across all workers.

        Decorates a view, under its route, and is held until its response, a stream too, has been
        sent; or guards a block, ``async with limiter.in_flight(5, key):``. A worker that dies
        frees its places after ``lease`` seconds. Raises `InvalidLimit`.
        """
        quota = Concurrency(amount, lease)

        async def ask(default_scope: str) -> tuple[Hit, Tell]:
            who = await self.identify(key_func) if key is None else key
            hit = Hit(quota, self.keys.slot(who, scope or default_scope))
            return hit, await self._teller(who, scope or "in_flight")

        return InFlight(quota, self.charge, ask)

    def messages(
        self,
        limit: str | Quota,
        key: str | None = None,
        *,
        key_func: KeyFunction | None = None,
        scope: str | None = None,
        per_connection: bool = False,
        cost: int | Asked[int] = 1,
        on_breach: str | Asked[Any] = "close",
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
        quotas_of(limit, self._strategy())

        async def hits(default_scope: str) -> list[Hit]:
            if not (self.enabled or self.initialized):
                return []  # switched off from the start
            if (await self._bound().gate.context()).free:
                return []
            who = token_hex(8) if per_connection else key
            bucket = self.keys.slot(
                await self.identify(key_func) if who is None else who, scope or default_scope
            )
            return [Hit(quota, bucket) for quota in quotas_of(limit, self._strategy())]

        charge = self._charge_here if per_connection else self.charge
        return Messages(self, charge, hits, cost=cost, on_breach=on_breach)

    async def _hits(self, limit: str | Quota, key: str | None, cost: int) -> list[Hit]:
        bucket = self.keys.join(await self.identify() if key is None else key)
        return [Hit(quota, bucket, cost) for quota in self.quotas(limit)]

    async def _teller(self, who: str, scope: str) -> Tell:
        """Who is to be told of decisions on limits that belong to no rule."""
        binding = self._binding()
        if binding is not None and binding.settings.headers_enabled and self.is_on(binding):
            await binding.gate.know_request()
            return binding.gate.teller(who, scope)
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
                tell = Teller(refusal) if binding is None else binding.gate.teller(who, scope)
                return tell(hits, decisions)
        return None

    async def charge(self, hits: Sequence[Hit]) -> list[Decision]:
        """Charge all hits or none; a disabled limiter allows and charges nothing."""
        binding = self._binding() or self._latest
        if not (self.enabled if binding is None else self.is_on(binding)):
            return [Decision(True, hit.quota.amount, 0, 0) for hit in hits]
        decisions = await self.store.hit(hits)
        if limit_decided.receivers and hits and hits[0].cost > 0:
            tell_decided(self, hits, decisions)
        return decisions

    async def _charge_here(self, hits: Sequence[Hit]) -> list[Decision]:
        """As `charge`, in this worker alone."""
        binding = self._bound()
        if not self.is_on(binding):
            return await self.charge(hits)
        decisions = await binding.local.hit(hits)
        if limit_decided.receivers:
            tell_decided(self, hits, decisions)
        return decisions

    def quotas(
        self,
        limit: str | Quota | None = None,
        *,
        requests: int | None = None,
        duration: int | None = None,
    ) -> list[Quota]:
        """The quotas of a limit given in any of its spellings. Raises `InvalidLimit`."""
        return read_limit(limit, requests, duration, self._strategy())

    @property
    def keys(self) -> Keys:
        """How the limiter's keys are made: with clients in clear, or by their pseudonyms."""
        binding = self._binding() or self._latest
        return binding.settings.keys if binding else keys_with(self._given["key_secret"])

    async def identify(self, key: KeyFunction | None = None) -> str:
        """Whom the current request counts for, by this key function or else the limiter's."""
        if request_at_hand() is None:
            raise ConfigurationError("outside a request say whom to count: hit(limit, key)")
        binding = self._binding()
        own = binding.settings.key_func if binding else self._key_func
        return str(await ask(key or own))

    # One request

    def _watch(self, app: Quart) -> None:
        """Have the app ask the gate of its latest binding, before each view and after it."""
        latest = self._rooms[app]

        async def before_request() -> None:
            binding = latest[-1]
            if self.is_on(binding):
                checking = binding.gate.before_request()
                if checking is not None:
                    await checking

        async def after_request(response: R) -> R:
            binding = latest[-1]
            settling = binding.gate.after_request(response, headers=self.is_on(binding))
            if settling is not None:
                await settling
            return response

        async def before_websocket() -> None:
            connection_at_hand()  # watched from its handshake on
            await before_request()

        async def after_websocket(response: ResponseTypes | None) -> ResponseTypes | None:
            if response is not None:
                response = await after_request(response)
                await connection_at_hand().end_as(response.status_code)
            return response

        async def teardown_websocket(_: BaseException | None) -> None:
            # A connection that had no response in HTTP was accepted: that is status 101.
            if connection_at_hand().accepted:
                await after_request(Response(status=101))

        app.before_request(before_request)
        app.after_request(after_request)
        app.before_websocket(before_websocket)
        app.after_websocket(after_websocket)
        app.teardown_websocket(teardown_websocket)

    async def _call(self, limited: Limited) -> None:
        """Charge what binds a function that is called, or a block that is entered."""
        binding = self._binding()
        if binding is None:
            self._warn_if_unbound(limited)
        elif self.is_on(binding):
            await binding.gate.call(limited)

    def _warn_if_unbound(self, limited: Limited) -> None:
        if self.enabled and app_at_hand() not in self._known_apps and not self._warned:
            self._warned = True
            self.logger.warning(
                "%s is not limited: call limiter.init_app(app) to bind its Limiter", limited.name
            )

    # One app

    def binding_for(self, app: Quart) -> Binding | None:
        """The limiter's settings and rooms in that app; None if it is not limited."""
        latest = self._rooms.get(app)
        return latest[-1] if latest else None

    def _binding(self) -> Binding | None:
        app = app_at_hand()
        return None if app is None else self.binding_for(app)

    def _refusal(self, app: Quart, hits: Sequence[Hit]) -> Sequence[Decision] | None:
        """What is refused for certain, for a shield; nothing while the limiter is off."""
        binding = self._rooms[app][-1]
        refusal = getattr(binding.store, "refusal", None)
        if refusal is None or not self.is_on(binding):
            return None
        decisions: Sequence[Decision] | None = refusal(hits)
        if limit_decided.receivers and decisions is not None:
            tell_decided(self, hits, decisions)
        return decisions

    def _bind(self, settings: Settings, config: Mapping[str, Any]) -> Binding:
        return bind(
            self,
            settings,
            config=config,
            marks=self._marks,
            filters=self._filters,
            store=self._store,
        )

    def _rebind(self, known: Mapping[Quart, Binding]) -> None:
        """Give each app its known binding, or else a new one."""
        latest = self._latest
        for app, (binding,) in list(self._rooms.items()):
            new = known.get(app)
            if new is None:
                new = self._bind(binding.settings, binding.config)
            self._rooms[app][:] = [new]
            if binding is latest:
                self._latest = new

    def _strategy(self) -> str | None:
        binding = self._binding() or self._latest
        return binding.settings.strategy if binding else self._given["strategy"]

    def _bound(self) -> Binding:
        binding = self._binding() or self._latest
        if binding is None:
            raise ConfigurationError("this Limiter is bound to no app: call limiter.init_app(app)")
        return binding

    async def _start(self, app: Quart) -> None:
        binding = self._rooms[app][-1]
        binding.gate.check_views()
        if binding.settings.doctor:
            for finding in startup_findings(app, binding):
                self.logger.log(LEVELS[finding.severity], "%s", finding)
        await binding.store.start()

    async def _close(self, app: Quart) -> None:
        await self._rooms[app][-1].store.aclose()


def tightness(decision: Decision) -> tuple[bool, int]:
    """Sorts the first refusal, else the decision with least left, to the front."""
    return (decision.allowed, decision.remaining)
