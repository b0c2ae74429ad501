"""The simulator itself: its runs can be replayed, its Redis is a Redis, its oracle finds faults."""

import ast
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from . import patches
from .plan import drawn
from .real_redis import differences
from .run import Run, run_seed
from .shrink import kind_of, shrunk

# What a killed worker leaves is thrown away by the garbage collector, which warns of it.
pytestmark = pytest.mark.filterwarnings("ignore")

#: Runs that are done in several orders.
ORDERED = range(964374417, 964374439)
#: Runs whose commands are replayed.
REPLAYED = range(20, 60)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Views that fail on purpose are logged by Quart."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def digests(seeds: Sequence[int]) -> dict[int, str]:
    """The schedules of these runs, one after another in a process of their own."""
    code = (
        "from tests.simulation import run; run.prepare(); "
        f"print({{seed: run.run_seed(seed).digest for seed in {list(seeds)}}})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    return dict(ast.literal_eval(done.stdout))


def test_a_run_depends_on_its_seed_alone() -> None:
    """Workers kept their fleet, deadlines and connections from run to run, and drew other names."""
    forwards, backwards = digests(ORDERED), digests(ORDERED[::-1])
    assert forwards == backwards
    for seed in ORDERED[::4]:
        assert digests([seed]) == {seed: forwards[seed]}


def test_a_real_redis_replies_to_all_commands_as_the_simulated_one_did(redis_url: str) -> None:
    count = 0
    for seed in REPLAYED:
        run = Run(replace(drawn(seed), faults=()))
        run.server.log = []
        with patches.applied(run.world, run.oracle, run.workers):
            run.go()
        replayed, different = differences(redis_url, run.server.log)
        assert different == [], f"seed {seed}"
        count += replayed
    assert count > 1000


@pytest.mark.parametrize("seed", range(300, 320))
def test_nothing_is_violated_in_these_runs(seed: int) -> None:
    assert run_seed(seed).violations == []


def test_a_failing_plan_is_made_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.simulation.checks.admitted_by_redis", lambda *_: 0)
    outcome = run_seed(300)
    small = shrunk(outcome)
    assert len(small.plan.actions) < len(outcome.plan.actions)
    assert kind_of(small.violations[0]) == kind_of(outcome.violations[0])
