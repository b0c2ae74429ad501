"""What is judged when a run has ended, from the records of the workers and of the servers."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator

from quart_ratelimit import Hit
from quart_ratelimit.quotas import Concurrency, FixedWindow, Quota

from .answers import answers_of_others, base_name, base_of
from .bounds import admitted_by_redis
from .faults import SLOWER
from .oracle import Oracle
from .plan import NEAR
from .records import Call, Counted, Forgotten
from .redis_server import SimulatedRedis

#: Seconds that a call may take beyond its deadline, and its share: ticks come late.
SLACK, SHARE = 0.02, 1.25
#: Seconds by which a Redis that is not near counts again.
COUNTED_BY = 2.0


def check_all(oracle: Oracle, server: SimulatedRedis, poisoned: set[str]) -> None:
    """Blame whatever must not have been."""
    for what in (
        *_late(oracle),
        *_counted_more_than_once(oracle),
        *answers_of_others(oracle),
        *_given_back_uncharged(oracle),
        *_taken_from_others(oracle),
        *_over_admitted(oracle),
        *_in_past_windows(oracle),
        *_refused_and_charged(oracle),
        *_not_calm(oracle, poisoned),
        *_eternal_keys(server, poisoned),
        *_held_places(oracle, server),
    ):
        oracle.blame(what)


def _late(oracle: Oracle) -> Iterator[str]:
    """Every call ends within its deadline."""
    for call in oracle.records.calls:
        if call.ended is None:
            continue
        asked = 2 if call.hits[0].cost > 0 else 1  # one that was refused before looks first
        # What is owed of the same key is charged first, and no lease is given back before.
        asked += any(
            worker == call.worker and began < (call.ended or 0) and ended > call.began
            for worker, began, ended in oracle.records.late
        )
        latest = asked * (call.deadline * SHARE + SLACK)
        if call.took > latest:
            yield (
                f"a call at {call.worker} took {call.took:.3f} s, with a deadline of "
                f"{call.deadline:.3f} s"
            )


def _counted_more_than_once(oracle: Oracle) -> Iterator[str]:
    """What the servers charged and gave back is no more than what workers called for."""
    called: dict[tuple[str, bool], int] = defaultdict(int)
    for call in oracle.records.calls:
        for hit in call.hits:
            if not isinstance(hit.quota, Concurrency):
                called[base_name(hit), hit.cost > 0] += abs(hit.cost)
    done: dict[tuple[str, bool], int] = defaultdict(int)
    for record in oracle.records.counted:
        done[base_of(record.key, True), True] += record.by
    for charged in oracle.records.charged:
        hit, spec = charged.charge.hit, charged.charge.spec
        if spec[0] == "concurrency" or not charged.charge.counts:
            continue
        aligned = spec[0] == "fixed_window" and spec[3] == 1
        done[base_of(hit.key, aligned), hit.cost > 0] += abs(hit.cost)
    for (base, charge), units in done.items():
        if units > called[base, charge]:
            what = "charged" if charge else "gave back"
            yield f"Redis {what} {units} units of {base!r}, of {called[base, charge]} called for"


def _given_back_uncharged(oracle: Oracle) -> Iterator[str]:
    """For each moment of charging, no more is given back than was charged."""
    balance: dict[tuple[str, int], int] = defaultdict(int)
    for charged in oracle.records.charged:
        hit, decision = charged.charge.hit, charged.charge.decision
        if charged.charge.spec[0] == "concurrency" or not charged.charge.counts or not hit.cost:
            continue
        moment = decision.at_ms if hit.cost > 0 else hit.at_ms
        if charged.charge.spec[0] == "fixed_window" and charged.charge.spec[3] == 1:
            number, period = int(hit.key.rpartition(":")[2]), int(charged.charge.spec[2])
            if hit.cost < 0 and hit.at_ms // period != number:
                continue  # it was another window that was charged, and nothing is given back
            moment = number
        balance[hit.key, moment] += hit.cost
        if balance[hit.key, moment] < 0:
            yield f"{hit.key!r} got back {-balance[hit.key, moment]} units that it was not charged"


def _taken_from_others(oracle: Oracle) -> Iterator[str]:
    """A refund takes its own units from a window's counter, and none that others charged."""
    if oracle.records.losses:
        return
    used: dict[str, int] = defaultdict(int)
    records = [*oracle.records.charged, *oracle.records.counted, *oracle.records.forgotten]
    for record in sorted(records, key=lambda record: record.at):
        if isinstance(record, Forgotten):
            used[record.key] = 0
            continue
        if isinstance(record, Counted):
            used[record.key] += record.by
            continue
        charge = record.charge
        if charge.spec[0] != "fixed_window" or charge.spec[3] != 1 or not charge.counts:
            continue
        used[charge.hit.key] += charge.hit.cost
        amount = int(charge.spec[1])
        left = max(0, amount - max(0, used[charge.hit.key]))
        if charge.hit.cost < 0 and charge.decision.remaining > left:
            yield (
                f"a refund of {-charge.hit.cost} left {charge.decision.remaining} of {amount} to "
                f"{charge.hit.key!r}, of which {used[charge.hit.key]} are used"
            )


