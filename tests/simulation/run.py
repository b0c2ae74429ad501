"""One run of a plan: everything that happens in it, and what was wrong."""

from __future__ import annotations

import gc
import logging
import random
import sys
import warnings
from dataclasses import dataclass, field

from . import checks, faults, patches
from .memory import kept_names
from .network import Network
from .oracle import Oracle
from .plan import LONG, Plan, drawn
from .redis_server import SimulatedRedis
from .site import ADDRESS, Site
from .worker import Worker
from .world import EndlessRun, World

#: Seconds within which what clients do must have ended, and a worker must have closed.
LONGEST_ACTION, LONGEST_CLOSE = 60.0, 10.0
#: Runs between two that collect all garbage: this is what a short run costs.
COLLECTS_EACH = 16


@dataclass
class Outcome:
    """What is known after a run."""

    plan: Plan
    violations: list[str]
    digest: str
    story: list[tuple[float, str, str]]
    injected: dict[str, int]
    calls: int
    by: dict[str, int] = field(default_factory=dict)


#: Apps that serve one run after another, by worker; those of a killed worker are thrown away.
_sites: dict[str, Site] = {}


class Run:
    """The machines of one run."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.world = World(plan.seed)
        self.oracle = Oracle(self.world, plan)
        self.network = Network(self.world)
        self.network.jitter, self.network.halved = plan.jitter, plan.halved
        self.server = SimulatedRedis(self.world, "redis", self.oracle.executed)
        self.network.servers[ADDRESS] = self.server
        # Made before the run begins: making one draws names, which a run with a kept one does not.
        self.sites = {one.name: _sites.get(one.name) or Site() for one in plan.workers}
        _sites.update(self.sites)
        self.workers: dict[str, Worker] = {}
        self.injected: dict[str, int] = {}
        self.poisoned: set[str] = set()
        #: Workers and their clients one of whose keys is poisoned.
        self.troubled: list[tuple[Worker, str]] = []
        self.is_over = False

    def kill(self, worker: Worker) -> None:
        """Kill a worker's process; its app serves no other run."""
        worker.kill()
        _sites.pop(worker.name, None)

    def go(self) -> None:
        """Let it all happen."""
        world, plan = self.world, self.plan
        for worker_plan in plan.workers:
            site = self.sites[worker_plan.name]
            worker = Worker(world, self.network, worker_plan, site, self.oracle)
            self.workers[worker.name] = worker
            world.at(worker_plan.starts, worker.start)
        for action in plan.actions:
            world.at(action.at, lambda a=action: self.workers[a.worker].begin(a))  # type: ignore[misc]
        for fault in plan.faults:
            world.at(fault.at, lambda f=fault: faults.begin(self, f))  # type: ignore[misc]
        faults.save_regularly(self)
        calm = max((fault.calm_at for fault in plan.faults), default=0.0)
        world.run_until(lambda: False, max(plan.length, calm) + 0.6)
        workers = list(self.workers.values())
        if not world.run_until(lambda: all(w.is_idle for w in workers), world.now + LONGEST_ACTION):
            for worker in workers:
                for action in worker.serving.values():
                    self.oracle.blame(f"action {action.number} ({action.kind}) does not end")
        self._settle()
        self._close()
        self.is_over = True

    def _settle(self) -> None:
        """Nothing is wrong any more: each worker decides by Redis, and gives back what it kept."""
        for turn in range(3):
            for worker in self.workers.values():
                worker.visit()
            for worker, client in self.troubled if turn == 2 else ():
                worker.try_all(client)
            self.world.run_until(lambda: False, self.world.now + 0.5)

    def _close(self) -> None:
        workers = [worker for worker in self.workers.values() if not worker.loop.is_dead]
        for worker in workers:
            worker.stop()
        done = self.world.run_until(
            lambda: all(worker.is_done for worker in workers), self.world.now + LONGEST_CLOSE
        )
        if not done:
            self.oracle.blame("a worker does not close")
        self.world.run_until(lambda: False, self.world.now + 0.01)
        gc.collect(1 if self.plan.seed % COLLECTS_EACH else 2)
        self.world.run_until(lambda: False, self.world.now + 0.01)
        for worker in workers:
            for what in worker.remains():
                self.oracle.blame(f"{worker.name} ended, and left: {what}")


def run_plan(plan: Plan) -> Outcome:
    """Carry out a plan, and judge it."""
    if not plan.long_names:
        return _judged(plan)
    _sites.clear()
    outcome = _judged(plan)
    _sites.clear()
    gc.collect()
    for kept in kept_names([action.key for action in plan.actions if len(action.key) >= LONG]):
        outcome.violations.append(f"a client's name is kept: {kept}")
    return outcome


def _judged(plan: Plan) -> Outcome:
    run = Run(plan)
    random.seed(plan.seed)
    with patches.applied(run.world, run.oracle, run.workers), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            run.go()
        except EndlessRun as error:
            run.oracle.blame(f"endless: {error}")
        else:
            if plan.long_names:
                run.oracle.check_memory(run.workers.values())
            checks.check_all(run.oracle, run.server, run.poisoned)
    by: dict[str, int] = {}
    for call in run.oracle.records.calls:
        by[call.by or "error"] = by.get(call.by or "error", 0) + 1
    violations = run.oracle.violations
    if violations:
        _sites.clear()
    return Outcome(
        plan,
        violations,
        run.world.digest,
        run.world.story,
        run.injected,
        len(run.oracle.records.calls),
        by,
    )


def run_seed(seed: int) -> Outcome:
    """Draw the plan of a seed and carry it out."""
    return run_plan(drawn(seed))


def prepare() -> None:
    """Make this process fit for many runs: no logging, no garbage collection at odd moments."""
    logging.getLogger("quart_ratelimit").addHandler(logging.NullHandler())
    logging.disable(logging.CRITICAL)
    sys.unraisablehook = lambda _: None
    run_seed(0)
    gc.collect()
    gc.freeze()
    gc.disable()
