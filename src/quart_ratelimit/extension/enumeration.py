"""Every limit of an app, from its rules and decorated functions, whether there was traffic or not.

What is added to that are limits that code checks itself, as far as they were seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..callables import Memo, chain
from ..clients.keys import KeyForm
from ..constants import ExemptionScope
from ..current import blueprint_path, handler_of
from ..enforcement.context import RequestContext
from ..enforcement.hooks import UNMATCHED
from ..enforcement.routes import Route, own_limited, serves_static_files
from ..errors import StoreError
from ..quotas import Quota
from ..rules.exemptions import USUAL
from ..rules.limits import Limit
from ..rules.registry import (
    LimitedFunction,
    OwnLimit,
    all_own_limits,
    functions_of,
    known_apps,
    own_limits,
)
from ..rules.resolved import RuntimeLimit
from .binding import EXTENSION, Binding, bindings_of
from .seen import SeenLimit

if TYPE_CHECKING:
    from quart import Blueprint, Quart
    from werkzeug.routing import Rule


@dataclass(eq=False, slots=True)
class Listed:
    """One quota of an app, in one place."""

    quota: Quota
    #: Where it comes from: "route", "blueprint", "default", "application", "meta", "fallback",
    #: "rate_limit", "in_flight", "messages", or of code that checks a limit itself "hit", "block".
    source: str
    #: The endpoint; "" if it is not a single one's.
    endpoint: str = ""
    #: The HTTP method that it counts apart.
    method: str | None = None
    #: The HTTP methods that it limits; none for a limit of no route.
    methods: Sequence[str] = ()
    #: The route; None: it belongs to no single one.
    rule: Rule | None = None
    #: All that its rule says; None: it belongs to no rule.
    limit: RuntimeLimit | None = None
    #: What a decorated function charges by itself.
    own: OwnLimit | None = None
    #: The keys of what code checks itself.
    form: KeyForm | None = None
    #: The function that is limited and is not a view, or the kind of a check in code.
    function: str = ""


@dataclass(slots=True)
class RouteLimits:
    """The limits of one route."""

    endpoint: str
    rule: str
    exempt: bool
    limits: list[Listed]


@dataclass(slots=True)
class Listing:
    """All limits of one limiter in one app."""

    meta: list[Listed] = field(default_factory=list)
    application: list[Listed] = field(default_factory=list)
    #: The app's name or a blueprint's -> its routes.
    groups: dict[str, list[RouteLimits]] = field(default_factory=dict)
    #: Functions that are limited and are not views: helpers, error handlers, ``before_request``.
    functions: list[Listed] = field(default_factory=list)
    #: What code checks itself, as far as it was seen.
    code: list[Listed] = field(default_factory=list)
    #: What replaces the rules in each worker while the store is away.
    fallback: list[Listed] = field(default_factory=list)

    @property
    def limits(self) -> list[Listed]:
        """All of them."""
        routes = [route for group in self.groups.values() for route in group]
        of_routes = [one for route in routes for one in route.limits]
        general = [*self.meta, *self.application]
        return [*general, *of_routes, *self.functions, *self.code, *self.fallback]


class Enumeration:
    """Finds the limits of one limiter in one app, within a context of the app.

    ``memo`` calls the functions that say how much is allowed: `Tried` or `Uncalled`, so that a
    limit that depends on the request is a `Varying` one.
    """

    def __init__(self, app: Quart, binding: Binding, memo: Memo) -> None:
        self._app = app
        self._binding = binding
        self._memo = memo
        self._resolver = binding.resolver
        self._registry = binding.limiter._registry
        #: Whether `rate_limit` counts by this limiter.
        self._is_first = app.extensions.get(EXTENSION) is binding.limiter

    async def all(self, endpoint: str | None = None) -> Listing:
        """All limits, or the limits of one endpoint."""
        found = Listing()
        for rule in sorted(self._app.url_map.iter_rules(endpoint), key=str):
            if not serves_static_files(self._app.view_functions.get(rule.endpoint)):
                name = rule.endpoint.rpartition(".")[0] or self._app.name
                found.groups.setdefault(name, []).append(await self._of_route(rule, found.meta))
        if endpoint is None:
            await self._add_general(found)
        return found

    async def all_of_fleet(self) -> Listing:
        """All limits, also those that other workers saw code check, if the store answers."""
        with suppress(StoreError):
            await bindings_of(self._binding.limiter).seen.load(self._binding.backend)
        return await self.all()

    async def rules_at(self, endpoint: str, method: str) -> list[tuple[str, RuntimeLimit]]:
        """The quotas of rules on one view for this HTTP method, after where they come from."""
        view, path = self._view(endpoint)
        exemption = self._resolver.exemption(view, path)
        functions = own_limited(self._binding.limiter, view, method)
        route = Route(endpoint, method, view, path, exemption, functions)
        context, found = RequestContext(endpoint, route), []
        for limited in functions or [LimitedFunction(endpoint)]:
            found += await self._resolver.of_function(context, limited, self._memo)
        own = [limit for limited in functions for limit in limited.limits]
        return [(self._source(one, own), one) for one in found if not one.exempts(method)]

    async def application_at(self, endpoint: str, method: str) -> list[RuntimeLimit]:
        """The quotas of the application's rules that limit this view as well."""
        if self._resolver.exemption(*self._view(endpoint)) & ExemptionScope.APPLICATION:
            return []
        rules = self._binding.settings.application_limits
        found = await self._resolver.load_all(rules, self._memo)
        return [one for one in found if not one.exempts(method)]

    def own_at(self, endpoint: str, method: str) -> list[OwnLimit]:
        """What a view charges by itself for this HTTP method."""
        view = self._app.view_functions.get(endpoint)
        functions = (view, handler_of(view, method))
        found = [own for function in functions for own in own_limits(function, self._registry)]
        return [one for one in dict.fromkeys(found) if self._is_mine(one)]

    def declared(self) -> Iterator[Limit]:
        """All rules, without what they come to: calls no function of the app."""
        settings = self._binding.settings
        yield from (*settings.application_limits, *settings.default_limits, *settings.meta_limits)
        for limits in self._registry.blueprints.values():
            yield from limits
        elsewhere = self._of_other_apps()
        for limited in self._registry.all_limited():
            if id(limited) not in elsewhere:
                yield from limited.limits

    def _view(self, endpoint: str) -> tuple[Callable[..., object] | None, Sequence[Blueprint]]:
        path = blueprint_path(self._app, endpoint.rpartition(".")[0] or None)
        return self._app.view_functions.get(endpoint), path

    def _source(self, limit: RuntimeLimit, own: Sequence[Limit]) -> str:
        if limit.rule in own:
            return "route"
        return "default" if limit.rule in self._binding.settings.default_limits else "blueprint"

    def _is_mine(self, own: OwnLimit) -> bool:
        return self._is_first if own.limiter is None else own.limiter is self._binding.limiter

    async def _of_route(self, rule: Rule, metas: list[Listed]) -> RouteLimits:
        endpoint, methods = rule.endpoint, methods_of(rule)
        found: list[Listed] = []
        for method in methods:
            for source, limit in await self.rules_at(endpoint, method):
                _add(found, Listed(limit.limit, source, endpoint, rule=rule, limit=limit), method)
                for meta in limit.meta_limits:
                    one = Listed(meta.limit, "meta", limit=meta)
                    if not meta.shared:  # it counts at the place of its limit
                        one.endpoint, one.rule = endpoint, rule
                    _add(metas if meta.shared else found, one, method)
            for own in self.own_at(endpoint, method):
                for quota in own.quotas(self._binding.settings.strategy):
                    _add(found, Listed(quota, own.kind, endpoint, rule=rule, own=own), method)
        exemption = self._resolver.exemption(*self._view(endpoint))
        return RouteLimits(endpoint, str(rule), bool(exemption) and not found, found)

    async def _add_general(self, found: Listing) -> None:
        settings, resolver = self._binding.settings, self._resolver
        rules = self._app.url_map.iter_rules()
        methods = sorted({method for rule in rules for method in methods_of(rule)})
        metas = await resolver.load_all(settings.meta_limits, self._memo, "meta limits")
        application = await resolver.load_all(settings.application_limits, self._memo)
        for limit in application:
            metas += [meta for meta in limit.meta_limits if meta not in metas]
        of_routes, found.meta = found.meta, []
        for source, limits, into in (
            ("meta", metas, found.meta),
            ("application", application, found.application),
        ):
            for limit in limits:
                for method in methods:
                    if not limit.exempts(method):
                        _add(into, Listed(limit.limit, source, limit=limit), method)
        known = [one.limit for one in found.meta]
        found.meta += [one for one in of_routes if one.limit not in known]
        for limit in await resolver.load_all(settings.in_memory_fallback, self._memo):
            found.fallback.append(Listed(limit.limit, "fallback", limit=limit))
        if settings.limit_unmatched:
            found.groups[UNMATCHED] = [await self._unmatched()]
        await self._add_functions(found, methods)
        prefix = settings.key_prefix
        for seen in bindings_of(self._binding.limiter).seen.limits:
            if _is_under(prefix, seen):
                found.code.append(
                    Listed(seen.quota, seen.kind, form=seen.form, function=str(seen.form))
                )

    async def _unmatched(self) -> RouteLimits:
        """Requests that no route takes: they fall under the defaults."""
        defaults = self._binding.settings.default_limits
        limits = await self._resolver.load_all(defaults, self._memo)
        found: list[Listed] = []
        for limit in limits:
            _add(found, Listed(limit.limit, "default", UNMATCHED, limit=limit), "GET")
        return RouteLimits(UNMATCHED, UNMATCHED, False, found)

    async def _add_functions(self, found: Listing, methods: Sequence[str]) -> None:
        """What limits functions that are not views: each request may call them."""
        seen = self._of_other_apps() | self._of_views()
        for limited in self._registry.all_limited():
            flags = self._registry.exemption(limited.function)
            if id(limited) in seen or flags & USUAL == USUAL:
                continue
            limits = await self._resolver.load_all(limited.limits, self._memo, limited.name)
            for limit in limits:
                for method in methods or ["GET"]:
                    if not limit.exempts(method):
                        one = Listed(limit.limit, "route", limit=limit, function=limited.name)
                        _add(found.functions, one, method)
        for own in all_own_limits(self._registry):
            if id(own) not in seen and self._is_mine(own) and self._may_call(own):
                for quota in own.quotas(self._binding.settings.strategy):
                    one = Listed(quota, own.kind, own=own, function=own.name)
                    _add(found.functions, one, "")

    def _may_call(self, own: OwnLimit) -> bool:
        """Whether this app may call a function that is not a view.

        Where a process has several apps, each lists the modules of its own functions.
        """
        if len(known_apps()) == 1 or own.limiter is not None:
            return True
        modules = {getattr(view, "__module__", "") for view in functions_of(self._app)}
        return own.name.startswith(tuple(f"{module}." for module in modules if module))

    def _of_views(self) -> set[int]:
        """What is known of this app's views, by id."""
        found: set[int] = set()
        for rule in self._app.url_map.iter_rules():
            view = self._app.view_functions.get(rule.endpoint)
            for method in methods_of(rule):
                limited = own_limited(self._binding.limiter, view, method)
                found |= {*map(id, limited), *map(id, self.own_at(rule.endpoint, method))}
        return found

    def _of_other_apps(self) -> set[int]:
        """What is known of functions that other apps of the process call, and this one does not."""
        found: set[int] = set()
        own = {id(each) for view in functions_of(self._app) for each in chain(view)}
        for app in known_apps():
            for function in functions_of(app) if app is not self._app else ():
                if not any(id(each) in own for each in chain(function)):
                    found |= set(map(id, self._registry.limited(function)))
                    found |= set(map(id, own_limits(function, self._registry)))
        return found


def methods_of(rule: Rule) -> list[str]:
    """The HTTP methods of a route; HEAD counts as GET."""
    methods = rule.methods or {"GET"}
    return sorted(methods - {"HEAD"} if "GET" in methods else methods)


def _add(into: list[Listed], one: Listed, method: str) -> None:
    """Add what limits requests with this HTTP method, unless it is there already."""
    apart = one.limit is not None and one.limit.per_method
    one.method = method if apart else None
    for known in into:
        if (known.source, known.endpoint, known.method, known.function) == (
            one.source, one.endpoint, one.method, one.function
        ) and (known.limit, known.own, known.quota) == (one.limit, one.own, one.quota):  # fmt: skip
            known.methods = [*known.methods, *({method} - set(known.methods))]
            return
    one.methods = [method] if method else []
    into.append(one)


def _is_under(prefix: str, seen: SeenLimit) -> bool:
    """Whether a limiter with this ``key_prefix`` has seen it, and no other one on its store."""
    return (seen.form.before[0] if seen.form.before else "") == prefix
