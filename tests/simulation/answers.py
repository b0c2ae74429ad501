"""Whether each decision by the store is one that a server made for this very hit meanwhile."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from quart_ratelimit import Decision, Hit
from quart_ratelimit.quotas import FixedWindow

from .oracle import Oracle
from .records import Call

PREFIX = "rate_limit:"


def base_name(hit: Hit) -> str:
    """A hit's key without the window that stands at its end."""
    quota = hit.quota
    if isinstance(quota, FixedWindow) and quota.aligned:
        return f"{PREFIX}{hit.key}"
    return f"{PREFIX}{quota.state_key(hit.key, 0)}"


def base_of(key: str, aligned: bool) -> str:
    return key.rpartition(":")[0] if aligned else key


@dataclass
class _Points:
    """Moments at which a server gave one answer, each to be matched once."""

    times: list[float] = field(default_factory=list)
    taken: set[int] = field(default_factory=set)

    def take(self, call: Call) -> bool:
        assert call.ended is not None
        for index, moment in enumerate(self.times):
            if index not in self.taken and call.began <= moment <= call.ended:
                self.taken.add(index)
                return True
        return False

    def any_within(self, call: Call) -> bool:
        assert call.ended is not None
        return any(call.began <= moment <= call.ended for moment in self.times)


def answers_of_others(oracle: Oracle) -> Iterator[str]:
    """Each decision by the store is one that a server made for this very hit meanwhile."""
    ranks: dict[tuple[str, object], _Points] = defaultdict(_Points)
    for record in oracle.records.counted:
        base = base_of(record.key, True)
        if not record.by:
            ranks[base, ("look", record.total)].times.append(record.at)
        for rank in range(record.total - record.by + 1, record.total + 1):
            ranks[base, rank].times.append(record.at)
    decided: dict[tuple[object, ...], _Points] = defaultdict(_Points)
    for charged in oracle.records.charged:
        charge = charged.charge
        hit, aligned = charge.hit, charge.spec[0] == "fixed_window" and charge.spec[3] == 1
        signature = (
            base_of(hit.key, aligned),
            charge.spec,
            hit.cost,
            hit.lease,
            _timeless(charge.decision, aligned),
        )
        decided[signature].times.append(charged.at)
    answered = [call for call in oracle.records.calls if call.by == "store"]
    for call in sorted(answered, key=lambda call: call.ended or 0.0):
        for hit, decision in zip(call.hits, call.decisions or (), strict=True):
            if not _is_matched(call, hit, decision, ranks, decided):
                yield (
                    f"{call.worker} got {tuple(decision)} for a hit of {hit.cost} on "
                    f"{hit.key!r} by {hit.quota}, which no server answered meanwhile"
                )


def _timeless(decision: Decision, aligned: bool) -> Decision:
    """Decisions on a window by the clock bear the worker's time, in the window of their key."""
    return decision._replace(at_ms=0) if aligned else decision


def _is_matched(
    call: Call,
    hit: Hit,
    decision: Decision,
    ranks: dict[tuple[str, object], _Points],
    decided: dict[tuple[object, ...], _Points],
) -> bool:
    base, amount = base_name(hit), hit.quota.amount
    told = _timeless(decision, isinstance(hit.quota, FixedWindow) and hit.quota.aligned)
    signature = (base, hit.quota.spec(), hit.cost, hit.lease, told)
    if signature in decided and decided[signature].take(call):
        return True
    if call.hits[0].cost > 0 and hit.cost == 1 and not decision.allowed:
        # A refusal that was remembered may have been asked for by a look.
        look = (base, hit.quota.spec(), 0, "", told)
        if look in decided and decided[look].any_within(call):
            return True
    if not (isinstance(hit.quota, FixedWindow) and hit.quota.aligned):
        return False
    if decision.allowed and hit.cost:
        return (base, amount - decision.remaining) in ranks and ranks[
            base, amount - decision.remaining
        ].take(call)
    for (other, what), points in ranks.items():
        if other != base:
            continue
        used = what[1] if isinstance(what, tuple) else what
        is_it = isinstance(used, int) and max(0, amount - used) == decision.remaining
        if is_it and points.any_within(call):
            return True
    # Nothing was there to look at.
    return not hit.cost and decision.remaining == amount
