"""No order of steps of the small models is wrong, and the outage's bound is the one that is met."""

import pytest

from .models import outage
from .models.all import MODELS

#: Models that take longer.
LONGER = ("refund", "cluster")


@pytest.mark.parametrize("name", [name for name in MODELS if name not in LONGER])
def test_no_order_of_steps_is_wrong(name: str) -> None:
    explored = MODELS[name]()
    assert explored.violations == []
    assert explored.states > 100


@pytest.mark.slow
@pytest.mark.parametrize("name", LONGER)
def test_no_order_of_steps_is_wrong_in_larger_models(name: str) -> None:
    explored = MODELS[name]()
    assert explored.violations == []
    assert explored.states > 100


def test_the_bound_of_an_outage_is_reached_and_never_exceeded() -> None:
    explored = outage.model()
    assert explored.worst == outage.worst_case(outage.AMOUNT, outage.WORKERS)
