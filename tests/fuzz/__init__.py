"""Fuzzers that are commands, ``python -m tests.fuzz.headers 1000000``, and short tests as well."""

import sys
import time
from collections import Counter
from collections.abc import Callable


def main(run: Callable[[int, int], "Counter[str]"]) -> None:
    """Run so many cases (argument 1) from a seed (argument 2) and print how many of each kind."""
    cases = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns()
    began = time.perf_counter()
    counts = run(cases, seed)
    for kind, count in sorted(counts.items()):
        print(f"{count:>9,}  {kind}")
    print(
        f"{sum(counts.values()):>9,}  in all, in {time.perf_counter() - began:.1f} s, seed {seed}"
    )
