"""What is printed of runs: how many, what was injected into them, and the story of one."""

from __future__ import annotations

import time
from collections import Counter

from .run import Outcome

# The real clock: a run replaces `time.monotonic` while it lasts.
_now = time.monotonic


class Report:
    """Counts runs until their time is over."""

    def __init__(self, seconds: float) -> None:
        self._began = _now()
        self._seconds = seconds
        self.runs = 0
        self.calls = 0
        self.schedules: set[str] = set()
        self.faults: Counter[str] = Counter()
        self.by: Counter[str] = Counter()

    @property
    def is_over(self) -> bool:
        """Whether the time is over."""
        return _now() - self._began >= self._seconds

    def add(self, outcome: Outcome) -> None:
        """Count a run."""
        self.runs += 1
        self.calls += outcome.calls
        self.schedules.add(outcome.digest)
        self.faults.update(outcome.injected)
        self.by.update(outcome.by)

    def print(self) -> None:
        """Print the figures."""
        took = _now() - self._began
        rate = self.runs / took if took else 0.0
        print(
            f"{self.runs:,} runs in {took:.0f} s, {rate:.1f} a second, {rate * 3600:,.0f} an hour; "
            f"{len(self.schedules):,} distinct schedules; {self.calls:,} calls of the store"
        )
        print("decided: " + ", ".join(f"{name} {n:,}" for name, n in self.by.most_common()))
        print("faults: " + ", ".join(f"{name} {n:,}" for name, n in self.faults.most_common()))


def print_story(outcome: Outcome) -> None:
    """Print who was there, what happened, and what was wrong."""
    plan = outcome.plan
    for worker in plan.workers:
        print(
            f"{worker.name}: clock {worker.skew_ms:+} ms, {worker.latency * 1000:g} ms to Redis, "
            f"policy {worker.policy}, {worker.connections} connections, "
            f"deadline {worker.deadline or 'learned'}"
            + ("" if worker.remember else ", remembers no refusal")
        )
    for moment, who, what in outcome.story:
        print(f"{moment:10.4f}  {who:9} {what}")
    print(f"decided: {outcome.by}; schedule {outcome.digest}")
    print(f"{len(outcome.violations)} violations")
