"""All limits of an app, route by route: what is listed, tried and cleared from outside a request.

Functions that say how much is allowed are called in an empty request, as Flask-Limiter calls them.
Functions that name a counter are called in a request of the very route.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import NamedTuple

from quart import Quart
from werkzeug.routing import Rule

from ..callables import UserFunction, call
from ..current import blueprint_path
from ..enforcement.context import RequestContext
from ..enforcement.routes import Route, serves_static_files
from ..extension.binding import Binding
from ..extension.limiter import Limiter
from ..rules.limits import Limit
from ..rules.registry import LimitedFunction, limited_by
from ..rules.resolved import RuntimeLimit
from ..rules.varying import Tried, Varying
from ..settings.table import Settings

#: What ``state`` says of a limit that could not be asked.
UNAVAILABLE = "Storage not available"
#: What is said of a limit or a counter that no empty request shows.
VARIES = "varies by request"
#: What is said of a limit that refuses although it was cleared.
REFUSED = "still refused"
#: Paths of requests whose route is not known: what differs between them varies.
SOME_PATHS = ("/", "/another")


class StorageShown(NamedTuple):
    """A limiter's storage as `config` shows it, without passwords."""

    uri: str
    #: The store's class.
    instance: str
    #: "redis", or "this process".
    backend: str
    options: dict[str, object]


@dataclass(slots=True)
class Line:
    """One limit in one place, for one key if there is one."""

    limit: RuntimeLimit
    #: Where it comes from: "route", "blueprint", "default", "application" or "meta".
    source: str
    #: The HTTP method that it counts apart.
    method: str | None = None
    #: The key's parts; empty if no key was given or its scope is not known outside a request.
    args: Sequence[str] = ()
    allowed: bool | None = None
    remaining: int | None = None
    cleared: bool = False
    error: str | None = None
    #: The endpoint; "" if it is no single one's.
    where: str = ""

    @property
    def text(self) -> str:
        """How much is allowed."""
        limit = self.limit.limit
        return VARIES if isinstance(limit, Varying) else str(limit)

    def as_dict(self) -> dict[str, object]:
        """For JSON: what is not known is left out."""
        known = {
            "method": self.method,
            "allowed": self.allowed,
            "remaining": self.remaining,
            "cleared": self.cleared or None,
            "error": self.error,
            "shadow": shadow_text(self.limit),
        }
        return {
            "limit": self.text,
            "source": self.source,
            **{name: value for name, value in known.items() if value is not None},
        }


@dataclass(slots=True)
class Place:
    """The limits of one route."""

    endpoint: str
    rule: str
    exempt: bool
    lines: list[Line]

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "endpoint": self.endpoint,
            "rule": self.rule,
            "exempt": self.exempt,
            "limits": [line.as_dict() for line in self.lines],
        }


@dataclass(slots=True)
class Survey:
    """The limits of one limiter in one app."""

    meta: list[Line] = field(default_factory=list)
    application: list[Line] = field(default_factory=list)
    #: The app's name or a blueprint's -> its routes.
    groups: dict[str, list[Place]] = field(default_factory=dict)

    @property
    def lines(self) -> list[Line]:
        """All lines."""
        places = [place for group in self.groups.values() for place in group]
        return [*self.meta, *self.application, *(line for place in places for line in place.lines)]

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "meta": [line.as_dict() for line in self.meta],
            "application": [line.as_dict() for line in self.application],
            "groups": {
                name: [place.as_dict() for place in places] for name, places in self.groups.items()
            },
        }


