"""The simulator for twenty minutes, from a new seed."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

#: Seconds; for a shorter or a longer night.
VARIABLE = "QUART_RATELIMIT_SIMULATE_SECONDS"


@pytest.mark.slow
def test_nothing_is_violated_in_twenty_minutes(tell: Callable[[int, str], None]) -> None:
    seconds = os.environ.get(VARIABLE, "1200")
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--seconds", seconds],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    runs = next(line for line in done.stdout.splitlines() if " runs in " in line)
    tell(int(runs.split()[0].replace(",", "")), "simulated runs")
