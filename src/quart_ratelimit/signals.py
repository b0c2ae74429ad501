"""What may be seen of decisions and of the store: blinker signals, as Quart has them.

Metrics, dashboards and an app's own receivers all stand on these. A receiver is a plain function
that returns at once, ``receiver(sender, **facts)``; one that fails is logged and harms no request.
Without a receiver a signal costs one ``if``.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from blinker import ANY, NamedSignal

from .errors import ConfigurationError

if TYPE_CHECKING:
    from .quotas import Decision, Hit, Quota

F = TypeVar("F", bound=Callable[..., object])

#: An allowed hit is near its limit when less than one in ``NEAR`` parts is left.
NEAR = 5

_is_allowed = attrgetter("allowed")
_log = logging.getLogger("quart_ratelimit")


class Signal(NamedSignal):
    """A blinker signal that is sent during a decision."""

    def connect(self, receiver: F, sender: Any = ANY, weak: bool = True) -> F:
        """Have a plain function called. Raises `ConfigurationError` for an async one."""
        if inspect.iscoroutinefunction(receiver):
            raise ConfigurationError(
                f"{receiver.__qualname__} is async; a receiver of {self.name} is a plain function, "
                "which may put the event into a queue"
            )
        return super().connect(receiver, sender, weak)

    def send_safely(self, sender: object, **facts: object) -> None:
        """Call all receivers; what they raise is logged."""
        for receiver in list(self.receivers_for(sender)):
            try:
                receiver(sender, **facts)
            except Exception:
                _log.exception("a receiver of %s failed", self.name)


class Decided(NamedTuple):
    """One decision without its client: fit for logs, and its limit and outcome for labels."""

    #: The limit's name, or how it is written: "login", "10 per 1 minute".
    limit: str
    #: What is counted together, such as the endpoint; "" where the code names a key by itself, and
    #: for what a shield answers.
    scope: str
    #: "allowed", "refused", or "shadow": a limit in shadow would have refused what passed.
    outcome: str
    #: It is allowed, and less than a fifth of the limit is left.
    near_limit: bool
    #: Who decided (`Decision.by`): "store", "memory", or the policy that stood in.
    by: str
    #: Whether the limit is in shadow.
    shadow: bool = False


#: Sent by the limiter for each limit that allowed and charged a hit, or refused it: ``event`` (a
#: `Decided`) and ``hit``, whose key is the client's: keep it out of logs and labels.
limit_decided: Signal = Signal("limit_decided")
#: Sent by a store when it was called: ``seconds`` until its answer, and whether it ``answered``.
store_asked: Signal = Signal("store_asked")
#: Sent by a Redis store when it sends a batch: ``size``, the requests in it.
batch_sent: Signal = Signal("batch_sent")
#: Sent by a store that is no longer called: the breaker is open and ``policy`` decides.
store_unavailable: Signal = Signal("store_unavailable")
#: Sent by a store that answers again.
store_recovered: Signal = Signal("store_recovered")
#: Sent by a worker's fleet when the store reports how many ``workers`` share its counters.
fleet_known: Signal = Signal("fleet_known")


class Recorder(Protocol):
    """What notes a limiter's decisions as they are: cheaper than a signal for each."""

    def __call__(
        self,
        hits: Sequence[Hit],
        decisions: Sequence[Decision],
        scopes: Sequence[str],
        *,
        shadow: bool,
    ) -> None:
        """Note a request's hits and their decisions; see `send_decided`. It must not raise."""


#: One limiter's recorder each, by the limiter's `id`.
recorders: dict[int, Recorder] = {}


def send_decided(
    sender: object,
    hits: Sequence[Hit],
    decisions: Sequence[Decision],
    scopes: Sequence[str] = (),
    *,
    shadow: bool = False,
) -> None:
    """Send `limit_decided` for a request's hits that count.

    Callers check before that `recorders` or receivers of the signal are there.
    """
    recorder = recorders.get(id(sender))
    if recorder is not None:
        recorder(hits, decisions, scopes, shadow=shadow)
    if not limit_decided.receivers:
        return
    for hit, decision, scope in counted(hits, decisions, scopes):
        event = Decided(
            limit_name(hit.quota),
            scope,
            outcome(decision, shadow=shadow),
            decision.allowed and decision.remaining * NEAR < hit.quota.capacity,
            decision.by,
            shadow,
        )
        limit_decided.send_safely(sender, event=event, hit=hit)


def counted(
    hits: Sequence[Hit], decisions: Sequence[Decision], scopes: Sequence[str]
) -> list[tuple[Hit, Decision, str]]:
    """A request's hits that count, each with its decision and scope.

    Of a refused request only the refusals do: nothing else was charged. What looks or gives back,
    or charges what was spent already, decides nothing.
    """
    refused = not all(map(_is_allowed, decisions))
    return [
        (hit, decision, scope)
        for hit, decision, scope in zip(hits, decisions, scopes or [""] * len(hits), strict=True)
        if not (hit.forced or (decision.allowed and (refused or hit.cost < 1)))
    ]


def outcome(decision: Decision, *, shadow: bool = False) -> str:
    """What became of a hit, in one word. Each further kind of answer gets its word here."""
    if decision.allowed:
        return "allowed"
    return "shadow" if shadow else "refused"


def limit_name(quota: Quota) -> str:
    """What a limit is called in metrics and logs."""
    return quota.name or str(quota)
