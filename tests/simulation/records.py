"""What the oracle sees: each call that a worker makes of its store, each command that ran."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from quart_ratelimit import Decision, Hit

from .script_twin import Charge


@dataclass(eq=False)
class Call:
    """One call of a worker's guarded store."""

    worker: str
    hits: Sequence[Hit]
    began: float
    #: Seconds for which the worker had stood still by then.
    stalled: float
    ended: float | None = None
    stalled_at_end: float = 0.0
    decisions: list[Decision] | None = None
    error: BaseException | None = None
    #: The longest deadline that its worker had meanwhile, in seconds.
    deadline: float = 0.0

    @property
    def took(self) -> float:
        """Seconds, without those in which the worker stood still."""
        return 0.0 if self.ended is None else self.ended - self.began - self.stalled_for

    @property
    def stalled_for(self) -> float:
        return self.stalled_at_end - self.stalled

    @property
    def by(self) -> str:
        return self.decisions[0].by if self.decisions else ""


@dataclass(frozen=True)
class Charged:
    """One hit that a server's script decided; ``clock_ms`` is the server's time."""

    at: float
    clock_ms: int
    charge: Charge


@dataclass(frozen=True)
class Counted:
    """One counter that a server raised, or read if ``by`` is 0."""

    at: float
    clock_ms: int
    key: str
    by: int
    total: int


@dataclass(frozen=True)
class Forgotten:
    """A key that a worker had deleted."""

    at: float
    key: str


@dataclass
class Loss:
    """A moment at which a server lost data, or its clock was set: counts may begin anew."""

    at: float
    what: str
    #: By how much the clock was set forward.
    ahead_ms: int = 0


@dataclass
class Records:
    """All of a run."""

    calls: list[Call] = field(default_factory=list)
    charged: list[Charged] = field(default_factory=list)
    counted: list[Counted] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    forgotten: list[Forgotten] = field(default_factory=list)
    #: Late charges: by which worker, from when to when.
    late: list[tuple[str, float, float]] = field(default_factory=list)
