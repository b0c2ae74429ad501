"""Which limits apply: the application's, the view's own, its blueprints', the defaults.

Two stages ask: before the view, for all that binds the application and views without limits of
their own, and when a limited function is called.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, cast

from ..callables import Memo, name_of
from ..clients.key_functions import fields_read
from ..constants import ExemptionScope
from ..errors import InvalidLimit
from ..quotas import Hit, Quota
from ..rules.exemptions import inherited, limiting
from ..rules.limits import Limit, MetaLimit, Provider
from ..rules.limits_file import FileLimit
from ..rules.naming import derived_name
from ..rules.notation import FORM, quotas_of
from ..rules.registry import LimitedFunction, Registry
from ..rules.resolved import RuntimeLimit
from ..settings.table import Settings
from .answers import Answers
from .context import RequestContext

_log = logging.getLogger("quart_ratelimit")

#: Malformed texts remembered as logged.
REMEMBERED = 1024


class Rules(NamedTuple):
    """What applies at one stage to requests with one HTTP method, shortest period first."""

    limits: Sequence[RuntimeLimit]
    #: Limits on breaches of some of these, looked at before anything is charged.
    metas: Sequence[RuntimeLimit]
    #: Limits on breaches of any limit, looked at once a request.
    general: Sequence[RuntimeLimit]
    #: Limits that are, or by a function may be, in shadow: no others are.
    shadows: Sequence[RuntimeLimit] = ()
    #: Request fields, in lower case, that decide with the connection on all of it; None: functions
    #: that may ask for anything else decide, too.
    fields: tuple[bytes, ...] | None = None
    #: The only limit, if nothing but its key is to be asked for: the usual case.
    lone: Lone | None = None


class Lone:
    """A limit that applies alone, of a known cost and scope: it asks but for whom a hit counts."""

    __slots__ = ("_parts", "_slot_key", "key_func", "limit", "scope")

    def __init__(self, limit: RuntimeLimit, scope: str, settings: Settings) -> None:
        self.limit = limit
        self.key_func = limit.key_func
        #: What is counted together, see `RuntimeLimit.full_scope`.
        self.scope = scope
        self._parts = functools.partial(settings.key_parts, limit.key_func)
        self._slot_key = settings.keys.slot

    def args(self, who: str) -> list[str]:
        """The key's parts, see `RequestLimit.request_args`."""
        return self._parts(who, self.scope)

    def hits(self, who: str) -> tuple[Hit]:
        """What one request charges."""
        return (Hit(self.limit.limit, self._slot_key(*self.args(who)), cast(int, self.limit.cost)),)


