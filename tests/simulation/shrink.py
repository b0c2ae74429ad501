"""Makes a failing plan smaller: fewer faults, clients and workers, and each of them simpler."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from .plan import Plan
from .run import Outcome, run_plan

#: Runs that shrinking may take.
MOST_RUNS = 400


def kind_of(violation: str) -> str:
    """What is wrong, without the names and numbers of this run."""
    return re.sub(r"'[^']*'|\d[\d.]*", "…", violation)[:60]


def shrunk(outcome: Outcome) -> Outcome:
    """The smallest plan that was found to fail in the same way."""
    wanted, best, runs = kind_of(outcome.violations[0]), outcome, 0
    progress = True
    while progress:
        progress = False
        for plan in _smaller(best.plan):
            runs += 1
            if runs > MOST_RUNS:
                return best
            found = run_plan(plan)
            if any(kind_of(violation) == wanted for violation in found.violations):
                best, progress = found, True
                break
    return best


def _smaller(plan: Plan) -> Iterator[Plan]:
    """Plans that leave something out, the largest parts first."""
    size = len(plan.actions) // 2
    while size:
        for start in range(0, len(plan.actions), size):
            left = plan.actions[:start] + plan.actions[start + size :]
            yield replace(plan, actions=left)
        size //= 2
    for index in range(len(plan.faults)):
        yield replace(plan, faults=plan.faults[:index] + plan.faults[index + 1 :])
    used = {action.worker for action in plan.actions} | {fault.worker for fault in plan.faults}
    workers = tuple(worker for worker in plan.workers if worker.name in used)
    if workers and len(workers) < len(plan.workers):
        yield replace(plan, workers=workers)
    if plan.halved:
        yield replace(plan, halved=0.0)
    for index, action in enumerate(plan.actions):
        for simpler in (replace(action, leaves=None), replace(action, takes=0.0)):
            if simpler != action:
                actions = (*plan.actions[:index], simpler, *plan.actions[index + 1 :])
                yield replace(plan, actions=actions)
    for index, worker in enumerate(plan.workers):
        if worker.skew_ms:
            plain = replace(worker, skew_ms=0)
            yield replace(plan, workers=(*plan.workers[:index], plain, *plan.workers[index + 1 :]))
