"""What a quota is, what a hit is, and how the answer looks. Imports no I/O."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, TypeAlias, TypeGuard

from ..errors import InvalidLimit

#: Seconds in each unit of the limit notation; month and year as Flask-Limiter counts them.
UNITS = {
    "second": 1,
    "minute": 60,
    "hour": 3_600,
    "day": 86_400,
    "week": 604_800,
    "month": 2_592_000,
    "year": 31_104_000,
}

#: The largest integer that Lua's numbers represent exactly, so the largest that may decide;
#: counts stop there.
MAX_EXACT = 2**53 - 1

#: Seconds: ten thousand years. A time this far from now is exact in ms, too.
LONGEST_PERIOD = 10_000 * UNITS["year"]
#: The longest name of a quota, in characters: it stands in keys, response fields and metrics.
LONGEST_NAME = 256


#: Values of `Decision.by` whose allowed hits are counted.
CHARGING = frozenset({"store", "local"})


class Decision(NamedTuple):
    """What the store decided for a hit; no response field or handler needs a second call."""

    # A tuple and not a dataclass: one is made per hit, and a tuple costs a third.

    allowed: bool
    #: Units left after this decision.
    remaining: int
    #: Until the key is like one that was never hit. Also how long its state must be kept.
    reset_ms: int
    #: Until this hit would be allowed if no other hit came; 0 if it was allowed; None: never.
    retry_ms: int | None
    #: When it was decided, by the store's own clock, in ms since the epoch.
    at_ms: int = 0
    #: Who decided: "store"; the policy while the store is away ("open", "closed", "local");
    #: "memory" for a remembered refusal; "queue" for a refusal by `Limiter.wait`; "off" if the
    #: limiter was switched off and charged nothing.
    by: str = "store"
    #: What `Limiter.refund` may give back of it; None: it charged nothing, or a rule charged it.
    receipt: Receipt | None = None

    @property
    def retry_after(self) -> int | None:
        """The wait for ``Retry-After`` in whole seconds, rounded up; None: no wait helps."""
        return None if self.retry_ms is None else -(-self.retry_ms // 1000)

    def __bool__(self) -> bool:
        """Whether the hit was allowed: ``if not await limiter.hit(...)`` works as it reads."""
        return self.allowed


#: A `Decision` of all its fields, in order, in less time than calling the class takes.
decided: Callable[[tuple[bool, int, int, int | None, int, str, Receipt | None]], Decision]
decided = functools.partial(tuple.__new__, Decision)


@dataclass(frozen=True, slots=True)
class Quota:
    """A number of units per period; each subclass is one algorithm: ``FixedWindow(100, 60)``.

    Raises `InvalidLimit` for a limit that the algorithm cannot keep.
    """

    #: Its name in Redis keys and its ``.lua`` twin's file name.
    algorithm: ClassVar[str]

    #: Units allowed in one period.
    amount: int
    #: Length of the period in whole seconds.
    period: int
    #: The unit that it was written in ("minute"), for messages and for Flask-Limiter's names.
    unit: str = field(default="", kw_only=True)
    #: The limit's name in response fields and metrics; None: no name was given.
    name: str | None = field(default=None, kw_only=True)
    #: What its state is kept under, so that a change of the amount keeps what was used; None: the
    #: name. Without either each amount has a state of its own.
    counted_as: str | None = field(default=None, kw_only=True)

    period_ms: int = field(init=False, repr=False, compare=False)
    #: Distinguishes this quota from every other.
    tag: str = field(init=False, repr=False, compare=False)
    #: Distinguishes its state among those quotas of one key: quotas of one counter share it.
    counter: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_whole("amount", self.amount)
        check_whole("period", self.period, LONGEST_PERIOD)
        for field_name in ("name", "counted_as"):
            given = getattr(self, field_name)
            if given is None:
                continue
            if not is_name(given):
                raise InvalidLimit(
                    f"{field_name}={given!r} must be printable ASCII, e.g. {field_name}='login'"
                )
            if len(given) > LONGEST_NAME:
                raise InvalidLimit(
                    f"{field_name} has {len(given)} characters, and at most {LONGEST_NAME} are "
                    f"allowed, e.g. {field_name}='login'"
                )
        if self.unit not in UNITS or self.period % UNITS[self.unit]:
            unit = next(u for u in reversed(UNITS) if self.period % UNITS[u] == 0)
            object.__setattr__(self, "unit", unit)
        object.__setattr__(self, "period_ms", self.period * 1000)
        tag = counter = "/".join(map(str, self.spec()))
        label = self.counted_as or self.name
        if label is not None:  # no tag looks like this: in none does the algorithm follow a name
            tag, counter = f"{label}/{tag}", "/".join([label, *map(str, self.scale())])
        object.__setattr__(self, "tag", tag)
        object.__setattr__(self, "counter", counter)

    @property
    def multiples(self) -> int:
        """How many of its units one period is: 5 for "100 per 5 minutes"."""
        return self.period // UNITS[self.unit]

    @property
    def capacity(self) -> int:
        """The highest cost that can ever be allowed."""
        return self.amount

    def get_expiry(self) -> int:
        """The period in seconds, under Flask-Limiter's name for it."""
        return self.period

    def spec(self) -> tuple[str | int, ...]:
        """What the ``.lua`` twin needs to know: the algorithm's name, then integers."""
        return (self.algorithm, self.amount, self.period_ms)

    def scale(self) -> tuple[str | int, ...]:
        """What a state's numbers mean, whatever the amount: the algorithm's name, then integers."""
        return (self.algorithm, self.period_ms)

    def state_key(self, key: str, now_ms: int) -> str:  # noqa: ARG002  # for windows by the clock
        """Where the state of ``key`` lives at that time."""
        return f"{key}:{self.counter}"

    def share(self, workers: int, place: int) -> Quota | None:
        """What the worker of this place may admit while each of ``workers`` workers counts alone.

        The shares of all places add up to the amount, see `share_of`. None: its share is nothing.
        """
        amount = share_of(self.amount, workers, place)
        return self._shared(amount=amount) if amount else None

    def _shared(self, **changes: int) -> Quota:
        """This quota with another amount, whose state is kept under this quota's counter."""
        quota = replace(self, **changes)  # type: ignore[arg-type]  # numbers of a subclass
        object.__setattr__(quota, "counter", self.counter)
        return quota

    def resume(self, decision: Decision, now_ms: int) -> Any:
        """A state that has as much left as this decision said, and is new again no earlier.

        For a store that takes over when the one that decided is away.
        """
        raise NotImplementedError

    def heal(self, state: Any, now_ms: int) -> Any:
        """The state; if the clock went back, a state that locks no client out for too long."""
        raise NotImplementedError

    def more_ms(self, decision: Decision) -> int | None:
        """From a decision on, until there is more than it left; None: that is not known."""
        return decision.retry_ms if not decision.allowed else None

    def advance(self, state: Any, now_ms: int, hit: Hit) -> tuple[Any, Decision]:
        """Decide a hit on a healed state: the state to keep if it is charged, and the answer.

        ``None`` is a key never hit.
        """
        raise NotImplementedError

    def __str__(self) -> str:
        return f"{self.amount} per {self.multiples} {self.unit}"

    def __lt__(self, other: Quota) -> bool:
        return self.period < other.period


