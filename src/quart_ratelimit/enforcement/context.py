"""What one limiter knows of one request, from its start to its response."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..callables import Memo
from ..current import current_request_or_none
from ..quotas.quota import CHARGING
from ..responses.request_limit import RequestLimit, limit_to_report, same_counter
from ..responses.writer import MOST_REPORTED
from .charges import Charge
from .paid import Paid
from .routes import BLUEPRINTS, DEFAULTS, OVERRIDDEN, Route
from .stage import Stage


class RequestContext:
    """The limits of one request, what was charged, and what is still to be settled."""

    # What nearly every request leaves as it is stands in the class: one is made for each request.

    #: Limits after the first one that refused, which were charged as well: for response fields.
    after_refusal: Sequence[RequestLimit] = ()
    #: Meta limits that were peeked at: those that any breach counts in, and others.
    any_breach_peeks: Sequence[Charge] = ()
    meta_peeks: Sequence[Charge] = ()
    #: Charges that the response decides on.
    reserved: list[Charge] | tuple[()] = ()
    #: What the defaults charged: given back if a limit replaces them.
    defaults: Sequence[Charge] = ()
    #: Whether the last stage to be charged had a limit that replaces the defaults.
    replaces: bool = False
    #: Which groups of limits applied already, see `routes.BLUEPRINTS`.
    applied: int = 0
    with_fallback: bool = False
    #: The view has limits of its own, and was not refused before it. If none of them is evaluated,
    #: the limits that they would replace are charged at the response.
    due: bool = False
    #: Nothing is limited: a request filter said so, or it is a preflight.
    filtered: bool = False

    def __init__(self, identity: str, route: Route) -> None:
        #: What the endpoint is called in keys: the endpoint, or what ``request_identifier`` says.
        self.identity = identity
        self.route = route
        #: No rule limits it: a static file, no route, or `filtered`.
        self.free: bool = route.static or not identity
        self.limits: list[RequestLimit] = []
        self.paid: Paid = Paid()
        #: Answers for this request and its view; a helper's functions are called at each call.
        self.memo: Memo = Memo()

    @property
    def unreached(self) -> bool:
        """Whether the view's own limits were to be evaluated, and were not."""
        return self.due and not self.applied & (BLUEPRINTS | DEFAULTS | OVERRIDDEN)

    @property
    def current_limit(self) -> RequestLimit | None:
        """The limit to report if only one can be; see `limit_to_report`."""
        limits = self.limits
        if len(limits) < 2:
            return limits[0] if limits else None
        return limit_to_report(limits)

    @property
    def reported(self) -> Sequence[RequestLimit]:
        """What response fields report: each counter once, as it stands now; the last 16.

        A helper or a block that runs in a loop adds a limit each time.
        """
        if len(self.limits) < 2 and not self.after_refusal:
            return self.limits
        latest = {
            (one.limit, *one.request_args): one for one in (*self.limits, *self.after_refusal)
        }
        return list(latest.values())[-MOST_REPORTED:]

    def report(self, status: RequestLimit) -> None:
        """Add a limit that belongs to no rule; a counter that is there already is replaced.

        Of more than `MOST_REPORTED` only a refusal is added, in the place of the last.
        """
        for place, known in enumerate(self.limits):
            if same_counter(known, status):
                self.limits[place] = status
                return
        if len(self.limits) < MOST_REPORTED:
            self.limits.append(status)
        elif status.breached:
            self.limits[-1] = status

    def forget(self) -> None:
        """Drop what only the request needs, as it ends: answers of functions have any size."""
        self.memo = Memo()
        self.reserved = self.any_breach_peeks = self.meta_peeks = ()

    def keep(self, stage: Stage, charges: Iterable[Charge]) -> None:
        """Keep what may be given back: what the response decides on, and the defaults."""
        for charge in charges:
            decision = charge.decision
            if not decision.allowed or decision.by not in CHARGING or not charge.hit.cost:
                continue
            if charge.limit.deduct_when:
                self.reserved = self.reserved or []
                self.reserved.append(charge)
            if charge.limit.rule in stage.defaults:
                self.defaults = [*self.defaults, charge]


def known_context(attribute: str) -> RequestContext | None:
    """What a limiter knows of the current request; None if it knows nothing yet."""
    return context_of(current_request_or_none(), attribute)


def context_of(request: object, attribute: str) -> RequestContext | None:
    """What a limiter knows of a request; None if it knows nothing yet, or there is none."""
    known: RequestContext | None = getattr(request, attribute, None)
    return known