def _over_admitted(oracle: Oracle) -> Iterator[str]:
    """What Redis admitted of one limit to one key is within the algorithm's bound."""
    admitted: dict[tuple[Quota, str], list[tuple[float, int]]] = defaultdict(list)
    back: dict[str, int] = defaultdict(int)
    for charged in oracle.records.charged:
        if charged.charge.hit.cost < 0:
            back[charged.charge.hit.key.rpartition(":")[0]] -= charged.charge.hit.cost
            back[charged.charge.hit.key] -= charged.charge.hit.cost
    for call in oracle.records.calls:
        if not call.decisions or not all(call.decisions):
            continue  # none was charged
        for hit, decision in zip(call.hits, call.decisions, strict=True):
            counts = decision.by == "store" and decision.allowed and not hit.forced
            if counts and hit.cost > 0 and not isinstance(hit.quota, Concurrency):
                admitted[hit.quota, hit.key].append((call.began, hit.cost))
                admitted[hit.quota, hit.key].append((call.ended or call.began, 0))
    losses = len(oracle.records.losses)
    forgotten = [record.key for record in oracle.records.forgotten]
    for (quota, key), units in admitted.items():
        base = base_name(Hit(quota, key))
        start, end = min(at for at, _ in units), max(at for at, _ in units)
        resets = sum(base == key or base_of(key, True) == base for key in forgotten)
        bound = admitted_by_redis(quota, start, end) * (1 + losses + resets) + back[base]
        total = sum(cost for _, cost in units)
        if total > bound:
            yield f"Redis admitted {total} units of {quota} to {key!r}, of {bound:g}"


