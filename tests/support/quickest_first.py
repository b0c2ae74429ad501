"""A pytest plugin for ``./dev mutate``: runs the quickest tests first; most mutants end there."""

import json
from pathlib import Path

import pytest

#: Where mutmut leaves what each test took, beside the tests that it runs.
TIMES = Path("mutmut-stats.json")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests; mutmut names them in no order."""
    if TIMES.exists():
        times = json.loads(TIMES.read_text("utf-8"))["duration_by_test"]
        items.sort(key=lambda item: times.get(item.nodeid, 0))
