"""What one limiter knows of one request, from its start to its response."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..callables import Memo
from ..constants import ExemptionScope
from ..errors import RateLimitExceeded
from ..quotas import Concurrency, Decision, Hit
from ..responses.request_limit import RequestLimit
from ..rules.registry import LimitedFunction
from ..rules.resolved import RuntimeLimit
from ..stores import Store
from .answers import Answers

#: Limits that a response has room for: servers and proxies bound its fields, often to 8 kB.
MOST_TOLD = 16


@dataclass(eq=False, slots=True)
class Charge:
    """One limit, the hit that it asks for and, once `told`, the decision."""

    limit: RuntimeLimit
    hit: Hit
    #: The key's parts, see `RequestLimit.request_args`.
    args: list[str]
    #: Where it was charged.
    store: Store
    told: RequestLimit = field(init=False)

    @property
    def decision(self) -> Decision:
        """The last decision on it."""
        return self.told.decision


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
    #: The view, if it has limits of its own.
    limited: LimitedFunction | None = None
    #: A websocket: its functions and blocks may be called without end, so only the last is told of.
    open_ended: bool = False
    #: It serves static files.
    static: bool = field(init=False)
    #: It is known that nothing applies before the view.
    free_before: bool = False
    #: What applies at each stage, where no function has a say in it; the resolver's notes.
    stages: dict[Any, Any] = field(default_factory=dict)
    #: The same where functions have, by their answers.
    answers: dict[Any, Answers] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.static = self.endpoint.rpartition(".")[2] == "static"


class RequestContext:
    """The limits of one request, what was charged, and what is still to be settled."""

    # What nearly every request leaves as it is stands in the class: one is made for each request.

    #: Limits after the first one that refused, which were asked as well: for response fields.
    after_refusal: Sequence[RequestLimit] = ()
    #: Meta limits that were looked at: those that any breach counts in, and others.
    general_looks: Sequence[Charge] = ()
    looks: Sequence[Charge] = ()
    #: Charges that the response decides on.
    reserved: Sequence[Charge] = ()
    refusal: RateLimitExceeded | None = None
    #: The hits that the store was asked last.
    asked: Sequence[Hit] = ()
    #: The key function of the view's lone limit and its answer: nearly always all that was asked.
    client: tuple[Callable[..., Any], Any] | None = None
    #: What `memo` is, once it was needed.
    answers: Memo | None = None
    with_defaults: bool = False
    with_blueprints: bool = False
    with_fallback: bool = False

    def __init__(self, identity: str, route: Route) -> None:
        #: What the endpoint is called in keys: the endpoint, or what ``request_identifier`` says.
        self.identity = identity
        self.route = route
        #: Nothing is limited: a static file, no route, or a request filter said so.
        self.free = route.static or not identity
        self.limits: list[RequestLimit] = []

    @property
    def memo(self) -> Memo:
        """Asked once for this request and its view; a helper's limits are asked at each call."""
        if self.answers is None:
            self.answers = Memo()
            if self.client is not None:
                self.answers.note(*self.client)
        return self.answers

    @property
    def current_limit(self) -> RequestLimit | None:
        """The limit to tell the client of.

        The last one breached, else the shortest that is not shared, else the shortest; places in
        flight, which have no period, come last.
        """
        if len(self.limits) == 1:
            return self.limits[0]
        breached = [limit for limit in self.limits if limit.breached]
        if breached:
            return breached[-1]
        ordered = sorted(self.limits, key=_place)
        if not ordered:
            return None
        tightest = next((told for told in ordered if not told.shared), ordered[0])
        # A counter may be charged twice: what remains is what the last charge left.
        return next(told for told in reversed(ordered) if _same(told, tightest))

    @property
    def told(self) -> Sequence[RequestLimit]:
        """What response fields tell of: each counter once, as it stands now; the last `MOST_TOLD`.

        A helper that is called again and again, or a block in a loop, is asked each time.
        """
        if len(self.limits) < 2 and not self.after_refusal:
            return self.limits
        latest = {
            (one.limit, *one.request_args): one for one in (*self.limits, *self.after_refusal)
        }
        return list(latest.values())[-MOST_TOLD:]

    def tell(self, told: RequestLimit) -> None:
        """Add a limit that was asked by itself; asked again, it is told of as it stands now.

        Of more than `MOST_TOLD` only a refusal is added, in the place of the last.
        """
        for place, known in enumerate(self.limits):
            if _same(known, told):
                self.limits[place] = told
                return
        if len(self.limits) < MOST_TOLD:
            self.limits.append(told)
        elif told.breached:
            self.limits[-1] = told


def _same(one: RequestLimit, other: RequestLimit) -> bool:
    """Whether both tell of one counter."""
    return one is other or (one.request_args == other.request_args and one.limit == other.limit)


def _place(told: RequestLimit) -> tuple[bool, int]:
    return isinstance(told.limit, Concurrency), told.limit.period