class Resolver:
    """Finds the limits of one app's requests."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings = settings
        self._registry = registry
        #: endpoint -> functions that are no view, but were called by it: name -> function.
        self._hints: dict[str, dict[str, LimitedFunction]] = {}
        self._static = functools.lru_cache(maxsize=1024)(self._load_static)
        self._logged: set[str] = set()

    def known(self, context: RequestContext, limited: LimitedFunction | None) -> Rules | None:
        """What applies when this function is called, or (None) before the view, if it is known."""
        stage = (limited, context.with_blueprints, context.with_defaults)
        known = context.route.stages.get(stage)
        if known is None:
            return None
        rules: Rules
        rules, context.with_blueprints, context.with_defaults = known
        return rules

    async def find(
        self, context: RequestContext, limited: LimitedFunction | None, memo: Memo
    ) -> Rules:
        """As `known`, found out anew; known from then on, or known again by functions' answers."""
        stage = (limited, context.with_blueprints, context.with_defaults)
        keeps = limited in (None, context.route.limited)
        answers = context.route.answers.get(stage) if keeps else None
        if answers is not None:
            found = await self._remembered(answers, memo)
            if found is not None:
                rules: Rules
                rules, context.with_blueprints, context.with_defaults = found
                return rules
        asked: list[Any] = []
        memo.asked = asked
        rules = await self._find_out(context, limited, memo)
        complete, memo.asked = memo.asked is asked, None
        if keeps and complete:
            rules = rules._replace(lone=self._lone(rules, context))
            self._keep(context, stage, asked, rules)
        return rules

    async def _remembered(self, answers: Answers, memo: Memo) -> Any:
        try:
            return await answers.find(memo)
        except Exception:
            return None  # whose function failed, and whether that matters, is found out anew

    async def _find_out(
        self, context: RequestContext, limited: LimitedFunction | None, memo: Memo
    ) -> Rules:
        if limited is None:
            limits = await self._before_view(context, memo)
            return await self._rules(context, limits, self._settings.meta_limits, memo)
        return await self._rules(context, await self.of_function(context, limited, memo), (), memo)

    def _keep(
        self, context: RequestContext, stage: Any, asked: Sequence[Any], rules: Rules
    ) -> None:
        route, flags = context.route, (context.with_blueprints, context.with_defaults)
        if asked:
            route.answers.setdefault(stage, Answers()).keep(asked, (rules, *flags))
            return
        route.stages[stage] = (rules._replace(fields=_fields(rules)), *flags)
        if stage == (None, False, False):
            route.free_before = not any((*rules[:4], *flags))

    async def of_function(
        self, context: RequestContext, limited: LimitedFunction, memo: Memo
    ) -> list[RuntimeLimit]:
        """A limited function's own limits, its blueprints' and the defaults, for any method."""
        explicit: list[RuntimeLimit] = []
        if not self._registry.exemption(limited.function):
            explicit = await self.load_all(limited.limits, memo, f"function {limited.name}")
        if _none_override(explicit):
            explicit += await self._of_blueprints(context, memo)
        return await self._with_defaults(context, explicit, memo)

    def _lone(self, rules: Rules, context: RequestContext) -> Lone | None:
        if len(rules.limits) != 1 or rules.metas or rules.general or rules.shadows:
            return None
        (limit,) = rules.limits
        if limit.exempt_when or limit.deduct_when or callable(limit.scope) or callable(limit.cost):
            return None
        if self._settings.request_identifier or context.identity != context.route.endpoint:
            return None  # a function says what the request is called
        scope = limit.full_scope(limit.scope, context.identity, context.route.method)
        return Lone(limit, scope, self._settings) if scope else None

    async def for_fallback(self, context: RequestContext) -> Rules:
        """What replaces all limits while the store is away."""
        limits = await self.load_all(self._settings.in_memory_fallback, context.memo)
        return _ruling(limits, context.route.method)

    def hint(self, endpoint: str, limited: LimitedFunction) -> None:
        """This endpoint calls a limited function that is not its view."""
        hints = self._hints.setdefault(endpoint, {})
        if limited.name not in hints:
            self._registry.version += 1
        hints[limited.name] = limited

    def exemption(self, view: Callable[..., Any] | None, path: Sequence[Any]) -> ExemptionScope:
        """What a view in these blueprints, outermost first, is exempt from."""
        return inherited(path, self._registry.exempt_blueprints) | self._registry.exemption(view)

    async def load_all(
        self, limits: Iterable[Limit], memo: Memo, where: str = "default limits"
    ) -> list[RuntimeLimit]:
        """What these rules come to in this request."""
        return [loaded for limit in limits for loaded in await self.load(limit, memo, where)]

    async def load(self, limit: Limit, memo: Memo, where: str) -> Sequence[RuntimeLimit]:
        """What a rule comes to; a malformed text from a function is logged and left out."""
        if is_static(limit):
            return self._static(limit)
        try:
            return await self._load_anew(limit, memo, where)
        except Exception:
            if (self._settings.shadow if limit.shadow is None else limit.shadow) is not True:
                raise
            _log.exception("a limit in shadow could not be tried")
            memo.asked = None  # what applies without it is not to be remembered
            return ()

    async def _load_anew(self, limit: Limit, memo: Memo, where: str) -> Sequence[RuntimeLimit]:
        quotas = await self._quotas(limit.limit_provider, memo, where)
        if not quotas:
            return ()
        metas: list[RuntimeLimit] = []
        for meta in map(_as_meta, limit.meta_limits or ()):
            found = await self._quotas(meta.limit_provider, memo, where)
            metas += self._runtime(meta, found, (), limit)
        return self._runtime(limit, quotas, tuple(metas))

    def _load_static(self, limit: Limit) -> Sequence[RuntimeLimit]:
        metas: list[RuntimeLimit] = []
        for meta in map(_as_meta, limit.meta_limits or ()):
            metas += self._runtime(meta, self._parse(meta.limit_provider), (), limit)
        return self._runtime(limit, self._parse(limit.limit_provider), tuple(metas))

    def _runtime(
        self,
        limit: Limit,
        quotas: Sequence[Quota],
        metas: tuple[RuntimeLimit, ...],
        parent: Limit | None = None,
    ) -> list[RuntimeLimit]:
        key = limit.key_function or (parent and parent.key_function) or self._settings.key_func
        return [
            RuntimeLimit(
                quota,
                key,
                limit.scope,
                limit.per_method,
                None if limit.methods is None else tuple(limit.methods),
                limit.error_message,
                limit.exempt_when,
                limit.override_defaults,
                limit.deduct_when,
                limit.on_breach,
                1 if limit.cost is None else limit.cost,
                limit.shared,
                metas,
                self._settings.shadow if limit.shadow is None else limit.shadow,
                limit,
            )
            for quota in _named(quotas, limit)
        ]

    async def _quotas(self, provider: Provider, memo: Memo, where: str) -> Sequence[Quota]:
        value = await memo.call(provider) if callable(provider) else provider
        if value is not None and not isinstance(value, (str, Quota)):
            memo.asked = None  # what is no limit may have no hash to be remembered by
        if not value:
            return ()
        try:
            return self._parse(value)
        except InvalidLimit as error:
            # Of anything but text no more than its kind: it may hold whom it was asked for.
            kind = type(value).__name__
            seen = error if isinstance(value, str) else f"{kind} is not a limit; {FORM}"
            self._log_once(f"{where}: {seen}; {name_of(provider)} answered with it")
            return ()

    def _parse(self, value: object) -> Sequence[Quota]:
        return quotas_of(value, self._settings.strategy)

    def _log_once(self, text: str) -> None:
        if text in self._logged:
            return
        if len(self._logged) >= REMEMBERED:
            self._logged.clear()
        self._logged.add(text)
        _log.error("failed to load ratelimit for %s", text)

    async def _of_blueprints(self, context: RequestContext, memo: Memo) -> list[RuntimeLimit]:
        if context.with_blueprints or not self._registry.blueprints:
            return []
        context.with_blueprints = True
        registry = self._registry
        overrides = {
            blueprint: all(limit.override_defaults for limit in limits)
            for blueprint, limits in registry.blueprints.items()
        }
        found: list[RuntimeLimit] = []
        for blueprint in limiting(context.route.path, registry.exempt_blueprints, overrides):
            where = f"blueprint {blueprint.name}"
            found += await self.load_all(registry.blueprints[blueprint], memo, where)
        return found

    async def _with_defaults(
        self, context: RequestContext, explicit: list[RuntimeLimit], memo: Memo
    ) -> list[RuntimeLimit]:
        """The explicit limits, and the defaults unless these, or an exemption, rule them out."""
        wanted = _none_override(explicit) or all(
            one.exempts(context.route.method) for one in explicit
        )
        if (
            not wanted
            or context.with_defaults
            or not self._settings.default_limits
            or context.route.exemption & ExemptionScope.DEFAULT
        ):
            return explicit
        context.with_defaults = True
        return await self.load_all(self._settings.default_limits, memo) + explicit

    async def _before_view(self, context: RequestContext, memo: Memo) -> list[RuntimeLimit]:
        settings, route = self._settings, context.route
        limits: list[RuntimeLimit] = []
        if not route.exemption & ExemptionScope.APPLICATION:
            limits += await self.load_all(settings.application_limits, memo)
        hints = self._hints.get(route.endpoint)
        if route.limited is None and not hints:
            explicit = await self._of_blueprints(context, memo)
            limits += await self._with_defaults(context, explicit, memo)
        elif hints and _none_override(hint for each in hints.values() for hint in each.limits):
            limits += await self._with_defaults(context, [], memo)
        return limits

    async def _rules(
        self,
        context: RequestContext,
        limits: Sequence[RuntimeLimit],
        general: Iterable[Limit],
        memo: Memo,
    ) -> Rules:
        method = context.route.method
        if context.route.exemption & ExemptionScope.META:
            return _ruling(limits, method)
        metas: list[RuntimeLimit] = []
        for limit in limits:
            if limit.shadow is not True:
                metas += [meta for meta in limit.meta_limits if meta not in metas]
        of_all = await self.load_all(general, memo, "meta limits")
        return _ruling(limits, method, _applying(metas, method), _applying(of_all, method))


