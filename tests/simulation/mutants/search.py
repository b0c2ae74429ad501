"""Plants each seeded fault, and looks how long the simulator and the models take to find it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from . import ALL
from .mutant import Mutant

ROOT = Path(__file__).parents[3]


def search(names: Sequence[str], *, seconds: float) -> int:
    """Print who found each mutant, and after how much; 1 if one was not found."""
    chosen = [mutant for mutant in ALL if not names or mutant.name in names]
    print("| fault | found by | runs or states | seconds |\n|---|---|---|---|", flush=True)
    found = 0
    for mutant in chosen:
        began = time.monotonic()
        told = _hunted(mutant, seconds)
        found += bool(told["by"])
        print(
            f"| {mutant.name}: {mutant.what} | {told['by'] or 'NOT FOUND'} | {told['count']:,} "
            f"| {time.monotonic() - began:.0f} |",
            flush=True,
        )
    print(f"\n{found} of {len(chosen)} found")
    return 0 if found == len(chosen) else 1


def _hunted(mutant: Mutant, seconds: float) -> dict[str, object]:
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
        told: dict[str, object] = json.loads(last[0])
    except json.JSONDecodeError:
        return {"by": f"failed at start: {done.stderr.strip()[-60:]}", "count": 0}
    return told
