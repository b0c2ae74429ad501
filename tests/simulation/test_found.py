"""Faults that the simulator found, each as the smallest plan that failed before it was mended."""

import logging
from collections.abc import Iterator

import pytest

from .plan import Action, Fault, Plan, WorkerPlan
from .run import run_plan, run_seed

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def worker(number: int = 0, **more: object) -> WorkerPlan:
    usual = WorkerPlan(f"worker{number}", 0.0, 0, 0.002, "local", True, 4, None)
    return WorkerPlan(**{**vars(usual), **more})  # type: ignore[arg-type]


def action(kind: str, at: float, **more: object) -> Action:
    usual = Action(at, 8, "worker0", kind, "turning", "client", 1, "return", 0.0, None)
    return Action(**{**vars(usual), **more})  # type: ignore[arg-type]


def test_a_refund_takes_nothing_from_the_window_after_the_one_that_was_charged() -> None:
    """A hit that is sent as its window ends, or when Redis' clock was set, is decided after it."""
    plan = Plan(
        seed=8,
        workers=(worker(connections=1),),
        actions=(action("reserve", 0.717, how="raise"),),
        faults=(Fault(0.662, "clock jump", 0.0, "worker0", 0.759),),
        length=1.0,
        jitter=0.3,
        halved=0.0,
    )
    assert run_plan(plan).violations == []


def test_a_client_that_leaves_while_redis_is_away_leaves_no_unseen_error() -> None:
    plan = Plan(
        seed=179,
        workers=(worker(policy="raise"),),
        actions=(action("in_flight", 0.5, leaves=1),),
        faults=(Fault(0.3, "restart", 0.5, "worker0", 0.2),),
        length=1.0,
        jitter=0.3,
        halved=0.0,
    )
    assert run_plan(plan).violations == []


def test_a_client_that_leaves_a_reset_that_fails_leaves_no_unseen_error() -> None:
    """Seed 5, when a reset went on without its caller for the first time."""
    assert run_seed(5).violations == []


def test_a_look_at_a_busy_redis_follows_the_policy_when_it_asks_the_time_as_well() -> None:
    """Redis refused ``GET`` and ``TIME``, and the error was read as a time."""
    plan = Plan(
        seed=1,
        workers=(worker(latency=0.0002),),
        actions=(action("peek", 2.5),),
        faults=(Fault(2.0, "busy", 1.5, "worker0", 0.5),),
        length=3.0,
        jitter=0.05,
        halved=0.0,
    )
    assert run_plan(plan).violations == []


def test_what_redis_said_of_a_key_is_known_after_a_charge_that_had_nothing_to_charge() -> None:
    """Seed 501453738: a key that fails alone got its amount anew each time that another key was
    decided."""
    hits = [
        action("hit", 0.85, limit="log", cost=3),
        action("refund", 0.91, limit="log", cost=2, takes=0.27, how="raise"),
        action("hit", 1.36, limit="log", cost=3),
        action("hit", 1.47, limit="log", cost=2),
    ]
    plan = Plan(
        seed=501453738,
        workers=(worker(latency=0.0002),),
        actions=tuple(hits),
        faults=(Fault(0.88, "poison", 0.0, "worker0", 0.46),),
        length=3.0,
        jitter=0.05,
        halved=0.0,
    )
    assert run_plan(plan).violations == []


def test_a_busy_redis_that_says_a_hit_did_not_count_is_believed() -> None:
    """Hits were sent to a busy Redis, which then said that it had not counted them: the next hit
    that the worker decided alone was refused for them all the same."""
    assert run_seed(650494830).violations == []


def test_a_connection_that_was_reset_in_the_pool_decides_no_hit_by_the_policy() -> None:
    assert run_seed(791148250).violations == []


def test_the_set_of_workers_expires_when_a_worker_dies_after_redis_lost_all_keys() -> None:
    plan = Plan(
        seed=930003502,
        workers=(worker(latency=0.0005, deadline=0.5),),
        actions=(action("hit", 1.3141),),
        faults=(
            Fault(1.1227, "restart empty", 0.1, "worker0", 0.72),
            Fault(1.3463, "kill worker", 0.0, "worker0", 0.31),
        ),
        length=2.0,
        jitter=0.3,
        halved=0.0,
    )
    assert run_plan(plan).violations == []


@pytest.mark.parametrize(
    "seed",
    [
        40000870,  # a take of a place, after its release
        40010698,
        40011184,
        920001512,  # a hit, in a window that was over when its client called
    ],
)
def test_what_was_given_up_is_not_delivered_when_the_way_is_free_again(seed: int) -> None:
    assert run_seed(seed).violations == []


@pytest.mark.parametrize(
    "seed",
    [
        704268846,  # the oracle did not see what a late charge was told
        40822518,  # the oracle forgot what was admitted alone when Redis decided without it
        40822481,  # the oracle knew of no give-back that waits for a late charge
        629193082,  # the oracle took a worker's registration for a place
        629193086,  # the oracle did not see what was given back in a worker's memory
        786321638,  # the oracle took a reset that goes on without its caller for done
        159423120,  # the oracle did not know that a worker goes by Redis' clock, which was set
        940000241,  # a network that was slow twice at a time stayed slow
        930000426,  # the oracle did not know that one call alone tries a Redis that hung
        964374437,  # a worker kept its fleet from another run
        321454372,  # the oracle did not know that a given-up hit runs until its reset arrives
    ],
)
def test_a_run_that_failed_by_a_fault_of_the_simulator_passes(seed: int) -> None:
    assert run_seed(seed).violations == []