def _in_past_windows(oracle: Oracle) -> Iterator[str]:
    """No hit is counted in a window by the clock that was over when its caller called."""
    if any(loss.what in ("clock jump", "failover") for loss in oracle.records.losses):
        return  # workers may go by the time of before
    counted = [(record, record.key) for record in oracle.records.counted if record.by]
    by_script = [
        (record, record.charge.hit.key)
        for record in oracle.records.charged
        if record.charge.spec[0] == "fixed_window"
        and record.charge.spec[3] == 1
        and record.charge.hit.cost > 0
    ]
    calls: dict[str, list[Call]] = defaultdict(list)
    for call in oracle.records.calls:
        for hit in call.hits:
            if isinstance(hit.quota, FixedWindow) and hit.quota.aligned:
                calls[base_name(hit)].append(call)
    for record, key in [*counted, *by_script]:
        base, _, number = key.rpartition(":")
        began = [
            (call.began, hit.quota.period_ms)
            for call in calls[base]
            for hit in call.hits
            if base_name(hit) == base and call.began <= record.at
            if call.ended is None or call.error is not None or record.at <= _last_run(oracle, call)
            if abs(record.clock_ms // hit.quota.period_ms - int(number)) < 1000
        ]
        if not began:
            continue
        first, period_ms = min(began)
        earliest = record.clock_ms - (record.at - first) * 1000 - 2  # ms are rounded
        if int(number) < earliest // period_ms:
            yield (
                f"{base!r} was counted in window {number}, when {int(earliest // period_ms)} had "
                "begun before the hit"
            )


def _last_run(oracle: Oracle, call: Call) -> float:
    """The latest moment at which Redis may run this call's hits, in seconds.

    If a policy decided, Redis may run them while the connection's reset is on its way.
    """
    ended = call.ended or 0.0
    if call.by not in ("local", "open", "closed"):
        return ended
    plan = oracle.plan
    way = next(worker.latency for worker in plan.workers if worker.name == call.worker)
    slow = [fault.amount for fault in plan.faults if fault.kind == "slow network"]
    return ended + (way + SLOWER * sum(slow)) * (1 + plan.jitter)


def _refused_and_charged(oracle: Oracle) -> Iterator[str]:
    """A hit that may be given back is in no counter that counts refused hits too."""
    plain: dict[str, int] = defaultdict(int)
    for call in oracle.records.calls:
        if len(call.hits) == 1 and not call.hits[0].refundable and call.hits[0].cost == 1:
            plain[base_name(call.hits[0])] += 1
    counted: dict[str, int] = defaultdict(int)
    for record in oracle.records.counted:
        counted[base_of(record.key, True)] += record.by
    for base, units in counted.items():
        if units > plain[base]:
            yield f"{units} hits of {base!r} were counted whether refused or not, of {plain[base]}"


def _not_calm(oracle: Oracle, poisoned: set[str]) -> Iterator[str]:
    """Once nothing is wrong any more, Redis decides: at once if it is near, else within 2 s."""
    calm_at = max((fault.calm_at for fault in oracle.plan.faults), default=0.0)
    for worker in oracle.plan.workers:
        calm = max(calm_at, worker.starts + 2.0)
        calls = [
            call
            for call in oracle.records.calls
            if call.worker == worker.name and call.began >= calm and call.decisions
            if call.by not in ("memory", "queue") and not _poisoned(call, poisoned)
        ]
        counted = [call.ended or 0.0 for call in calls if call.by == "store"]
        counted_at = min(counted, default=math.inf)
        is_far = worker.latency > NEAR
        for call in calls:
            may_connect = is_far and call.began < calls[0].began + COUNTED_BY
            if call.by == "store" or (may_connect and call.began < counted_at):
                continue
            yield (
                f"{call.worker} decided by {call.by!r} on {call.hits[0].key[:40]!r} at "
                f"{call.began:.3f} s, though nothing was wrong since {calm:.3f} s"
            )
            return


def _poisoned(call: Call, poisoned: set[str]) -> bool:
    return any(hit.key in key for hit in call.hits for key in poisoned)


def _eternal_keys(server: SimulatedRedis, poisoned: set[str]) -> Iterator[str]:
    for key in server.commands.keyspace.without_expiry(server.now_ms()):
        if not any(name in key for name in poisoned):
            yield f"the key {key!r} never expires"


def _held_places(oracle: Oracle, server: SimulatedRedis) -> Iterator[str]:
    """Nothing is held after its owner's end, but by workers that were killed."""
    killed = {fault.worker for fault in oracle.plan.faults if fault.kind == "kill worker"}
    now = server.now_ms()
    released = {
        charged.charge.hit.lease
        for charged in oracle.records.charged
        if charged.charge.hit.cost < 0
    }
    if any(loss.what in ("restart from a file", "failover") for loss in oracle.records.losses):
        come_back = released  # the data of before has come back
    else:
        come_back = set()
    for key in server.commands.keyspace.keys(now):
        entry = server.commands.keyspace.entries[key]
        if entry.algorithm != "concurrency" or not isinstance(entry.value, dict):
            continue
        for lease, until in entry.value.items():
            owner = oracle.leases.get(lease, "nobody")
            if until > now and owner not in killed and lease not in come_back:
                yield f"{owner} still holds a place of {key!r}"
