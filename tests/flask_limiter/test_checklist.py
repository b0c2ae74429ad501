"""Each entry of the checklist names a test that exists, or a reason why it has none."""

import importlib
import inspect

import pytest

from .checklist import CHECKLIST, NOT_KEPT

NAMES = [
    pytest.param(where, id=f"{module}.{name}")
    for module, names in CHECKLIST.items()
    for name, where in names.items()
]


def test_the_list_holds_all_of_the_suite() -> None:
    assert sum(map(len, CHECKLIST.values())) == 127


@pytest.mark.parametrize("where", NAMES)
def test_it_is_tested_here_or_there_is_a_reason(where: str | tuple[str, str]) -> None:
    if isinstance(where, str):
        assert NOT_KEPT[where]
        return
    module = importlib.import_module(f".{where[0]}", __package__)
    assert inspect.isfunction(getattr(module, where[1], None)), f"{where} is gone"
