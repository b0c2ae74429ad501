"""What happens in a run, drawn from its seed: workers, what clients do, and faults.

A plan is data, so that a failing one can be made smaller: what is left out changes nothing else.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from quart_ratelimit.quotas import (
    GCRA,
    FixedWindow,
    MovingWindow,
    Quota,
    SlidingWindow,
    StrictWindow,
)

#: What is limited: text as a developer writes it, or a quota.
LIMITS: dict[str, str | Quota] = {
    "hour": "6/hour",
    "more an hour": "9/hour",
    "both": "3/minute;7/hour",
    "turning": "4/2 second",
    "first hit": FixedWindow(5, 3600),
    "sliding": SlidingWindow(5, 120),
    "strict": StrictWindow(5, 60),
    "log": MovingWindow(5, 60),
    "bucket": GCRA(12, 60, burst=4),
    "fast bucket": GCRA(5, 2, burst=3),
    "wide": "100000/hour",
    "wide script": FixedWindow(100_000, 3600),
}

#: Of them, those that share a counter.
SHARED = ["hour", "more an hour", "both"]

#: What clients do, and how often of 100.
KINDS = {
    "hit": 30,
    "burst": 8,
    "request": 14,
    "in_flight": 10,
    "reserve": 8,
    "refund": 8,
    "wait": 6,
    "patient": 5,
    "peek": 4,
    "reset": 3,
    "websocket": 2,
    "costly": 2,
}

#: The same for runs that wear down one limit.
FOCUSED = {
    "hit": 60,
    "burst": 6,
    "refund": 10,
    "reserve": 10,
    "reset": 8,
    "peek": 3,
    "in_flight": 3,
}

#: Faults, and how often of 100.
FAULTS = {
    "stop": 18,
    "blip": 12,
    "restart": 10,
    "restart empty": 6,
    "script flush": 8,
    "failover": 8,
    "replica": 4,
    "clock jump": 5,
    "busy": 4,
    "oom": 4,
    "loading": 4,
    "kill clients": 6,
    "reset connections": 8,
    "block the way": 8,
    "stall": 8,
    "kill worker": 4,
    "slow network": 5,
    "poison": 4,
}

#: A fault that some runs have in addition: a Redis that is busy for moments, while a crowd calls.
HICCUP, HICCUP_SHARE = "hiccup", 0.06

#: Seconds, one way, to a Redis that is connected to within a hit's deadline.
NEAR = 0.0005

#: Seconds after which even a blip may still show, and any other fault.
BLIP_GRACE, GRACE = 0.07, 4.5


@dataclass(frozen=True)
class WorkerPlan:
    """One worker."""

    name: str
    starts: float
    skew_ms: int
    #: Seconds to Redis, one way.
    latency: float
    policy: str
    remember: bool
    connections: int
    deadline: float | None


@dataclass(frozen=True)
class Action:
    """What one client does at one worker."""

    at: float
    number: int
    worker: str
    kind: str
    limit: str
    key: str
    cost: int
    #: How its body goes on: "return", "raise", "stream" ...
    how: str
    #: Seconds that the client's own work takes.
    takes: float
    #: After how many turns of the loop, or seconds, the client is gone; None: it stays.
    leaves: int | float | None


@dataclass(frozen=True)
class Fault:
    """What goes wrong, when, for how long, and for whom."""

    at: float
    kind: str
    seconds: float
    worker: str
    amount: float

    @property
    def calm_at(self) -> float:
        """When nothing of it may show any more."""
        grace = {
            "blip": BLIP_GRACE,
            HICCUP: BLIP_GRACE,
            "reset connections": BLIP_GRACE + 0.01,
            "kill clients": BLIP_GRACE,
            "poison": 0.0,
            "script flush": 0.0,
        }.get(self.kind, GRACE)
        return self.at + self.seconds + grace


@dataclass(frozen=True)
class Plan:
    """A run."""

    seed: int
    workers: tuple[WorkerPlan, ...]
    actions: tuple[Action, ...]
    faults: tuple[Fault, ...]
    #: Seconds in which actions begin.
    length: float
    #: Segments are up to this share longer on their way.
    jitter: float
    halved: float
    #: Whether clients choose very long names, whose memory must be free again in the end.
    long_names: bool = False


#: Characters of a long name.
LONG = 100_000


def drawn(seed: int) -> Plan:
    """The plan of a seed."""
    stream = random.Random(f"plan {seed}")
    length = stream.choice([1.0, 3.0, 3.0, 8.0])
    count = stream.choice([1, 1, 2, 2, 3, 4])
    latency = stream.choice([0.0002, 0.0002, 0.0005, 0.002, 0.008, 0.04])
    policy = stream.choice(["local"] * 6 + ["open", "closed", "raise", "raise"])
    size = stream.choice([6, 12, 20, 30])
    keys = [f"client{n}" for n in range(stream.choice([1, 2, 4]))]
    long_names = seed % 40 == 7
    if long_names:  # an outage would keep names, for as long as it takes
        keys, policy = [str(n) * LONG for n in range(4)], "open"
    workers = tuple(_worker(stream, n, length, latency, policy) for n in range(count))
    # Half of the runs wear down one limit and one client, the others spread out.
    limits, kinds = list(LIMITS), KINDS
    if stream.random() < 0.5:
        shared = stream.random() < 0.4
        limits, keys, kinds = stream.choices(SHARED if shared else limits, k=2), keys[:1], FOCUSED
    actions = tuple(
        _action(stream, number, workers, keys, limits, kinds, length) for number in range(size)
    )
    faults = tuple(
        _fault(stream, workers, length) for _ in range(stream.choice([0, 1, 1, 2, 3, 4]))
    )
    faults += _hiccups(seed, workers, length)
    if long_names:
        faults = ()
    return Plan(
        seed,
        workers,
        tuple(sorted(actions, key=lambda action: action.at)),
        tuple(sorted(faults, key=lambda fault: fault.at)),
        length,
        jitter=stream.choice([0.05, 0.3, 0.8]),
        halved=stream.choice([0.0, 0.05, 0.5]),
        long_names=long_names,
    )


def _hiccups(seed: int, workers: tuple[WorkerPlan, ...], length: float) -> tuple[Fault, ...]:
    """Drawn apart from the rest, so that each seed keeps the plan that it had before."""
    stream = random.Random(f"hiccup {seed}")
    if stream.random() >= HICCUP_SHARE:
        return ()
    at, worker = 0.3 + stream.random() * length, stream.choice(workers).name
    return (Fault(at, HICCUP, stream.uniform(0.01, 0.05), worker, stream.random()),)


def _worker(
    stream: random.Random, number: int, length: float, latency: float, policy: str
) -> WorkerPlan:
    late = number > 0 and stream.random() < 0.2
    return WorkerPlan(
        f"worker{number}",
        stream.uniform(0, length) if late else 0.0,
        stream.choice([0, 0, stream.randrange(-4000, 4000), stream.randrange(-60_000, 60_000)]),
        latency,
        policy,
        remember=stream.random() < 0.6,
        connections=stream.choice([1, 2, 4, 4]),
        deadline=stream.choice([None, None, None, 0.5]),
    )


def _action(
    stream: random.Random,
    number: int,
    workers: tuple[WorkerPlan, ...],
    keys: list[str],
    limits: list[str],
    kinds: dict[str, int],
    length: float,
) -> Action:
    (kind,) = stream.choices(list(kinds), list(kinds.values()))
    worker = stream.choice(workers)
    own = kind == "patient" or stream.random() < 0.1
    leaves: int | float | None = None
    if stream.random() < 0.25:
        leaves = stream.choice([stream.randrange(14), stream.expovariate(1 / 0.01)])
    return Action(
        worker.starts + 0.3 + stream.random() ** 2 * (length - worker.starts),
        number,
        worker.name,
        kind,
        stream.choice(limits),
        f"own{number}" if own else stream.choice(keys),
        stream.choice([1, 1, 1, 1, 2, 3, 20]),
        stream.choice(["return", "return", "raise", "stream", "sync", "unentered", "401"]),
        stream.choice([0.0, 0.0, 0.002, stream.expovariate(1 / 0.3), stream.uniform(0, 2)]),
        leaves,
    )


def _fault(stream: random.Random, workers: tuple[WorkerPlan, ...], length: float) -> Fault:
    (kind,) = stream.choices(list(FAULTS), list(FAULTS.values()))
    seconds = {
        "blip": stream.uniform(0.01, 0.1),
        "stall": stream.choice([0.03, 0.2, 2.0]),
        "clock jump": 0.0,
        "script flush": 0.0,
        "kill clients": 0.0,
        "reset connections": 0.0,
        "kill worker": 0.0,
        "poison": 0.0,
    }.get(kind, stream.choice([0.1, 0.5, 1.5]))
    return Fault(
        0.3 + stream.random() * length,
        kind,
        seconds,
        stream.choice(workers).name,
        stream.random(),
    )
