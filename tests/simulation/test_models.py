"""No order of steps of the small models is wrong."""

import pytest

from .models.all import MODELS

#: Models that take longer.
LONGER = ("refund", "outage")


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
