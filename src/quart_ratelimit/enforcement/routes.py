"""What is known of an endpoint and a method before any request comes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import FunctionType
from typing import TYPE_CHECKING, Any

from quart import Blueprint, Quart, Websocket, current_app

from ..callables import chain
from ..constants import ExemptionScope
from ..current import blueprint_path, handler_of
from ..rules.exemptions import inherited
from ..rules.registry import HasRegistry, LimitedFunction, Registry, limited_by
from ..rules.resolved import RuntimeLimit

if TYPE_CHECKING:
    from .stage import Stage


#: Which groups of limits a request has had already, as a sum.
BLUEPRINTS, DEFAULTS = 1, 2
#: A limit that replaces the defaults applied.
OVERRIDDEN = 4
#: The limits on any breach were looked at.
METAS = 8

#: Stands for the own limits of a view in a request that ended before they were evaluated.
UNREACHED = LimitedFunction("<unreached>")

#: HTTP methods that count apart where no route says which there are. Clients invent others.
METHODS = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"}
)

#: The module whose decorator answers preflights without calling the view.
CORS = "quart_cors"

#: A limited function, or None before the view, and what had been applied before it.
StageName = tuple[LimitedFunction | None, int]


@dataclass(eq=False, slots=True)
class Route:
    """What is known of an endpoint and a method before any request comes."""

    #: "" if no route matches.
    endpoint: str
    method: str
    view: Callable[..., Any] | None = None
    #: The view's blueprints, outermost first.
    path: Sequence[Any] = ()
    #: What the view is exempt from, by itself and by its blueprints.
    exemption: ExemptionScope = ExemptionScope.NONE
    #: The view's own limits, by where they stand among its decorators; the outermost first.
    own: Sequence[LimitedFunction] = ()
    #: A websocket: its functions and blocks may be called without end, so only the last is
    #: reported.
    open_ended: bool = False
    #: The first of `own`, which every request to the view passes.
    limited: LimitedFunction | None = field(init=False)
    #: It serves static files.
    static: bool = field(init=False)
    #: quart-cors answers its preflights.
    has_cors: bool = field(init=False)
    #: It is known that nothing applies before the view.
    free_before: bool = False
    #: The stages in which no function says what applies, with what was applied after them.
    fixed_stages: dict[StageName, tuple[Stage, int]] = field(default_factory=dict)
    #: All stages by the ids of the limits that they were made of, with these limits.
    stages: dict[tuple[object, ...], tuple[Sequence[RuntimeLimit], Stage]] = field(
        default_factory=dict
    )

    def __post_init__(self) -> None:
        self.limited = self.own[0] if self.own else None
        self.static = serves_static_files(self.view)
        self.has_cors = answers_preflights(self.view)


class Routes:
    """Finds the route of a request; keeps it until a decorator changes what is limited."""

    def __init__(self, extension: HasRegistry, registry: Registry) -> None:
        self._extension = extension
        self._registry = registry
        self._version = registry.version
        self._known: dict[tuple[str, str, type], Route] = {}

    def of(self, request: Any) -> Route:
        """What is known of the request's endpoint and method."""
        if self._version != self._registry.version:
            self._version = self._registry.version
            self._known.clear()
        endpoint, method, kind = request.endpoint, request.method, type(request)
        route = self._known.get((endpoint, method, kind))
        if route is not None:
            return route
        view = current_app.view_functions.get(endpoint)
        path = blueprint_path(current_app, request.blueprint)
        route = Route(
            endpoint or "",
            method if view is not None or method in METHODS else "OTHER",
            view,
            path,
            exemption(self._registry, view, path),
            own_limited(self._extension, view, method),
            isinstance(request, Websocket),
        )
        if view is not None:  # only a route bounds what methods there are
            self._known[endpoint, method, kind] = route
        return route


def exemption(
    registry: Registry, view: Callable[..., Any] | None, path: Sequence[Any]
) -> ExemptionScope:
    """What a view in these blueprints, outermost first, is exempt from."""
    return inherited(path, registry.exempt_blueprints) | registry.exemption(view)


def serves_static_files(view: Callable[..., Any] | None) -> bool:
    """Return whether the view is the one that Quart itself adds for a folder of static files."""
    app_or_blueprint = getattr(view, "__self__", None)
    return isinstance(app_or_blueprint, (Blueprint, Quart)) and (
        getattr(view, "__name__", "") == "send_static_file"
    )


def is_free_preflight(request: Any, route: Route) -> bool:
    """Return whether a request is a CORS preflight that is answered without its view.

    A view that handles OPTIONS itself is charged: who sends the field would else call it for free.
    """
    if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers:
        return False
    rule = request.url_rule
    return rule is not None and bool(rule.provide_automatic_options or route.has_cors)


def answers_preflights(view: object) -> bool:
    """Return whether quart-cors' ``route_cors`` answers OPTIONS in the place of this view."""
    for function in chain(view):
        if isinstance(function, FunctionType) and function.__globals__.get("__name__") == CORS:
            names = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
            cell = dict(names).get("provide_automatic_options")
            if cell is not None and cell.cell_contents is True:
                return True
    return False


def own_limited(
    extension: HasRegistry, view: Callable[..., Any] | None, method: str
) -> tuple[LimitedFunction, ...]:
    """The functions with limits that a route calls for this HTTP method, the outermost first.

    They are the view with its decorators, and a class-based view's own method.
    """
    own, handler = limited_by(extension, view), handler_of(view, method)
    return own if handler is None else (*own, *limited_by(extension, handler))
