"""Finds which limits apply: the application's, the view's own, its blueprints', the defaults.

Two stages are resolved: before the view, for all that binds the application and views without
limits of their own, and when a limited function is called. `UNREACHED` is called at the response of
a request that ended before its view's own limits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from ..callables import Memo
from ..constants import ExemptionScope
from ..rules.exemptions import USUAL, limiting
from ..rules.limits import Limit
from ..rules.registry import LimitedFunction, Registry
from ..rules.resolved import RuntimeLimit
from ..settings.table import Settings
from . import routes
from .context import RequestContext
from .loading import Loader, Steps, finish, run
from .routes import BLUEPRINTS, DEFAULTS, METAS, OVERRIDDEN, UNREACHED
from .stage import Stage, compiled, rule_keys

if TYPE_CHECKING:
    from quart import Blueprint

#: Stages of a route that are kept; then all are made again.
KEPT = 256

#: All limits of a stage, and the meta limits on any breach.
_Found = tuple[list[RuntimeLimit], list[RuntimeLimit]]


class Resolver:
    """Finds the limits of one app's requests."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings = settings
        self._registry = registry
        self._loader = Loader(settings)
        self._key_form = rule_keys(settings)

    def known(self, context: RequestContext, limited: LimitedFunction | None) -> Stage | None:
        """What applies when this function is called, or (None) before the view, if it is known."""
        known = context.route.fixed_stages.get((limited, context.applied))
        if known is None:
            return None
        stage, context.applied = known
        return stage

    async def find(
        self, context: RequestContext, limited: LimitedFunction | None, memo: Memo
    ) -> Stage:
        """As `known`, but looked up; known from then on if no function says what applies."""
        before, fixed = context.applied, True
        steps = self._steps(context, limited)
        try:
            function = next(steps)
        except StopIteration as done:
            limits, any_breach = done.value
        else:
            fixed = False
            limits, any_breach = await finish(steps, memo, function)
        of_view = limited in (None, context.route.limited)
        stage = self._stage(context, limits, any_breach, fixed=fixed, of_view=of_view)
        route = context.route
        if fixed and (of_view or limited in route.own or limited is UNREACHED):
            stage.kept = True
            route.fixed_stages[limited, before] = (stage, context.applied)
            if limited is None and not before:
                route.free_before = stage.empty and not context.applied
        return stage

    async def for_fallback(self, context: RequestContext) -> Stage:
        """What replaces all limits while the store is away."""
        limits = await self.load_all(self._settings.in_memory_fallback, context.memo)
        return self._stage(context, limits, [], fixed=False, of_view=False)

    async def of_function(
        self, context: RequestContext, limited: LimitedFunction, memo: Memo
    ) -> list[RuntimeLimit]:
        """A limited function's own limits, its blueprints' and the defaults, for any method."""
        return await run(self._of_function(context, limited), memo)

    async def load_all(
        self, limits: Iterable[Limit], memo: Memo, where: str = "default limits"
    ) -> list[RuntimeLimit]:
        """What these rules come to in this request."""
        return await run(self._loader.load_all(limits, where), memo)

    def exemption(
        self, view: Callable[..., object] | None, path: Sequence[Blueprint]
    ) -> ExemptionScope:
        """What a view in these blueprints, outermost first, is exempt from."""
        return routes.exemption(self._registry, view, path)

    def _steps(self, context: RequestContext, limited: LimitedFunction | None) -> Steps[_Found]:
        find = (
            self._before_view(context) if limited is None else self._of_function(context, limited)
        )
        limits, metas = (yield from find), self._settings.meta_limits
        if not metas or context.applied & METAS or context.route.exemption & ExemptionScope.META:
            return limits, []
        context.applied |= METAS
        return limits, (yield from self._loader.load_all(metas, "meta limits"))

    def _before_view(self, context: RequestContext) -> Steps[list[RuntimeLimit]]:
        settings, route = self._settings, context.route
        limits: list[RuntimeLimit] = []
        if not route.exemption & ExemptionScope.APPLICATION:
            limits += yield from self._loader.load_all(settings.application_limits)
        if route.limited is None:
            explicit = yield from self._of_blueprints(context)
            limits += yield from self._with_defaults(context, explicit)
        return limits

    def _of_function(
        self, context: RequestContext, limited: LimitedFunction
    ) -> Steps[list[RuntimeLimit]]:
        explicit: list[RuntimeLimit] = []
        if self._registry.exemption(limited.function) & USUAL != USUAL:
            where = f"function {limited.name}"
            explicit = yield from self._loader.load_all(limited.limits, where)
        if not _replaces(explicit, context.route.method):
            explicit += yield from self._of_blueprints(context)
        return (yield from self._with_defaults(context, explicit))

    def _of_blueprints(self, context: RequestContext) -> Steps[list[RuntimeLimit]]:
        """The limits of the view's blueprints, unless a limit that replaces them applied."""
        registry, path = self._registry, context.route.path
        if context.applied & (BLUEPRINTS | OVERRIDDEN) or not registry.blueprints or not path:
            return []
        context.applied |= BLUEPRINTS
        innermost = yield from self._of_blueprint(path[-1])
        in_force = [limit for limit in innermost if not limit.exempts(context.route.method)]
        overrides = bool(in_force) and all(limit.override_defaults for limit in in_force)
        found: list[RuntimeLimit] = []
        for blueprint in limiting(path, registry.exempt_blueprints, overrides=overrides):
            found += (
                innermost if blueprint is path[-1] else (yield from self._of_blueprint(blueprint))
            )
        return found

    def _of_blueprint(self, blueprint: Blueprint) -> Steps[list[RuntimeLimit]]:
        limits = self._registry.blueprints.get(blueprint, ())
        return (yield from self._loader.load_all(limits, f"blueprint {blueprint.name}"))

    def _with_defaults(
        self, context: RequestContext, explicit: list[RuntimeLimit]
    ) -> Steps[list[RuntimeLimit]]:
        """The explicit limits, and the defaults unless a limit that replaces them applies."""
        if _replaces(explicit, context.route.method):
            context.applied |= OVERRIDDEN
        if (
            context.applied & (DEFAULTS | OVERRIDDEN)
            or not self._settings.default_limits
            or context.route.exemption & ExemptionScope.DEFAULT
        ):
            return explicit
        context.applied |= DEFAULTS
        return (yield from self._loader.load_all(self._settings.default_limits)) + explicit

    def _stage(
        self,
        context: RequestContext,
        limits: list[RuntimeLimit],
        any_breach: list[RuntimeLimit],
        *,
        fixed: bool,
        of_view: bool,
    ) -> Stage:
        """The stage of these limits; compiled once for a route while they are the same objects."""
        stages = context.route.stages
        # A kept stage holds its limits, so no other object has the id of one of them.
        name = (fixed, of_view, *map(id, limits), None, *map(id, any_breach))
        kept = stages.get(name)
        if kept is not None:
            return kept[1]
        metas: dict[RuntimeLimit, None] = {}
        if not context.route.exemption & ExemptionScope.META:
            trying = [limit for limit in limits if limit.shadow is not True]
            metas = dict.fromkeys(meta for limit in trying for meta in limit.meta_limits)
        by_endpoint = (
            self._settings.request_identifier is None and context.identity == context.route.endpoint
        )
        stage = compiled(
            limits,
            metas,
            any_breach,
            method=context.route.method,
            identity=context.identity if by_endpoint else None,
            settings=self._settings,
            key_form=self._key_form,
            fixed=fixed,
        )
        stage.of_view = of_view
        if all(self._loader.keeps(limit.rule) for limit in (*limits, *any_breach)):
            if len(stages) >= KEPT:
                stages.clear()
            stage.kept = True
            stages[name] = ([*limits, *any_breach], stage)
        return stage


def _replaces(limits: Iterable[RuntimeLimit], method: str) -> bool:
    """Whether one of these limits replaces what stands around it, for this HTTP method."""
    return any(one.override_defaults and not one.exempts(method) for one in limits)