def is_static(limit: Limit) -> bool:
    """Whether no function has a say in how much is allowed."""
    metas = map(_as_meta, limit.meta_limits or ())
    return not callable(limit.limit_provider) and all(map(is_static, metas))


def _applying(limits: Iterable[RuntimeLimit], method: str) -> tuple[RuntimeLimit, ...]:
    """Those that limit requests with this HTTP method, shortest period first."""
    return tuple(sorted((one for one in limits if not one.exempts(method)), key=_quota))


def _ruling(
    limits: Iterable[RuntimeLimit],
    method: str,
    metas: Sequence[RuntimeLimit] = (),
    general: Sequence[RuntimeLimit] = (),
) -> Rules:
    applying = _applying(limits, method)
    shadows = tuple(one for one in applying if one.shadow)
    if shadows:
        applying = tuple(one for one in applying if not one.shadow)
    return Rules(applying, metas, general, shadows)


def _fields(rules: Rules) -> tuple[bytes, ...] | None:
    if rules.metas or rules.general:
        return None  # they count each refusal
    if any(callable(limit.shadow) for limit in rules.shadows):
        return None  # one may refuse yet
    found: set[bytes] = set()
    for limit in rules.limits:
        fields = fields_read(limit.key_func)
        if fields is None or limit.exempt_when or callable(limit.scope) or callable(limit.cost):
            return None
        found.update(fields)
    return tuple(sorted(found))


def _quota(limit: RuntimeLimit) -> Quota:
    return limit.limit


def _named(quotas: Sequence[Quota], limit: Limit) -> Sequence[Quota]:
    """The quotas by the rule's name, under which their states are kept if their periods differ."""
    name = limit.name
    if name is None and isinstance(limit.limit_provider, FileLimit):
        name = limit.limit_provider.limit_name
    if name is None:
        return quotas
    if len(quotas) == 1:
        return [replace(quota, name=name, counted_as=name) for quota in quotas]
    apart = len({quota.period for quota in quotas}) == len(quotas)
    kept = name if apart else None
    return [replace(one, name=derived_name(name, one), counted_as=kept) for one in quotas]


def _none_override(limits: Iterable[Limit | RuntimeLimit]) -> bool:
    return not any(limit.override_defaults for limit in limits)


def _as_meta(meta: Provider | MetaLimit) -> MetaLimit:
    return meta if isinstance(meta, MetaLimit) else MetaLimit(meta)
