"""One request at the limiter of one app: before its view, at limited functions, at its response."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from quart import Websocket, current_app
from werkzeug.exceptions import Forbidden, HTTPException
from werkzeug.sansio.response import Response

from ..callables import Memo, UserFunction, call
from ..clients.key_functions import fields_read
from ..current import blueprint_path, current_request_or_none
from ..errors import LimiterUnavailable, RateLimitExceeded, StoreError
from ..quotas import Decision, Hit
from ..responses.drafts import DRAFTS, seconds_until_more
from ..responses.problems import describe, wants_problem
from ..responses.refusal import refusal
from ..responses.request_limit import RequestLimit
from ..responses.x_ratelimit import add, at_least, field_names, write
from ..rules.registry import LimitedFunction, Registry, limited_by
from ..rules.validation import check_views
from ..settings.table import Settings
from .context import RequestContext, Route
from .evaluator import Evaluator
from .report import Error, Teller
from .resolver import Resolver, Rules
from .shield import REFUSED, Refused

#: What requests without a route are called in keys.
UNMATCHED = "<unmatched>"

_log = logging.getLogger("quart_ratelimit")


class RequestHooks:
    """Stops a request that is not to pass, and tells its client how it stands."""

    def __init__(
        self,
        extension: Any,
        settings: Settings,
        *,
        room: str,
        registry: Registry,
        resolver: Resolver,
        evaluator: Evaluator,
        fallback: Evaluator,
        filters: Sequence[UserFunction[bool]],
        denials: Sequence[UserFunction[bool]],
    ) -> None:
        self._extension = extension
        self._settings = settings
        #: The attribute by which a request bears its context.
        self._room = room
        self._registry = registry
        self._version = registry.version
        self._routes: dict[tuple[str, str, type], Route] = {}
        self._resolver = resolver
        self._evaluator = evaluator
        self._fallback = fallback
        self._filters = filters
        self._denials = denials
        self._names = field_names(settings.header_names)
        self._identifier = settings.request_identifier
        self._views_checked = False
        #: The marks' version as of which nothing applies before any view.
        self._version_of_nothing = -1
        #: Whether a shield listens for refusals.
        self.shielded = False

    def nothing_before(self) -> bool:
        """Whether it is known that nothing applies before a view, so `before_request` is idle."""
        return self._version_of_nothing == self._registry.version

    def before_request(self) -> Awaitable[None] | None:
        """Charge what binds the application and views without limits of their own.

        None: there is nothing to await, as nothing applies before this view.
        """
        if not self._views_checked:
            self.check_views()
        if self._has_nothing_before():
            self._version_of_nothing = self._registry.version
            return None
        request = current_request_or_none()
        route = self._route(request)
        if self._denials:
            return self._unless_denied(request, route)
        return None if route.free_before else self._before(request, route)

    def _has_nothing_before(self) -> bool:
        """Whether functions alone are limited: no request is looked at before its view."""
        settings = self._settings
        general = (settings.application_limits, settings.default_limits, settings.meta_limits)
        return not (any(general) or self._registry.blueprints or self._denials)

    async def _unless_denied(self, request: Any, route: Route) -> None:
        for function in self._denials:
            if await call(function):
                raise Forbidden
        if not route.free_before:
            await self._before(request, route)

    async def _before(self, request: Any, route: Route) -> None:
        context = context_of(request, self._room)
        context = context or await self._begin_asking(request, route)
        if not context.free:
            await self._check(context, None)

    def call(self, limited: LimitedFunction) -> Awaitable[None] | None:
        """Charge what binds a function that is called, or a block that is entered.

        None: there is nothing to await, as nothing applies.
        """
        request = current_request_or_none()
        context: RequestContext | None = getattr(request, self._room, None) or self._begin(request)
        if context is None:
            return self._begin_and_call(limited)
        if context.free:
            return None
        if limited is context.route.limited:
            return self._check(context, limited)
        # It may be called several times, for different things: its functions are asked anew.
        self._resolver.hint(context.route.endpoint, limited)
        if context.route.open_ended:
            context.limits.clear()
            context.looks = ()
        return self._check(context, limited, Memo())

    async def _begin_and_call(self, limited: LimitedFunction) -> None:
        await self.context()
        called = self.call(limited)
        if called is not None:
            await called

    async def know_request(self) -> None:
        """See that the request, if there is one, is known to `teller`: it may ask user functions.

        To be asked before a charge, and only where responses have fields.
        """
        if current_request_or_none() is not None:
            await self.context()

    def teller(self, *args: str, refuse: Callable[[Hit, Decision], Error] = refusal) -> Teller:
        """Who is to be told of decisions on limits that belong to no rule, by client and scope."""
        context, told = known_context(self._room), self._settings.headers_enabled
        return Teller(refuse, self._extension, context, args, told, self._describe)

    def after_request(self, response: Response) -> Awaitable[None] | None:
        """Settle what the response decides on, then write the headers.

        None: it is done, and there is nothing to await.
        """
        context: RequestContext | None = getattr(current_request_or_none(), self._room, None)
        if context is None:
            return None
        if context.reserved:
            return self._settle(context, response)
        self._finish(context, response)
        return None

    async def _settle(self, context: RequestContext, response: Response) -> None:
        await self._evaluator.settle(context, response)
        self._finish(context, response)

    def _finish(self, context: RequestContext, response: Response) -> None:
        if context.refusal is not None:
            context.refusal.forget_frames()
            if response.status_code == 429:
                response.headers.setdefault("Cache-Control", "no-store")
        settings = self._settings
        current = context.current_limit if settings.headers_enabled else None
        if current is None:
            return
        if settings.x_ratelimit:
            write(response.headers, current, self._names, settings.retry_after)
        if settings.draft is not None:
            limits = context.told
            draft = DRAFTS[settings.draft]
            add(response.headers, draft(limits, current, settings.pseudonym))
            if current.breached and response.status_code in (429, 503):
                waits = [seconds_until_more(told) for told in limits if told.breached]
                wait = max((wait for wait in waits if wait is not None), default=0)
                at_least(response.headers, wait, settings.retry_after)
        if settings.retry_jitter and context.refusal is not None:
            # Also where the app's own answer bears no field of the refusal's.
            at_least(response.headers, context.refusal.retry_after or 0, settings.retry_after)

    async def context(self) -> RequestContext:
        """What is known of this request; made at the first question."""
        request = current_request_or_none()
        known = context_of(request, self._room)
        if known is not None:
            return known
        if request is None:
            raise RuntimeError(
                "limits on functions and blocks count requests, and this is none; "
                "elsewhere write: await limiter.hit(limit, key)"
            )
        return await self._begin_asking(request, self._route(request))

    def _begin(self, request: Any) -> RequestContext | None:
        """A context for the request; None if the user's functions are to be asked for it."""
        if self._identifier is not None or self._filters or request is None:
            return None
        route = self._route(request)
        if not route.endpoint:
            return None
        context = RequestContext(route.endpoint, route)
        setattr(request, self._room, context)
        return context

    async def _begin_asking(self, request: Any, route: Route) -> RequestContext:
        identity = route.endpoint
        if self._identifier is not None or not identity:
            identity = await self._identity(request.endpoint)
        context = RequestContext(identity, route)
        setattr(request, self._room, context)
        for function in self._filters:
            context.free = context.free or bool(await call(function))
        return context

    def _route(self, request: Any) -> Route:
        """What is known of the request's endpoint and method; kept until a mark changes."""
        if self._version != self._registry.version:
            self._version = self._registry.version
            self._routes.clear()
        endpoint, method, kind = request.endpoint, request.method, type(request)
        route = self._routes.get((endpoint, method, kind))
        if route is not None:
            return route
        view = current_app.view_functions.get(endpoint)
        path = blueprint_path(current_app, request.blueprint)
        exemption = self._resolver.exemption(view, path)
        limited = limited_by(self._extension, view)
        open_ended = isinstance(request, Websocket)
        route = Route(endpoint or "", method, view, path, exemption, limited, open_ended)
        if view is not None:  # only a route bounds what methods there are
            self._routes[endpoint, method, kind] = route
        return route

    def check_views(self) -> None:
        """Once, at start or at the first request: see `validation.check_views`."""
        if not self._views_checked:
            views = current_app.view_functions.values()
            check_views(views, self._extension, self._registry, self._settings.strategy)
            self._views_checked = True

    async def _identity(self, endpoint: str | None) -> str:
        identifier = self._identifier
        identity = str(await call(identifier) or "") if identifier else endpoint or ""
        if not identity and endpoint is None and self._settings.limit_unmatched:
            return UNMATCHED
        return identity

    def _check(
        self, context: RequestContext, limited: LimitedFunction | None, memo: Memo | None = None
    ) -> Awaitable[None]:
        """Charge what applies to a limited function that is called; None: before the view.

        ``memo`` instead of the request's.
        """
        rules = self._resolver.known(context, limited)
        if rules is not None and rules.lone is not None:
            return self._evaluator.check_lone(context, rules, rules.lone, self._failed, memo)
        return self._check_rules(context, limited, rules, memo)

    async def _check_rules(
        self,
        context: RequestContext,
        limited: LimitedFunction | None,
        rules: Rules | None,
        memo: Memo | None,
    ) -> None:
        try:
            if rules is None:
                rules = await self._resolver.find(context, limited, memo or context.memo)
            await self._evaluator.check(context, rules, memo)
        except Exception as error:
            await self._failed(context, rules, error)

    async def _failed(self, context: RequestContext, rules: Rules | None, error: Exception) -> None:
        """Raise what the request ends with, if it may not go on.

        ``rules`` is None if it is not known what applies.
        """
        away = isinstance(error, StoreError) and rules is not None
        try:
            if away and self._settings.in_memory_fallback:
                return await self._fall_back(context)
            # Meta limits count each refusal, so each must come by here.
            fields = None if rules is None or context.general_looks else rules.fields
            if self.shielded and fields is not None and isinstance(error, RateLimitExceeded):
                self._note_refused(context.asked, fields)
            raise error
        except (RateLimitExceeded, LimiterUnavailable) as refusal:
            self._describe(refusal, context.limits, context.after_refusal)
            raise
        except HTTPException:
            raise
        except Exception:
            if not self._settings.swallow_errors:
                raise
            _log.exception("Failed to rate limit. Swallowing error")

    async def _fall_back(self, context: RequestContext) -> None:
        """Charge what replaces all limits while the store is away, once a request."""
        if not context.with_fallback:
            context.with_fallback = True
            instead = await self._resolver.for_fallback(context)
            await self._fallback.check(context, instead, context.memo)

    def _describe(
        self,
        error: Error,
        limits: Sequence[RequestLimit],
        after_refusal: Sequence[RequestLimit] = (),
    ) -> None:
        """Tell handlers and templates, and the client in JSON if the settings say so."""
        if isinstance(error, RateLimitExceeded):
            error.limits = tuple(limits)
        request = current_request_or_none()
        if not self._settings.problem_details or request is None:
            return
        if wants_problem(request.accept_mimetypes):
            error.problem = describe(error, [*limits, *after_refusal])

    def note_refused(self, hits: Sequence[Hit], key_func: Any) -> None:
        """Tell the shield of a refusal, if nothing but the connection was asked for its key."""
        fields = fields_read(key_func)
        if self.shielded and fields is not None:
            self._note_refused(hits, fields)

    def _note_refused(self, hits: Sequence[Hit], fields: tuple[bytes, ...]) -> None:
        request = current_request_or_none()
        if request is None or self._identifier:
            return
        for function in (*self._filters, *self._denials):
            own = fields_read(function)
            if own is None:
                return
            fields = (*fields, *own)
        scope = cast(dict[str, Any] | None, request.scope)
        if scope is not None:
            scope[REFUSED] = Refused(hits, fields)


def known_context(room: str) -> RequestContext | None:
    """What a limiter knows of the current request; None if it was not asked yet."""
    return context_of(current_request_or_none(), room)


def context_of(request: Any, room: str) -> RequestContext | None:
    """What a limiter knows of a request; None if it was not asked yet, or there is none."""
    known: RequestContext | None = getattr(request, room, None)
    return known
