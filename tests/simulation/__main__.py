"""``./dev simulate``: runs of the simulator, as many as a time has room for.

--seconds 60     how long (default 60)
--seed N         this run alone, with its story; with --seconds the first of many
--mutants        seed each fault of the list into a copy of the package, and see what finds it
--models         explore every state of the small models
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from collections.abc import Sequence

from .report import Report, print_story


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; 1 if something was found."""
    parser = argparse.ArgumentParser(prog="./dev simulate", description=__doc__)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--mutants", nargs="*", metavar="NAME")
    parser.add_argument("--models", action="store_true")
    chosen = parser.parse_args(arguments)
    if chosen.mutants is not None:
        from .mutants.search import search

        return search(chosen.mutants, seconds=chosen.seconds or 60.0)
    if chosen.models:
        from .models.all import explore_all

        return explore_all()
    if chosen.seed is not None and chosen.seconds is None:
        return replay(chosen.seed)
    seed = random.SystemRandom().randrange(10**9) if chosen.seed is None else chosen.seed
    return simulate(seed, chosen.seconds or 60.0)


def replay(seed: int) -> int:
    """One run, and all that happened in it."""
    from . import run

    run.prepare()
    outcome = run.run_seed(seed)
    print_story(outcome)
    return 1 if outcome.violations else 0


def simulate(seed: int, seconds: float) -> int:
    """Run after run from a seed on, until the time is over or one fails."""
    from . import run, shrink

    print(f"simulating for {seconds:g} s from seed {seed} on", flush=True)
    run.prepare()
    report = Report(seconds)
    while not report.is_over:
        outcome = run.run_seed(seed)
        report.add(outcome)
        if outcome.violations:
            report.print()
            print(f"\nFAILED: seed {seed}. Replay: ./dev simulate --seed {seed}\n")
            print_story(outcome)
            small = shrink.shrunk(outcome)
            print("\nThe smallest plan that was found to fail so:\n")
            print_story(small)
            return 1
        seed += 1
    report.print()
    return 0


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets of text is a part of a run
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    sys.exit(main())
