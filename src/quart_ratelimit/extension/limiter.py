"""The Quart extension: ties settings, rules, evaluation and headers to apps and their requests."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from quart import Blueprint, Quart, current_app
from quart.typing import ResponseTypes
from werkzeug.sansio.response import Response

from ..callables import UserFunction, bare, check_user_function, takes
from ..constants import ConfigVars, ExemptionScope, HeaderNames
from ..current import current_app_or_none
from ..direct.asgi_call import AsgiCall
from ..direct.websocket_connection import current_connection
from ..enforcement.context import known_context
from ..enforcement.shield import Shield
from ..errors import ConfigurationError
from ..quotas import Hit
from ..responses.request_limit import RequestLimit
from ..rules.exemptions import USUAL
from ..rules.limits import ApplicationLimit, Limit, MetaLimit, Provider, RouteLimit
from ..rules.registry import ATTRIBUTE, LimitedFunction, check_function, limited_by, note_wrapped
from ..rules.strategies import quotas_of
from ..rules.validation import check_limit, check_rule
from ..settings.reading import read_settings
from ..signals import limit_decided, send_decided
from ..stores import Store
from .binding import Binding
from .direct_limits import DirectLimits
from .startup import startup_findings

#: Where `rate_limit` finds the app's first limiter; ``app.extensions["limiter"]`` holds all.
EXTENSION = "quart_ratelimit"

R = TypeVar("R", bound=Response)

#: A finding's severity -> the level that it is logged at.
LEVELS = {"error": logging.ERROR, "warning": logging.WARNING, "info": logging.INFO}


class Limiter(DirectLimits):
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
    pseudonyms instead of clients, ``doctor`` (False logs no findings at start), ``shadow``
    (limits count and report, and refuse nothing), and ``retry_jitter`` (0 to 1: lengthens
    ``Retry-After`` at random by up to so much of the period). Without a ``key_func`` it counts by
    `client_address`, and believes no header.
    """

    def __init__(
        self,
        key_func: UserFunction[str] | None = None,
        *,
        app: Quart | None = None,
        default_limits: Sequence[Provider | Limit] | None = None,
        default_limits_per_method: bool | None = None,
        default_limits_exempt_when: UserFunction[bool] | None = None,
        default_limits_deduct_when: UserFunction[bool] | None = None,
        default_limits_cost: int | UserFunction[int] | None = None,
        application_limits: Sequence[Provider | ApplicationLimit] | None = None,
        application_limits_per_method: bool | None = None,
        application_limits_exempt_when: UserFunction[bool] | None = None,
        application_limits_deduct_when: UserFunction[bool] | None = None,
        application_limits_cost: int | UserFunction[int] | None = None,
        headers_enabled: bool | None = None,
        header_name_mapping: Mapping[HeaderNames, str] | None = None,
        strategy: str | None = None,
        storage_uri: str | None = None,
        storage_options: Mapping[str, Any] | None = None,
        swallow_errors: bool | None = None,
        fail_on_first_breach: bool | None = None,
        on_breach: UserFunction[Any] | None = None,
        meta_limits: Sequence[Provider | MetaLimit] | None = None,
        on_meta_breach: UserFunction[Any] | None = None,
        in_memory_fallback: Sequence[Provider | Limit] | None = None,
        in_memory_fallback_enabled: bool | None = None,
        retry_after: str | None = None,
        key_prefix: str = "",
        request_identifier: UserFunction[str] | None = None,
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
        shadow: bool | UserFunction[bool] | None = None,
        retry_jitter: float = 0,
    ) -> None:
        own = ("self", "app", "store", "__class__")
        given = {name: value for name, value in locals().items() if name not in own}
        if isinstance(key_func, Quart):
            raise ConfigurationError("the app is given by its keyword: write Limiter(app=app)")
        super().__init__(given, store=store, enabled=enabled)
        self._warned = False
        #: How many `paused` blocks are entered, and what `enabled` was before the first.
        self._pauses = 0
        self._unpaused = enabled
        self.app = app
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Quart) -> None:
        """Bind the limiter to an app. Opens nothing. Raises `ConfigurationError`."""
        if not isinstance(app, Quart):
            raise ConfigurationError(f"{app!r} is no Quart app: write app = Quart(__name__)")
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
        app.extensions[self._attribute] = binding
        if app not in self._limited_apps:
            self._limited_apps.add(app)
            self._watch(app)
            app.before_serving(functools.partial(self._start, app))
            app.after_serving(functools.partial(self._close, app))
        app.extensions.setdefault("limiter", set()).add(self)

    def shield(self, app: Quart) -> Shield:
        """Put a `Shield` before an app that is bound already, and every other ASGI layer.

        It refuses again, without Quart, whom a limit just refused whose key needs no more than the
        connection: `get_remote_address`, `client_address`. Raises `ConfigurationError`.
        """
        binding = self.binding_for(app)
        if binding is None:
            raise ConfigurationError("write limiter.init_app(app) before limiter.shield(app)")
        if not hasattr(binding.store, "refuses"):
            raise ConfigurationError(
                "a shield needs the memory of refusals: leave out remember_refusals=0 and store="
            )
        binding.hooks.refusal_notes.active = True
        shield = Shield(app.asgi_app, functools.partial(self._refuses, app))
        app.asgi_app = cast(Any, shield)  # type: ignore[method-assign]  # how Quart takes layers
        return shield

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Limit and charge nothing within this block, in all of the limiter's apps."""
        if not self._pauses:
            self._unpaused = self.enabled
        self._pauses += 1
        self.enabled = False
        try:
            yield
        finally:
            self._pauses -= 1
            if not self._pauses:  # blocks of several tasks may overlap
                self.enabled = self._unpaused

    # Rules

    def limit(
        self,
        limit_value: Provider,
        *,
        key_func: UserFunction[Any] | None = None,
        per_method: bool = False,
        methods: Sequence[str] | None = None,
        error_message: str | UserFunction[str] | None = None,
        exempt_when: UserFunction[bool] | None = None,
        override_defaults: bool = True,
        deduct_when: UserFunction[bool] | None = None,
        on_breach: UserFunction[Any] | None = None,
        cost: int | UserFunction[int] = 1,
        scope: Any = None,
        meta_limits: Sequence[Provider | MetaLimit] | None = None,
        name: str | None = None,
        shadow: bool | UserFunction[bool] | None = None,
    ) -> RouteLimit:
        """Limit a view, a helper function, a blueprint or, by ``async with``, a block of code.

        The arguments are the fields of `Limit`. A malformed text is an `InvalidLimit` as soon as
        the function or the blueprint is known.
        """
        if not isinstance(limit_value, str):
            self._check_provider(limit_value)
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
        key_func: UserFunction[Any] | None = None,
        per_method: bool = False,
        methods: Sequence[str] | None = None,
        error_message: str | UserFunction[str] | None = None,
        exempt_when: UserFunction[bool] | None = None,
        override_defaults: bool = True,
        deduct_when: UserFunction[bool] | None = None,
        on_breach: UserFunction[Any] | None = None,
        cost: int | UserFunction[int] = 1,
        meta_limits: Sequence[Provider | MetaLimit] | None = None,
        name: str | None = None,
        shadow: bool | UserFunction[bool] | None = None,
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
            self._registry.exempt_blueprint(obj, flags)
        else:
            check_function(obj, "limiter.exempt")
            limited = limited_by(self, obj)
            self._registry.exempt(limited.function if limited else obj, flags)
        return obj

    def request_filter(self, fn: UserFunction[bool]) -> UserFunction[bool]:
        """Do not limit requests for which this function answers true."""
        check_user_function(fn, "limiter.request_filter")
        self._filters.append(fn)
        return fn

    def deny(self, fn: UserFunction[bool]) -> UserFunction[bool]:
        """Answer requests with 403, and count nothing, for which this function answers true.

        It denies also while limiting is paused or switched off.
        """
        check_user_function(fn, "limiter.deny")
        self._denials.append(fn)
        self._registry.version += 1
        return fn

    def _check_provider(self, given: Any) -> None:
        """Note a function, lest it is a view: ``@limiter.limit`` without a limit.

        Raises `MissingParentheses` if it is none that says how much is allowed; `InvalidLimit`.
        """
        if not callable(given):
            quotas_of(given)
        elif not takes(given):
            raise bare(given, "limiter.limit", 'limiter.limit("10/minute")')
        elif inspect.isfunction(given):
            self._registry.providers.add(given)

    def apply_limit(self, limit: RouteLimit, target: Any) -> Any:
        """See `RouteLimit.__call__`. Raises `InvalidLimit`."""
        strategy = self._given["strategy"]
        if isinstance(target, Blueprint):
            check_rule(limit, f"blueprint {target.name}", strategy)
            self._registry.limit_blueprint(target, limit)
            return None
        check_function(target, "limiter.limit(...)")
        name = f"{target.__module__}.{getattr(target, '__qualname__', repr(target))}"
        check_rule(limit, f"function {name}", strategy)
        self._registry.version += 1
        known = limited_by(self, target)
        if known is not None:
            known.add(limit)
            return target
        limited = LimitedFunction(name, [limit], target)
        is_async = inspect.iscoroutinefunction(target)

        @functools.wraps(target)
        async def limited_function(*args: Any, **kwargs: Any) -> Any:
            charging = self._call(limited)
            if charging is not None:
                await charging
            if is_async:
                return await target(*args, **kwargs)
            return await current_app.ensure_async(target)(*args, **kwargs)

        registry = {**getattr(target, ATTRIBUTE, {}), self: limited}
        setattr(limited_function, ATTRIBUTE, registry)
        note_wrapped(target, limited_function)
        return limited_function

    async def enter_limit(self, limit: RouteLimit, where: str) -> None:
        """See `RouteLimit.__aenter__`."""
        check_limit(limit, where, self._given["strategy"])
        charging = self._call(LimitedFunction(where, [limit]))
        if charging is not None:
            await charging

    # What was decided

    @property
    def current_limit(self) -> RequestLimit | None:
        """The limit of this request to tell its client of; None before any was evaluated."""
        context = known_context(self._attribute)
        return None if context is None else context.current_limit

    @property
    def current_limits(self) -> list[RequestLimit]:
        """All limits of this request, in the order in which they were evaluated."""
        context = known_context(self._attribute)
        return list(context.limits) if context else []

    async def identify_request(self) -> str:
        """What this request's endpoint is called in keys; "" when nothing is limited."""
        binding = self._binding()
        if binding is None or not self.is_on(binding):
            return ""
        return (await binding.hooks.context()).identity

    # One request

    def _watch(self, app: Quart) -> None:
        """Have the app ask the gate of its latest binding, before each view and after it."""
        extensions, attribute = app.extensions, self._attribute

        async def before_request() -> None:
            binding: Binding = extensions[attribute]
            if not binding.hooks.nothing_before():
                checking = binding.hooks.before_request(limiting=self.is_on(binding))
                if checking is not None:
                    await checking

        async def after_request(response: R) -> R:
            binding: Binding = extensions[attribute]
            settling = binding.hooks.after_request(response)
            if settling is not None:
                await settling
            return response

        async def before_websocket() -> None:
            current_connection()  # watched from its handshake on
            await before_request()

        async def after_websocket(response: ResponseTypes | None) -> ResponseTypes | None:
            if response is not None:
                response = await after_request(response)
                await current_connection().end_as(response.status_code)
            return response

        async def teardown_websocket(_: BaseException | None) -> None:
            # A connection that had no response in HTTP was accepted: that is status 101.
            if current_connection().accepted:
                await after_request(Response(status=101))

        app.asgi_app = AsgiCall(app.asgi_app)  # type: ignore[assignment, method-assign]
        app.before_request(before_request)
        app.after_request(after_request)
        app.before_websocket(before_websocket)
        app.after_websocket(after_websocket)
        app.teardown_websocket(teardown_websocket)

    def _call(self, limited: LimitedFunction) -> Awaitable[None] | None:
        """Charge what binds a function that is called, or a block that is entered; or None."""
        app = current_app_or_none()
        binding: Binding | None = None if app is None else app.extensions.get(self._attribute)
        if binding is not None:
            return binding.hooks.call(limited) if self.is_on(binding) else None
        if self.enabled and app not in self._known_apps and not self._warned:
            self._warned = True
            self.logger.warning(
                "%s is not limited: call limiter.init_app(app) to bind its Limiter", limited.name
            )
        return None

    def _refuses(self, app: Quart, hits: Sequence[Hit]) -> bool:
        """Whether these are refused for certain, for a shield; nothing is while it is off."""
        binding: Binding = app.extensions[self._attribute]
        store: Any = binding.store
        if not hasattr(store, "refuses") or not self.is_on(binding):
            return False
        if not limit_decided.receivers:
            return bool(store.refuses(hits))
        decisions = store.refusal(hits)
        if decisions is not None:
            send_decided(self, hits, decisions)
        return decisions is not None

    async def _start(self, app: Quart) -> None:
        binding: Binding = app.extensions[self._attribute]
        binding.hooks.check_views()
        if binding.settings.doctor:
            for finding in startup_findings(app, binding):
                self.logger.log(LEVELS[finding.severity], "%s", finding)
        await binding.store.start()

    async def _close(self, app: Quart) -> None:
        await app.extensions[self._attribute].store.aclose()