class Surveyor:
    """Looks at one limiter in one app, within a request context of the app."""

    def __init__(self, app: Quart, limiter: Limiter, binding: Binding, key: str | None) -> None:
        self._app = app
        self._limiter = limiter
        self._binding = binding
        self._key = key
        self._memo = Tried()

    async def survey(self, endpoint: str | None = None, method: str | None = None) -> Survey:
        """All limits, or those of one endpoint."""
        found = Survey()
        for rule in sorted(self._app.url_map.iter_rules(endpoint), key=str):
            if not serves_static_files(self._app.view_functions.get(rule.endpoint)):
                name = rule.endpoint.rpartition(".")[0] or self._app.name
                found.groups.setdefault(name, []).append(await self._place(rule, method))
        if endpoint is None:
            await self._add_general(found)
        return found

    async def look(self, lines: Iterable[Line]) -> None:
        """Fill in what is left for the key."""
        available = await self._limiter.storage.check()
        for line in lines:
            if not available:
                line.error = line.error or UNAVAILABLE
            elif line.args:
                strategy = self._limiter.limiter
                line.allowed = await strategy.test(line.limit.limit, *line.args)
                stats = await strategy.get_window_stats(line.limit.limit, *line.args)
                line.remaining = stats[1]

    async def clear(self, lines: Iterable[Line]) -> None:
        """Forget what was counted for the key, and look whether it is allowed. Raises `StoreError`.

        What a line's counter is called may not be known: the line says so.
        """
        strategy = self._limiter.limiter
        for line in lines:
            if line.args:
                await strategy.clear(line.limit.limit, *line.args)
                line.cleared = await strategy.test(line.limit.limit, *line.args)
                line.error = None if line.cleared else REFUSED

    async def _place(self, rule: Rule, method: str | None) -> Place:
        endpoint, resolver = rule.endpoint, self._binding.resolver
        view = self._app.view_functions.get(endpoint)
        path = blueprint_path(self._app, endpoint.rpartition(".")[0] or None)
        methods = sorted(rule.methods or {"GET"})
        shown = (
            method or next((m for m in methods if m not in ("HEAD", "OPTIONS")), "GET")
        ).upper()
        limited = limited_by(self._limiter, view)
        exemption = resolver.exemption(view, path)
        context = RequestContext(endpoint, Route(endpoint, shown, view, path, exemption, limited))
        settings = self._binding.settings
        defaults = await resolver.load_all(settings.default_limits, self._memo)
        own = await resolver.load_all(limited.limits, self._memo) if limited else []
        found = await resolver.of_function(
            context, limited or LimitedFunction(endpoint), self._memo
        )
        lines: list[Line] = []
        for limit in found:
            default = limit in defaults and limit not in own
            source = "default" if default else "route" if limit in own else "blueprint"
            lines += await self._lines(limit, source, rule, methods)
        return Place(endpoint, str(rule), bool(exemption) and not lines, lines)

    async def _add_general(self, found: Survey) -> None:
        settings, resolver = self._binding.settings, self._binding.resolver
        metas = await resolver.load_all(settings.meta_limits, self._memo, "meta limits")
        application = await resolver.load_all(settings.application_limits, self._memo)
        for limit in [*application, *(line.limit for line in found.lines)]:
            metas += [meta for meta in limit.meta_limits if meta not in metas]
        rules = self._app.url_map.iter_rules()
        methods = sorted({method for rule in rules for method in rule.methods or ()})
        for limit in metas:
            found.meta += await self._lines(limit, "meta", None, methods)
        for limit in application:
            found.application += await self._lines(limit, "application", None, methods)

    async def _lines(
        self, limit: RuntimeLimit, source: str, rule: Rule | None, methods: Sequence[str]
    ) -> list[Line]:
        """A limit's lines at a route; ``rule`` is None for a limit of all routes."""
        if not limit.per_method:
            return [await self._line(limit, source, rule, None, methods)]
        return [await self._line(limit, source, rule, method, methods) for method in methods]

    async def _line(
        self,
        limit: RuntimeLimit,
        source: str,
        rule: Rule | None,
        method: str | None,
        methods: Sequence[str],
    ) -> Line:
        endpoint = "" if rule is None else rule.endpoint
        line = Line(limit, source, method, where=endpoint)
        if self._key is None or isinstance(limit.limit, Varying):
            return line
        try:
            identity = await self._identity(rule, method or methods[0])
            own = limit.scope
            if callable(own):
                own = await self._named("scope", own, rule, method or methods[0], endpoint)
        except _UnknownCounter as error:
            line.error = str(error)
            return line
        scope = limit.full_scope(own, identity, method or "GET")
        if scope:
            line.args = self._binding.settings.key_parts(limit, self._key, scope)
        return line

    async def _identity(self, rule: Rule | None, method: str) -> str:
        """What the route is called in keys; "" for all routes, whose limits are shared."""
        identifier = self._binding.settings.request_identifier
        if rule is None:
            return ""
        if identifier is None:
            return str(rule.endpoint)
        return await self._named("request_identifier", identifier, rule, method)

    async def _named(
        self,
        setting: str,
        function: UserFunction[object],
        rule: Rule | None,
        method: str,
        *args: str,
    ) -> str:
        """What a function of the app names a counter, in requests that may reach this route.

        Raises `_UnknownCounter` if they differ, or if the function needs more of a request.
        """
        paths = SOME_PATHS if rule is None or rule.arguments else (rule.rule,)
        names: set[str] = set()
        for path in paths:
            async with self._app.test_request_context(path, method=method):
                try:
                    names.add(str(await call(function, *args) or ""))
                except Exception as error:
                    known = f"{setting} not known outside a request: {type(error).__name__}"
                    raise _UnknownCounter(known) from error
        if len(names) > 1:
            raise _UnknownCounter(f"{setting} {VARIES}")
        (name,) = names
        return name


class _UnknownCounter(LookupError):
    """No empty request shows which counter a limit has."""


def shadow_text(limit: RuntimeLimit) -> bool | str | None:
    """True for a limit in shadow, the function's name if one decides; None: it binds."""
    return function_name(limit.shadow) if callable(limit.shadow) else limit.shadow or None


def function_name(value: object) -> str:
    """A user's function by its module and name, anything else as Python writes it."""
    if not callable(value):
        return repr(value)
    name = getattr(value, "__name__", type(value).__name__)
    module = getattr(value, "__module__", "")
    return f"<lambda>({module})" if name == "<lambda>" else f"{module}.{name}()"


def provider_text(limit: Limit) -> str:
    """How much a rule allows, as it was given."""
    given = limit.limit_provider
    return function_name(given) if callable(given) else str(given)


def settings_dict(settings: Settings) -> dict[str, object]:
    """The settings for JSON, but those that may hold a password."""
    shown: dict[str, object] = {}
    for field_ in fields(settings):
        value = getattr(settings, field_.name)
        if field_.name in ("storage_uri", "storage_options", "keys"):
            continue
        if isinstance(value, tuple):
            value = [provider_text(one) if isinstance(one, Limit) else one for one in value]
        elif isinstance(value, dict):
            value = {header.name.lower(): name for header, name in value.items()}
        elif callable(value):
            value = function_name(value)
        shown[field_.name] = value
    return shown
