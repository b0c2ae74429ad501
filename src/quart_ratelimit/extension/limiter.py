"""The Quart extension: ties settings, rules, evaluation and headers to apps and their requests."""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast, overload

from quart import Blueprint, Quart

from ..callables import UserFunction, check_user_function
from ..clients.keys import KeyForm
from ..clients.networks import ClientIn
from ..constants import ConfigVars, ExemptionScope, HeaderNames
from ..current import current_app_or_none
from ..direct.blocks import place_in_code
from ..enforcement.context import known_context
from ..enforcement.shield import Shield
from ..errors import ConfigurationError
from ..quotas import Decision, Hit
from ..responses.drain import MOST
from ..responses.request_limit import RequestLimit
from ..rules.exemptions import USUAL
from ..rules.kinds import checked, switch
from ..rules.limits import ApplicationLimit, BlockLimit, Limit, MetaLimit, Provider, RouteLimit
from ..rules.registry import LimitedFunction, WeakTable, check_function, note_app
from ..rules.validation import check_limit, check_provider, check_rule
from ..rules.views import Decorator, name_in_code, wrap_view
from ..settings.reading import VARIABLES_READ, read_settings, variables_of
from ..signals import limit_decided, recorders, send_decided
from ..stores import Store
from .app_hooks import app_by_keyword, check_app, hook_denials_into, hook_into, most_drained
from .binding import EXTENSION, Binding, Bindings, first_key_func
from .direct_limits import DirectLimits
from .flask_limiter import Storage, Strategy

T = TypeVar("T")
F = TypeVar("F", bound=UserFunction[bool])