class Hit(NamedTuple):
    """One charge: a quota, a key, a cost. A tuple for the reason that `Decision` is one."""

    quota: Quota
    #: The client or thing that it counts, with its scope; the store adds its prefix.
    key: str
    #: Units to charge. 0 only looks: the decision is as for a hit of 1. Below 0 gives
    #: back, and is always allowed.
    cost: int = 1
    #: When a cost that is given back was charged (`Decision.at_ms`): what has expired since is
    #: not given back twice.
    at_ms: int = 0
    #: Charge even past the limit: for a cost known only afterwards. Always allowed.
    forced: bool = False
    #: Which lease a concurrency hit takes, renews or, with cost -1, gives back.
    lease: str = ""
    #: Whether it may be given back later. A store must then not count it if it is refused.
    refundable: bool = False
    #: Whether it was admitted while the store was away: it is charged as far as there is room, and
    #: always allowed.
    late: bool = False
    #: What decides it while the store is away, one of `POLICIES`; "": the store's own policy.
    policy: str = ""
    #: Whether it is a meta limit's, which counts breaches: each worker may count at least one.
    of_breaches: bool = False


#: Carries out hits of costs below 0, given the decisions that charged them.
GiveBack: TypeAlias = "Callable[[Sequence[Hit], Sequence[Decision]], Awaitable[list[Decision]]]"


