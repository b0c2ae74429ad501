"""docs/explanation/admitted.svg shows what the quotas do now."""

from xml.etree import ElementTree

import pytest

from benchmarks import plots


def test_the_drawing_is_the_commands() -> None:
    assert plots.PAGE.read_text("utf-8") == plots.drawing(), "run: python -m benchmarks.plots"
    ElementTree.fromstring(plots.drawing())


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("fixed-window", 39),
        ("sliding-window-counter", 37),
        ("strict-window", 20),
        ("moving-window", 20),
        ("gcra (20/minute)", 39),
        ("gcra (20/minute burst 5)", 24),
    ],
)
def test_what_the_drawing_says_of_the_most_in_a_minute(name: str, most: int) -> None:
    counts = plots.trailing(plots.admitted(plots.QUOTAS[name]))
    assert max(count for _, count in counts) == most
