"""Plants each seeded fault, and looks how long the simulator and the models take to find it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from . import ALL
from .mutant import Mutant

ROOT = Path(__file__).parents[3]


def search(names: Sequence[str], *, seconds: float) -> int:
    """Print the table of `proof.md`: what found each mutant, after how much; 1 if one was not."""
    chosen = [mutant for mutant in ALL if not names or mutant.name in names]
    print(
        "| seeded fault | what is wrong | found by | after |\n| --- | --- | --- | --- |", flush=True
    )
    found = 0
    for mutant in chosen:
        told = _hunted(mutant, seconds)
        finder, _, violation = told.by.partition(": ")
        found += bool(finder)
        after = told.after if finder else f"not after {told.after}"
        print(f"| {mutant.name} | {mutant.what} | {finder or 'NOT FOUND'} | {after} |", flush=True)
        print(violation, file=sys.stderr, flush=True)
    print(f"\n{found} of {len(chosen)} found")
    return 0 if found == len(chosen) else 1


class Told(NamedTuple):
    """What found a fault, and after how many runs or states."""

    by: str
    after: str


def _hunted(mutant: Mutant, seconds: float) -> Told:
    with tempfile.TemporaryDirectory() as folder:
        mutant.plant(Path(folder))
        paths = os.pathsep.join([folder, str(ROOT)])
        done = subprocess.run(
            [sys.executable, "-m", "tests.simulation.mutants.hunt", str(seconds), mutant.model],
            env={**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": "0"},
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    last = done.stdout.strip().splitlines()[-1:] or [""]
    try:
        told = json.loads(last[0])
    except json.JSONDecodeError:
        raise RuntimeError(f"{mutant.name} stopped the search: {done.stderr[-2000:]}") from None
    return Told(told["by"], told["after"])
