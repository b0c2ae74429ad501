"""Leased quotas, simulated: ``python -m benchmarks.scale [--write]``. No clock, no network.

A worker that leases takes ``lease`` units from the shared counter at once and serves its clients
from them, without asking, until they are spent or the window ends. Two ways to charge a lease:

- *ahead*: the counter is charged when the lease is taken. Nothing is admitted beyond the amount;
  what a worker holds and does not use is lost to the others: at most ``workers * (lease - 1)``.
- *behind*: the worker admits first and charges the counter every ``lease`` units. Nothing is lost;
  beyond the amount are admitted at most ``workers * lease - 1`` a window.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass

from .kit import measure

WORKERS = (4, 16, 64)
LEASES = (1, 5, 25, 100)
AMOUNT, ASKED = 1000, 4000


@dataclass(frozen=True)
class Outcome:
    """One window of one key."""

    admitted: int
    #: Calls to the shared counter.
    calls: int


def ahead(workers: int, lease: int, asked: list[int]) -> Outcome:
    """Leases are charged when they are taken. ``asked``: the worker of each request, in order."""
    counter, calls, admitted = 0, 0, 0
    held = [0] * workers
    over = [False] * workers
    for worker in asked:
        if not held[worker] and not over[worker]:
            calls += 1
            got = min(lease, AMOUNT - counter)
            counter += got
            held[worker] = got
            over[worker] = not got  # remembered, as any refusal
        if held[worker]:
            held[worker] -= 1
            admitted += 1
    return Outcome(admitted, calls)


def behind(workers: int, lease: int, asked: list[int]) -> Outcome:
    """Admit first, and tell the counter every ``lease`` units."""
    counter, calls, admitted = 0, 0, 0
    untold = [0] * workers
    over = [False] * workers
    for worker in asked:
        if over[worker]:
            continue
        admitted += 1
        untold[worker] += 1
        if untold[worker] == lease:
            calls += 1
            counter += lease
            untold[worker] = 0
            over[worker] = counter >= AMOUNT
    return Outcome(admitted, calls)


def worst(kind: str, workers: int, lease: int) -> tuple[int, int, int]:
    """Most admitted beyond the amount, most of it withheld, and calls, in many windows."""
    decide = {"ahead": ahead, "behind": behind}[kind]
    beyond, withheld, calls = 0, 0, 0
    for seed in range(20):
        draw = random.Random(seed)
        # Skewed by more with each seed: some workers are asked a lot, and some hardly.
        weights = [1 / (1 + worker) ** (seed / 10) for worker in range(workers)]
        asked = draw.choices(range(workers), weights, k=ASKED)
        outcome = decide(workers, lease, asked)
        beyond = max(beyond, outcome.admitted - AMOUNT)
        withheld = max(withheld, AMOUNT - outcome.admitted)
        calls = max(calls, outcome.calls)
    # The worst case: every worker stops one unit short of a whole lease.
    short = [worker for worker in range(workers) for _ in range(lease - 1)]
    rest = [number % workers for number in range(ASKED)]
    outcome = decide(workers, lease, short + rest)
    beyond = max(beyond, outcome.admitted - AMOUNT)
    withheld = max(withheld, AMOUNT - outcome.admitted)
    if kind == "ahead":  # every worker takes a lease and uses one unit of it; one asks on
        outcome = decide(workers, lease, [*range(workers), *[0] * ASKED])
        withheld = max(withheld, AMOUNT - outcome.admitted)
    return max(0, beyond), max(0, withheld), calls


def table() -> str:
    """Leases by size, for several numbers of workers. Raises if a bound does not hold."""
    rows = []
    for workers in WORKERS:
        for lease in LEASES:
            for kind in ("ahead", "behind"):
                bound = workers * (lease - 1) if kind == "ahead" else workers * lease - 1
                beyond, withheld, calls = worst(kind, workers, lease)
                if kind == "ahead" and (beyond or withheld > bound):
                    raise AssertionError(f"{kind}: {beyond} beyond, {withheld} withheld > {bound}")
                if kind == "behind" and beyond > bound:
                    raise AssertionError(f"{kind}: {beyond} beyond > {bound}")
                counts = map(str, (bound, beyond, withheld, calls))
                rows.append([str(workers), str(lease), kind, *counts])
    head = ["workers", "lease", "charged", "bound", "most beyond", "most withheld", "calls"]
    return measure.table(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="put the table into docs/")
    options = parser.parse_args()
    text = f"A limit of {AMOUNT} a window, {ASKED} requests.\n\n{table()}"
    print(text)
    if options.write:
        measure.write_between("explanation/scale.md", "leases", text)


if __name__ == "__main__":
    main()