class Receipt:
    """What one call charged, as long as it is not given back: no unit can be given back twice.

    ``give_back`` carries out what `spend` returns, in the store that charged it.
    """

    __slots__ = ("_charged", "_given_back", "give_back")

    def __init__(
        self, hits: Sequence[Hit], decisions: Sequence[Decision], give_back: GiveBack
    ) -> None:
        self._charged = (hits, decisions)
        self.give_back: GiveBack = give_back
        #: Units by counter and key; None: nothing yet, as of nearly every receipt.
        self._given_back: Counter[tuple[str, str]] | None = None

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        # A deep or pickled copy could be given back as well, so a copied decision has no receipt.
        return type(None), ()

    def spend(self, hits: Sequence[Hit]) -> list[tuple[Hit, Decision]]:
        """Hits that give these back, each at most what is left of its charge, and that charge."""
        if self._given_back is None:
            self._given_back = Counter()
        back = []
        for charged, decision in zip(*self._charged, strict=True):
            name = (charged.quota.counter, charged.key)
            for hit in hits:
                units = min(hit.cost, charged.cost - self._given_back[name])
                if (hit.quota.counter, hit.key) == name and units and decision.by in CHARGING:
                    self._given_back[name] += units
                    back.append((hit._replace(cost=-units, at_ms=decision.at_ms), decision))
        return back


def share_of(units: int, workers: int, place: int) -> int:
    """The part of these units that belongs to one place of ``workers``, from 0 on.

    All parts add up to the units (Hermite's identity), and no part is smaller for more units.
    """
    return (units + workers - 1 - place) // workers


def check_whole(what: str, value: object, most: int = MAX_EXACT) -> None:
    """Raise `InvalidLimit` unless the value is a whole number from 1 to ``most``."""
    if type(value) is not int or value < 1:
        raise InvalidLimit(f"{what}={value!r} is not a positive whole number; write e.g. {what}=10")
    if value > most:
        raise InvalidLimit(f"{what}={value} is too large: at most {most}")


def is_name(value: object) -> TypeGuard[str]:
    """Whether a structured field's string can hold the value as a name."""
    return isinstance(value, str) and value != "" and value.isascii() and value.isprintable()


def tightness(decision: Decision) -> tuple[bool, int]:
    """Sort key that puts the first refusal, else the decision with least left, to the front."""
    return (decision.allowed, decision.remaining)


def longest_wait_ms(decisions: Iterable[Decision]) -> int | None:
    """Time until every refusal can be over, in ms; 0: none was refused; None: one never can."""
    waits = [decision.retry_ms for decision in decisions if not decision.allowed]
    known = [wait for wait in waits if wait is not None]
    return max(known, default=0) if len(known) == len(waits) else None


def refused_longest(pairs: Iterable[tuple[Hit, Decision]]) -> tuple[Hit, Decision] | None:
    """The refused hit that waits longest, with its decision; None if none was refused."""
    refused = [pair for pair in pairs if not pair[1].allowed]
    return max(refused, key=_wait, default=None)


def _wait(pair: tuple[Hit, Decision]) -> float:
    wait = pair[1].retry_ms
    return math.inf if wait is None else wait
