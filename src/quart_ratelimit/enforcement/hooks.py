"""One request at the limiter of one app: before its view, at limited functions, at its response."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from quart import current_app
from werkzeug.sansio.response import Response

from ..callables import Memo, UserFunction, call
from ..clients.keys import bounded
from ..current import (
    current_request_or_none,
    forget_at_end,
    known_response,
    note_response,
)
from ..errors import ConfigurationError
from ..responses.drafts import DRAFTS
from ..responses.refusal import is_refused
from ..responses.writer import FieldWriter
from ..responses.x_ratelimit import field_names
from ..rules.registry import LimitedFunction, Registry, functions_of
from ..rules.truth import truth
from ..rules.validation import check_hooks, check_kinds, check_views
from ..settings.reading import VARIABLES_READ, check_unchanged
from ..settings.table import Settings
from ..stores import Store
from .breach import Breach, unless_denied
from .context import RequestContext, context_of, known_context
from .error_handlers import is_handling_error
from .evaluator import Evaluator
from .report import Report
from .resolver import Resolver
from .routes import BLUEPRINTS, DEFAULTS, UNREACHED, Route, Routes, is_free_preflight
from .settlement import Settlement
from .shield import RefusalNotes
from .stage import Stage
from .unreached import name_clients

#: What requests without a route are called in keys.
UNMATCHED = "<unmatched>"


class RequestHooks:
    """Refuses a request that a limit does not allow, and writes the fields of its response.

    ``attribute`` is the request's attribute that holds its context.
    """

    def __init__(
        self,
        extension: Any,
        settings: Settings,
        *,
        attribute: str,
        registry: Registry,
        resolver: Resolver,
        store: Store,
        direct_store: Store,
        local_store: Store,
        fallback_store: Store,
        filters: Sequence[UserFunction[bool]],
        denials: Sequence[UserFunction[bool]],
    ) -> None:
        self._extension = extension
        self._settings = settings
        self._attribute = attribute
        self._direct_store = direct_store
        self._registry = registry
        self._routes = Routes(extension, registry)
        self._resolver = resolver
        self._filters = filters
        self._denials = denials
        self._identifier = settings.request_identifier
        #: What is left for a shield.
        self.refusal_notes: RefusalNotes = RefusalNotes(self._called_always)
        self._breach = Breach(settings, self.refusal_notes)
        self._settlement = Settlement(settings)
        self._evaluator = Evaluator(
            extension,
            settings,
            resolver=resolver,
            breach=self._breach,
            settlement=self._settlement,
            store=store,
            local_store=local_store,
            fallback_store=fallback_store,
        )
        self._writer = FieldWriter(
            enabled=settings.headers_enabled,
            names=field_names(settings.header_names),
            x_ratelimit=settings.x_ratelimit,
            draft=None if settings.draft is None else DRAFTS[settings.draft],
            pseudonym=settings.pseudonym,
            retry_after=settings.retry_after,
        )
        self._views_checked = False
        #: The registry's version since which nothing applies before any view.
        self._version_of_nothing = -1

    def nothing_before(self) -> bool:
        """Whether it is known that nothing applies before a view, so `before_request` is idle."""
        return self._version_of_nothing == self._registry.version

    def before_request(self, *, limiting: bool = True) -> Awaitable[None] | None:
        """Deny, then charge what limits the application and views without limits of their own.

        ``limiting=False`` only denies. None: there is nothing to await, as nothing applies before
        this view.
        """
        if limiting and not self._views_checked:
            self.check_views()
        if self._has_nothing_before():
            self._version_of_nothing = self._registry.version
            return None
        if not limiting and not self._denials:
            return None
        request = current_request_or_none()
        route = self._routes.of(request)
        if self._denials:
            return self._unless_denied(request, route, self._before if limiting else None)
        return self._before(request, route)

    def call(self, limited: LimitedFunction) -> Awaitable[None] | None:
        """Charge what limits a function that is called, or a block that is entered.

        None: there is nothing to await, as nothing applies.
        """
        request = current_request_or_none()
        context: RequestContext | None
        context = getattr(request, self._attribute, None) or self._begin(request)
        if context is None:
            return self._begin_and(lambda: self.call(limited))
        if context.filtered:
            return None
        if context.free or is_handling_error(request):
            return self._check_apart(context, limited)
        if limited is context.route.limited:
            return self._check(context, limited, context.memo)
        # It may be called several times, for different things, and a decorator above it may change
        # what the app's functions see, so they are called again.
        if limited not in context.route.own:
            self._forget_if_open_ended(context)
        return self._check(context, limited, Memo())

    def charge(self, stage: Stage) -> Awaitable[None] | None:
        """Charge a stage that belongs to no rule of the app; as `call`."""
        request = current_request_or_none()
        if request is None:
            return self._charge(RequestContext("", Route("", "")), stage)
        context: RequestContext | None
        context = getattr(request, self._attribute, None) or self._begin(request)
        if context is None:
            return self._begin_and(lambda: self.charge(stage))
        if context.filtered:
            return None
        self._forget_if_open_ended(context)
        return self._charge(context, stage)

    def unreached(self) -> RequestContext | None:
        """The request's context, if the request ended before its view's own limits.

        None as well if it was refused: a refused request charges nothing else.
        """
        context = known_context(self._attribute)
        if context is None or not context.unreached or is_refused():
            return None
        return context

    async def charge_unreached(self, context: RequestContext) -> None:
        """Charge the limits that the view's own would have replaced; as `call`."""
        context.due = False
        memo = context.memo
        stage = self._resolver.known(context, UNREACHED)
        stage = stage or await self._find(context, UNREACHED, memo)
        if stage is not None and not stage.empty:
            await name_clients(stage, memo)
            await self._evaluator.check(context, stage, memo, UNREACHED.by)

    def after_request(self, response: Response) -> Awaitable[None] | None:
        """Settle what the response decides on, then write the fields.

        None: it is done, and there is nothing to await.
        """
        request = current_request_or_none()
        note_response(request, response)
        context: RequestContext | None = getattr(request, self._attribute, None)
        if context is not None and context.reserved:
            return self._settle(context, response)
        self._writer.write(response, context)
        return None

    async def context(self) -> RequestContext:
        """What is known of this request; made at the first call."""
        request = current_request_or_none()
        known = context_of(request, self._attribute)
        if known is not None:
            return known
        if request is None:
            raise RuntimeError(
                "limits on functions and blocks count requests, and this code runs outside one; "
                "write await limiter.hit(limit, key)"
            )
        return await self._begin_asking(request, self._routes.of(request))

    async def know_request(self) -> None:
        """See that the request, if there is one, is known to `teller`: it may call user functions.

        To be called before a charge, and only where responses have fields.
        """
        if current_request_or_none() is not None:
            await self.context()

    def teller(self, *args: str) -> Report:
        """Reports decisions on limits that belong to no rule, by client and scope."""
        context = known_context(self._attribute)
        enabled, kept = self._settings.headers_enabled, list(map(bounded, args))
        return Report(self._extension, context, kept, enabled, self._breach.describe)

    def check_views(self) -> None:
        """Once, at start or at the first request: see `validation.check_views`."""
        if not self._views_checked:
            if UNMATCHED in current_app.view_functions and self._settings.limit_unmatched:
                raise ConfigurationError(
                    f"an endpoint must not be called {UNMATCHED!r}: limit_unmatched counts "
                    "requests without a route by that name; write endpoint='unmatched'"
                )
            views = functions_of(current_app)
            check_hooks(current_app, self._registry)
            rules = list(current_app.url_map.iter_rules())
            endpoints = {rule.endpoint for rule in rules if not rule.websocket}
            named = current_app.view_functions.items()
            check_kinds((view for name, view in named if name in endpoints), self._registry)
            methods = {method for rule in rules for method in rule.methods or ()}
            strategy = self._settings.strategy
            check_views(views, self._extension, self._registry, strategy, methods)
            check_unchanged(current_app.extensions[VARIABLES_READ], current_app.config)
            self._views_checked = True

    def _has_nothing_before(self) -> bool:
        """Whether functions alone are limited: no request is looked at before its view."""
        settings = self._settings
        general = (settings.application_limits, settings.default_limits, settings.meta_limits)
        return not (any(general) or self._registry.blueprints or self._denials)

    async def _unless_denied(
        self,
        request: Any,
        route: Route,
        then: Callable[[Any, Route], Awaitable[None] | None] | None,
    ) -> None:
        await unless_denied(self._denials)
        checking = then and then(request, route)
        if checking is not None:
            await checking

    def _before(self, request: Any, route: Route) -> Awaitable[None] | None:
        """Charge what applies before the view of a request that is not denied."""
        if not route.free_before:
            return self._check_before(request, route)
        if route.limited is None:
            return None
        context: RequestContext | None
        context = getattr(request, self._attribute, None) or self._begin(request)
        if context is None:
            return self._check_before(request, route)
        context.due = not context.free
        return None

    async def _check_before(self, request: Any, route: Route) -> None:
        context = context_of(request, self._attribute)
        context = context or await self._begin_asking(request, route)
        checking = None if context.free else self._check(context, None, context.memo)
        if checking is not None:
            await checking
        context.due = route.limited is not None and not context.free

    def _check(
        self, context: RequestContext, limited: LimitedFunction | None, memo: Memo
    ) -> Awaitable[None] | None:
        """Charge what applies to a limited function that is called; None: before the view."""
        stage = self._resolver.known(context, limited)
        if stage is None:
            return self._find_and_check(context, limited, memo)
        by = limited.by if limited else ""
        return None if stage.empty else self._evaluator.check(context, stage, memo, by)

    async def _find_and_check(
        self, context: RequestContext, limited: LimitedFunction | None, memo: Memo
    ) -> None:
        stage = await self._find(context, limited, memo)
        if stage is not None and not stage.empty:
            by = limited.by if limited else ""
            await self._evaluator.check(context, stage, memo, by)

    async def _find(
        self, context: RequestContext, limited: LimitedFunction | None, memo: Memo
    ) -> Stage | None:
        """What applies, looked up; None: that failed, and the settings swallow errors."""
        try:
            return await self._resolver.find(context, limited, memo)
        except Exception as error:
            if not self._evaluator.swallows(error):
                raise
            return None

    def _charge(self, context: RequestContext, stage: Stage) -> Awaitable[None]:
        return self._evaluator.check_in(
            self._direct_store, context, stage, Memo(), f"stage {id(stage)}"
        )

    async def _check_apart(self, context: RequestContext, limited: LimitedFunction) -> None:
        """Charge what limits an error handler, or a function that is called where no view runs.

        It is as a route of its own: it has one counter for all requests that come to it, and what
        the view was charged stands.
        """
        route = Route(f"<{limited.name}>", context.route.method, own=[limited])
        own = RequestContext(route.endpoint, route)
        own.limits, own.any_breach_peeks = context.limits, context.any_breach_peeks
        own.paid = context.paid
        own.applied = context.applied | BLUEPRINTS | DEFAULTS
        try:
            checking = self._check(own, limited, Memo())
            if checking is not None:
                await checking
        finally:
            context.reserved = [*context.reserved, *own.reserved]
            context.after_refusal = own.after_refusal or context.after_refusal

    def _forget_if_open_ended(self, context: RequestContext) -> None:
        if context.route.open_ended or known_response() is not None:
            context.limits.clear()
            context.paid.restart()
            context.meta_peeks = ()

    def _begin(self, request: Any) -> RequestContext | None:
        """A context for the request; None if user functions must be called for it."""
        if self._identifier is not None or self._filters or request is None:
            return None
        route = self._routes.of(request)
        if not route.endpoint:
            return None
        context = RequestContext(route.endpoint, route)
        self._spare_preflight(context, request)
        self._know(request, context)
        return context

    def _spare_preflight(self, context: RequestContext, request: Any) -> None:
        if not self._settings.limit_preflights and is_free_preflight(request, context.route):
            context.filtered = context.free = True

    async def _begin_and(self, then: Callable[[], Awaitable[None] | None]) -> None:
        await self.context()
        checking = then()
        if checking is not None:
            await checking

    async def _begin_asking(self, request: Any, route: Route) -> RequestContext:
        identity = route.endpoint
        if self._identifier is not None or not identity:
            identity = await self._identity(request.endpoint)
        context = RequestContext(identity, route)
        self._know(request, context)
        for function in self._filters:
            answer = context.filtered or await call(function)
            context.filtered = truth("request_filter", function, answer)
        context.free = context.free or context.filtered
        self._spare_preflight(context, request)
        return context

    def _know(self, request: Any, context: RequestContext) -> None:
        setattr(request, self._attribute, context)
        forget_at_end(request, context.forget)

    async def _identity(self, endpoint: str | None) -> str:
        identifier = self._identifier
        given = await call(identifier) if identifier else None
        identity = "" if given is None else bounded(str(given))
        if not identity and endpoint is None and self._settings.limit_unmatched:
            return UNMATCHED
        return identity or endpoint or ""  # a missing name does not mean 'unlimited'

    async def _settle(self, context: RequestContext, response: Response) -> None:
        await self._settlement.settle(context, response)
        self._writer.write(response, context)

    def _called_always(self) -> list[object]:
        """The functions of the app that each request calls, whatever limits apply to it."""
        identifier = [] if self._identifier is None else [self._identifier]
        return [*identifier, *self._filters, *self._denials]