class Limiter(DirectLimits):
    """Rate limiting for Quart apps: declares limits, and applies them to each request.

    ``limiter = Limiter(app=app, default_limits=["100/minute"], storage_uri="redis://...")``.
    Without ``app``, `init_app` binds the limiter later, and to several apps. Every function may be
    sync or async. An argument that is None takes the app's ``RATELIMIT_*`` variable, then the
    default. Raises `ConfigurationError`.

    The client that is counted:

    - ``key_func``: returns the client's key (default: `client_address()`, which trusts no header).
    - ``key_prefix``: the start of every key (default ``""``).
    - ``key_secret``: 16 bytes or more; keys then have pseudonyms instead of clients.
    - ``request_identifier``: returns the name of the endpoint in keys.

    Limits that apply without a decorator:

    - ``default_limits``: for each view separately.
    - ``application_limits``: for all views together.
    - ``default_limits_per_method``, ``_exempt_when``, ``_deduct_when``, ``_cost``: as in `limit`,
      for all default limits; the same with ``application_limits``.
    - ``meta_limits``: how often a client may breach any limit.
    - ``limit_unmatched``: default and application limits count 404 and 405 (default False).
    - ``limit_preflights``: CORS preflights are charged (default False).

    Where and how hits are counted:

    - ``storage_uri`` (default ``"memory://"``) with ``storage_options``, or ``store``.
    - ``strategy``: the algorithm of limits given as text (default ``"fixed-window"``).
    - ``remember_refusals``: how long a worker repeats a refusal without calling Redis, in seconds
      (default 1.0). Never longer than the refusal itself lasts.

    While the store is away:

    - ``on_store_error``: ``"local"`` (default), ``"open"``, ``"closed"`` or ``"raise"``.
    - ``workers``: how many workers share each limit, for a worker that never reached Redis.
    - ``in_memory_fallback``, ``in_memory_fallback_enabled``, ``swallow_errors``: as
      Flask-Limiter's.

    Responses:

    - ``on_breach``, ``on_meta_breach``: called with the `RequestLimit`; return the response.
    - ``fail_on_first_breach``: stop at the first limit that refuses (default True).
    - ``headers_enabled``: response fields on every response (default False).
    - ``header_fields``: ``"x-ratelimit"`` (default), an IETF draft such as ``"draft-10"``, or both.
    - ``header_name_mapping``: other names of the fields, by `HeaderNames`.
    - ``retry_after``: ``"delta-seconds"`` (default) or ``"http-date"``.
    - ``retry_jitter``: 0 (default) to 1: the fraction by which ``Retry-After`` is lengthened at
      random, at most.
    - ``partition_secret``: adds partition keys to draft-10 and draft-11.
    - ``problem_details``: refusals as ``application/problem+json`` (default False).
    - ``drain_refused_bodies``: how much of a refused request's body is read and dropped, so that
      its client can read the refusal, in bytes (default 1,048,576).

    Operation:

    - ``enabled``: False limits nothing (default True).
    - ``shadow``: limits count and report, and refuse nothing (default False); or a function.
    - ``doctor``: False logs no findings at start (default True).
    """

    @app_by_keyword
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
        storage_options: Mapping[str, object] | None = None,
        swallow_errors: bool | None = None,
        fail_on_first_breach: bool | None = None,
        on_breach: UserFunction[object] | None = None,
        meta_limits: Sequence[Provider | MetaLimit] | None = None,
        on_meta_breach: UserFunction[object] | None = None,
        in_memory_fallback: Sequence[Provider | Limit] | None = None,
        in_memory_fallback_enabled: bool | None = None,
        retry_after: str | None = None,
        key_prefix: str = "",
        request_identifier: UserFunction[str] | None = None,
        enabled: bool = True,
        store: Store | None = None,
        on_store_error: str | None = None,
        workers: int | None = None,
        limit_unmatched: bool = False,
        limit_preflights: bool = False,
        remember_refusals: float = 1.0,
        header_fields: str | Sequence[str] | None = None,
        partition_secret: str | bytes | None = None,
        problem_details: bool | None = None,
        key_secret: str | bytes | None = None,
        doctor: bool | None = None,
        shadow: bool | UserFunction[bool] | None = None,
        retry_jitter: float = 0,
        drain_refused_bodies: int = MOST,
    ) -> None:
        own = ("self", "app", "store", "__class__")
        given = {name: value for name, value in locals().items() if name not in own}
        super().__init__(Bindings(self, given, store))
        self.enabled: bool = checked(switch, "enabled", enabled)
        self.logger: logging.Logger = logging.getLogger("quart_ratelimit")
        self._attribute = self._bindings.attribute
        self._warned = False
        #: How many `paused` blocks are entered, and what `enabled` was before the first.
        self._pauses = 0
        self._unpaused = enabled
        #: Each limit as the block has it that entered it last.
        self._blocks: WeakTable[BlockLimit] = WeakTable()
        self.app = app
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Quart) -> None:
        """Bind the limiter to an app. Opens no connection. Raises `ConfigurationError`."""
        check_app(app)
        bindings = self._bindings
        app.extensions.setdefault(EXTENSION, self)
        is_new = app not in bindings.known_apps
        bindings.known_apps.add(app)
        note_app(app)
        enabled = app.config.setdefault(ConfigVars.ENABLED, self.enabled)
        if not checked(switch, ConfigVars.ENABLED, enabled):
            self.enabled = self.initialized  # another app may be limited
            if is_new:
                hook_denials_into(app, bindings.denials)
            return
        self.enabled = True
        settings = read_settings(bindings.given, app.config, first_key_func(app, self))
        app.extensions[VARIABLES_READ] = variables_of(app.config)
        # Private in Flask-Limiter, and read by its users' tests.
        self._in_memory_fallback = settings.in_memory_fallback
        self._in_memory_fallback_enabled = settings.on_store_error in ("raise", "local")
        bindings.latest = app.extensions[bindings.attribute] = bindings.bind(settings, app.config)
        if app not in bindings.limited_apps:
            bindings.limited_apps.add(app)
            hook_into(app, bindings.attribute)
        app.extensions.setdefault("limiter", set()).add(self)

    @property
    def initialized(self) -> bool:
        """Whether the limiter is bound to an app that it limits."""
        return self._bindings.latest is not None

    @property
    def store(self) -> Store:
        """Where the limiter counts. Raises `ConfigurationError` before `init_app`."""
        return self._bindings.store

    @property
    def storage(self) -> Storage:
        """The store as Flask-Limiter knows it. Raises `ConfigurationError` before `init_app`."""
        return self._bindings.require().storage

    @property
    def limiter(self) -> Strategy:
        """Single limits by key. Raises `ConfigurationError` before `init_app`."""
        return self._bindings.require().strategy

    def shield(self, app: Quart) -> Shield:
        """Put a `Shield` before an app that is bound already, and every other ASGI layer.

        The shield repeats refusals before Quart makes a request, for limits whose key is known by
        the connection: `get_remote_address`, `client_address`. Raises `ConfigurationError`.
        """
        check_app(app)
        binding = self._bindings.of(app)
        if binding is None:
            raise ConfigurationError("write limiter.init_app(app) before limiter.shield(app)")
        if not binding.settings.remember_refusals and not binding.in_memory:
            raise ConfigurationError(
                "a shield needs the memory of refusals: leave out remember_refusals=0"
            )
        binding.hooks.refusal_notes.active = True
        shield = Shield(
            app.asgi_app,
            functools.partial(self._known_refusal, app),
            drain=functools.partial(most_drained, app, self._bindings.attribute),
        )
        app.asgi_app = cast(Any, shield)  # type: ignore[method-assign]  # how Quart takes layers
        return shield

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Limit and charge nothing in the block ``with limiter.paused():``, in all its apps."""
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
        key_func: UserFunction[object] | None = None,
        per_method: bool = False,
        methods: Sequence[str] | None = None,
        error_message: str | UserFunction[str] | None = None,
        exempt_when: UserFunction[bool] | None = None,
        override_defaults: bool = True,
        deduct_when: UserFunction[bool] | None = None,
        on_breach: UserFunction[object] | None = None,
        cost: int | UserFunction[int] = 1,
        scope: object = None,
        meta_limits: Sequence[Provider | MetaLimit] | None = None,
        name: str | None = None,
        shadow: bool | UserFunction[bool] | None = None,
        on_store_error: str | None = None,
    ) -> RouteLimit:
        """Limit a view, a helper function, a blueprint or, by ``async with``, a block of code.

        Each view has a count of its own, and so has each block, whichever view runs the block. The
        arguments are the fields of `Limit`. A malformed text raises `InvalidLimit` as soon as the
        function or the blueprint is known.
        """
        if not isinstance(limit_value, str):
            check_provider(limit_value, self._bindings.registry)
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
            on_store_error=on_store_error,
            limiter=self,
        )

    def shared_limit(
        self,
        limit_value: Provider,
        scope: object,
        *,
        key_func: UserFunction[object] | None = None,
        per_method: bool = False,
        methods: Sequence[str] | None = None,
        error_message: str | UserFunction[str] | None = None,
        exempt_when: UserFunction[bool] | None = None,
        override_defaults: bool = True,
        deduct_when: UserFunction[bool] | None = None,
        on_breach: UserFunction[object] | None = None,
        cost: int | UserFunction[int] = 1,
        meta_limits: Sequence[Provider | MetaLimit] | None = None,
        name: str | None = None,
        shadow: bool | UserFunction[bool] | None = None,
        on_store_error: str | None = None,
    ) -> RouteLimit:
        """As `limit`, with one counter for all functions and blueprints with this scope."""
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
            on_store_error=on_store_error,
            limiter=self,
        )

    @overload
    def exempt(self, obj: None = None, *, flags: ExemptionScope = USUAL) -> Decorator: ...

    @overload
    def exempt(self, obj: T, *, flags: ExemptionScope = USUAL) -> T: ...

    def exempt(self, obj: object = None, *, flags: ExemptionScope = USUAL) -> object:
        """Exempt a view or a blueprint: ``@limiter.exempt`` below a route.

        Its own limits, default and application limits do not apply. If ``flags`` names some kinds
        only, the view's own limits still apply. ``@rate_limit``, ``in_flight`` and, for a view,
        the limits of its blueprint always apply. Without ``obj``, returns a decorator.
        """
        if not isinstance(flags, ExemptionScope):
            form = "ExemptionScope.DEFAULT | ExemptionScope.APPLICATION"
            raise ConfigurationError(
                f"flags={flags!r} is not an ExemptionScope; write flags={form}"
            )
        if obj is None:
            return functools.partial(self.exempt, flags=flags)
        if isinstance(obj, Blueprint):
            self._bindings.registry.exempt_blueprint(obj, flags)
        else:
            check_function(obj, "limiter.exempt")
            limited = self._bindings.registry.limited(obj)
            self._bindings.registry.exempt(limited[-1].function if limited else obj, flags)
        return obj

    def request_filter(self, fn: F) -> F:
        """Limit no request for which this function returns true: ``@limiter.request_filter``."""
        check_user_function(fn, "limiter.request_filter")
        self._bindings.filters.append(fn)
        return fn

    def deny(self, fn: F) -> F:
        """Refuse requests with 403, uncounted, if this function returns true: ``@limiter.deny``.

        Requests are also denied while limiting is paused or switched off. A function by `client_in`
        also denies clients without an address.
        """
        check_user_function(fn, "limiter.deny")
        self._bindings.denials.append(fn.denying() if isinstance(fn, ClientIn) else fn)
        self._bindings.registry.version += 1
        return fn

    def _apply_limit(self, limit: RouteLimit, target: object) -> object:
        """See `RouteLimit.__call__`. Raises `InvalidLimit`."""
        strategy = self._bindings.given["strategy"]
        if isinstance(target, Blueprint):
            check_rule(limit, f"blueprint {target.name}", strategy)
            self._bindings.registry.limit_blueprint(target, limit)
            return None
        view = check_function(target, "limiter.limit(...)")
        name = name_in_code(view)
        check_rule(limit, f"function {name}", strategy)
        registry = self._bindings.registry
        registry.version += 1
        known = registry.limited_itself(target)
        if known is not None:
            known.add(limit)
            return target
        limited = LimitedFunction(name, [], view, registry.limited(target))
        limited.add(limit)
        twin = wrap_view(
            view, "limiter.limit(...)", functools.partial(self._call, limited), limiter=self
        )
        registry.note_limited(twin, limited)
        return twin

    def _enter_limit(self, limit: RouteLimit, where: str) -> Awaitable[None]:
        """See `RouteLimit.__aenter__`."""
        place = place_in_code(3)
        known = self._blocks.get(limit)
        if known is None or known.place != place:
            known = BlockLimit.of(limit, place)
            self._blocks.set(limit, known)
        return self._charge_block(known, where)

    async def _charge_block(self, limit: BlockLimit, where: str) -> None:
        check_limit(limit, where, self._bindings.given["strategy"])
        charging = self._call(LimitedFunction(where, [limit]))
        if charging is None:
            return
        try:
            await charging
        finally:
            self._note_block(limit.place)

    def _note_block(self, place: str) -> None:
        """Remember the limits of a block that was charged just now."""
        for status in self.current_limits:
            if place in status.request_args[:-2]:
                form = KeyForm.of_parts(status.request_args)
                self._bindings.seen.note("block", [status.limit], form)

    # What was decided

    @property
    def current_limit(self) -> RequestLimit | None:
        """The limit that the response fields show; None before a limit was evaluated."""
        context = known_context(self._bindings.attribute)
        return None if context is None else context.current_limit

    @property
    def current_limits(self) -> list[RequestLimit]:
        """All limits of this request, in the order in which they were evaluated."""
        context = known_context(self._bindings.attribute)
        return list(context.limits) if context else []

    async def identify_request(self) -> str:
        """Return the name of this request's endpoint in keys; "" when nothing is limited."""
        binding = self._bindings.current()
        if binding is None or not binding.is_active:
            return ""
        return (await binding.hooks.context()).identity

    # One request

    def _call(self, limited: LimitedFunction) -> Awaitable[None] | None:
        """Charge what binds a function that is called, or a block that is entered; or None."""
        app = current_app_or_none()
        binding: Binding | None = (
            None if app is None else app.extensions.get(self._bindings.attribute)
        )
        if binding is not None:
            return binding.hooks.call(limited) if binding.is_active else None
        if self.enabled and app not in self._bindings.known_apps and not self._warned:
            self._warned = True
            self.logger.warning(
                "%s is not limited: call limiter.init_app(app) to bind its Limiter", limited.name
            )
        return None

    def _known_refusal(self, app: Quart, hits: Sequence[Hit]) -> list[Decision] | None:
        """See `Store.known_refusal`, for a shield; None while the limiter is off."""
        binding: Binding = app.extensions[self._bindings.attribute]
        decisions = binding.store.known_refusal(hits) if binding.is_active else None
        if decisions is not None and (recorders or limit_decided.receivers):
            send_decided(self, hits, decisions)
        return decisions
