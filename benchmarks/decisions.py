"""Decisions in Redis, ours beside its peers: ``python -m benchmarks.decisions``.

One process, one event loop, a redis-server of its own; so many callers ask, each again as soon as
it is answered. Every round measures all contenders in another order; ratios are taken within a
round. CPU is this process's, by its own accounting, and Redis', by its own.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import sys
import time
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from tests.support.servers import RedisServer

from .kit import measure, plot
from .kit.contenders import BASE, FIXED, PEERS, SCRIPTED, SEVERAL, SINGLE, Ask

KEYS = tuple(f"203.0.113.{number}" for number in range(1000))
HOT = ("203.0.113.7",)
CALLERS = (1, 64, 128, 512, 2000)
#: At how many callers the hot key and several limits are measured.
USUAL = 64
PLOTTED = (
    FIXED,
    "ours: GCRA",
    BASE,
    "limits.aio: fixed window",
    "throttled-py: fixed window",
    "quart-rate-limiter's calls",
)


@dataclass(frozen=True)
class Sample:
    """One contender for some tenths of a second."""

    #: Decisions a second.
    rate: float
    #: CPU of this process a decision, and of Redis, in us.
    cpu: float
    redis: float
    #: Latencies in ms.
    p50: float
    p99: float
    errors: Counter[str]


#: Who, how many callers, and "keys", "hot" or "several".
Case = tuple[str, int, str]
Results = dict[Case, list[Sample]]


async def sample(
    server: RedisServer,
    ask: Ask,
    keys: Sequence[str],
    callers: int,
    seconds: float,
    others: int = 0,
    live: Sequence[str] = (),
) -> Sample:
    """Ask for so long, beside so many other keys; what is under way then counts, too.

    The keys that are ``live`` were hit before.
    """
    server.ask("FLUSHALL")
    if others:
        server.ask("DEBUG", "POPULATE", others, "other")
    for start in range(0, len(live), callers):
        await asyncio.gather(*[ask(key) for key in live[start : start + callers]])
    # Connections are opened before, by as many callers.
    first = [ask(keys[number % len(keys)]) for number in range(callers)]
    await asyncio.gather(*first, return_exceptions=True)
    gc.collect()
    took, errors = array("d"), Counter[str]()
    clock = time.perf_counter
    redis_before, cpu_before = measure.redis_cpu(server), time.process_time()
    started = clock()

    async def caller(number: int) -> None:
        while (before := clock()) < started + seconds:
            try:
                await ask(keys[number % len(keys)])
            except Exception as error:
                errors[type(error).__name__] += 1
                await asyncio.sleep(0)  # an error at once must not keep the loop from the others
            else:
                took.append(clock() - before)
            number += 37

    await asyncio.gather(*[caller(number) for number in range(callers)])
    elapsed, cpu = clock() - started, time.process_time() - cpu_before
    redis = measure.redis_cpu(server) - redis_before
    cuts = statistics.quantiles(took, n=100) if len(took) > 1 else [float("nan")] * 99
    count = len(took) or 1
    return Sample(
        len(took) / elapsed,
        cpu / count * 1e6,
        redis / count * 1e6,
        cuts[49] * 1000,
        cuts[98] * 1000,
        errors,
    )


async def run(cases: Sequence[Case], rounds: int, seconds: float) -> Results:
    """All cases, in so many rounds."""
    results: Results = defaultdict(list)
    server = RedisServer()
    async with AsyncExitStack() as stack:
        known = {**SINGLE, **SEVERAL}
        asks = {
            name: await stack.enter_async_context(known[name](server.url))
            for name in dict.fromkeys(name for name, _, _ in cases)
        }
        # What all contenders import is no app's: the collector would stop the loop to walk it.
        gc.collect()
        gc.freeze()
        for number, case in measure.shuffled_rounds(cases, rounds):
            name, callers, kind = case
            keys = HOT if kind == "hot" else KEYS
            results[case].append(await sample(server, asks[name], keys, callers, seconds))
            print(f"round {number + 1} of {rounds}: {name}, {callers}", file=sys.stderr)
    server.stop()
    return results


def figures(results: Results, kind: str, callers: Sequence[int], names: Sequence[str]) -> str:
    """One kind's table."""
    head = ["", "callers", "decisions/s", "CPU µs", "Redis µs", "p50 ms", "p99 ms", "errors"]
    rows = []
    for count in callers:
        for name in names:
            samples = results.get((name, count, kind))
            if not samples:
                continue
            errors = sum((one.errors for one in samples), Counter())
            text = ", ".join(f"{n} {error}" for error, n in errors.items()) or "0"
            rows.append(
                [
                    name,
                    str(count),
                    measure.spread([one.rate for one in samples]),
                    measure.figure(measure.median([one.cpu for one in samples])),
                    measure.figure(measure.median([one.redis for one in samples])),
                    measure.figure(measure.median([one.p50 for one in samples])),
                    measure.figure(measure.median([one.p99 for one in samples])),
                    text,
                ]
            )
    return measure.table(head, rows)


def ratios(
    results: Results, ours: Case, others: Sequence[Case], of: Callable[[Sample], float]
) -> list[float]:
    """Ours to the highest of the others, round by round."""
    found = []
    for number, mine in enumerate(results[ours]):
        theirs = [of(results[case][number]) for case in others if case in results]
        found.append(of(mine) / max(theirs))
    return found


def targets(results: Results) -> str:
    """What was aimed at, and whether it is reached."""

    def at(name: str, callers: int) -> Case:
        return (name, callers, "keys")

    def rate(one: Sample) -> float:
        return one.rate

    rows = []

    def aim(what: str, values: list[float], holds: Callable[[float], bool]) -> None:
        rows.append(measure.verdict(what, values, holds))

    peers_64 = [at(name, 64) for name in PEERS]
    base_64 = ratios(results, at(FIXED, 64), [at(BASE, 64)], rate)
    aim(f"fixed window by the clock / {BASE}, 64 callers: ≥ 3.5", base_64, lambda x: x >= 3.5)
    best_64 = ratios(results, at(FIXED, 64), peers_64, rate)
    aim("fixed window by the clock / best peer, 64 callers: ≥ 2.5", best_64, lambda x: x >= 2.5)
    for name in SCRIPTED:
        values = ratios(results, at(name, 64), peers_64, rate)
        what = f"{name.removeprefix('ours: ')} (script) / best peer, 64 callers: ≥ 6"
        aim(what, values, lambda x: x >= 6)
    peers_1 = [at(name, 1) for name in (BASE, *PEERS)]
    for name in (FIXED, *SCRIPTED):
        values = ratios(results, at(name, 1), peers_1, rate)
        what = f"{name.removeprefix('ours: ')} / best peer, 1 caller: ≥ 1"
        aim(what, values, lambda x: x >= 1)
    for callers in (512, 2000):
        for name in (FIXED, *SCRIPTED):
            values = ratios(results, at(name, callers), [at(name, 64)], rate)
            errors = sum(sum(one.errors.values()) for one in results[at(name, callers)])
            what = f"{name.removeprefix('ours: ')}, {callers} callers / 64: ≥ 0.8, no error"
            aim(f"{what} ({errors})", values, lambda x, e=errors: x >= 0.8 and not e)
    tail = ratios(results, at(FIXED, 128), [at(BASE, 128)], lambda one: one.p99)
    aim(f"p99 of fixed window by the clock / {BASE}, 128 callers: ≤ 0.2", tail, lambda x: x <= 0.2)
    return measure.table(["target", "measured", "reached"], rows)


def drawing(results: Results, callers: Sequence[int]) -> str:
    """Decisions a second, and p99, against concurrency."""

    def line(name: str, of: Callable[[Sample], float]) -> dict[int, float]:
        samples = {count: results[name, count, "keys"] for count in callers}
        # Where all were errors there is nothing to draw.
        return {
            count: measure.median([of(one) for one in found if one.rate])
            for count, found in samples.items()
            if any(one.rate for one in found)
        }

    def lines(of: Callable[[Sample], float]) -> dict[str, dict[int, float]]:
        return {name: line(name, of) for name in PLOTTED}

    return plot.svg(
        [
            plot.Panel("decisions a second", lines(lambda one: one.rate)),
            plot.Panel("p99, ms", lines(lambda one: one.p99), log=True),
        ],
        "concurrent callers",
    )


def cases_of(callers: Sequence[int], only: str) -> list[Case]:
    """Every contender at every concurrency; hot key and several limits at one."""
    every = [(name, count, "keys") for count in callers for name in SINGLE]
    every += [(name, USUAL, "hot") for name in SINGLE]
    every += [(name, USUAL, "several") for name in SEVERAL]
    return [case for case in every if only in case[0]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few and short rounds")
    parser.add_argument("--write", action="store_true", help="put table and plot into docs/")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each sample")
    parser.add_argument("--callers", type=int, nargs="+", default=CALLERS)
    parser.add_argument("--only", default="", help="contenders with this in their name")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 3, 0.15
    results = asyncio.run(
        run(cases_of(options.callers, options.only), options.rounds, options.seconds)
    )
    callers = options.callers
    parts = [
        f"Medians of {options.rounds} rounds of {options.seconds} s (least–most). "
        f"{measure.versions()}.",
        "1,000 keys, one limit a request:",
        figures(results, "keys", callers, list(SINGLE)),
        "One hot key:",
        figures(results, "hot", [USUAL], list(SINGLE)),
        "Three limits a request, 1,000 keys:",
        figures(results, "several", [USUAL], list(SEVERAL)),
    ]
    whole = not options.only and set(CALLERS) <= set(callers)
    if whole:
        parts.append("Targets, as ratios within a round:")
        parts.append(targets(results))
    text = "\n\n".join(parts)
    print(text)
    if options.write:
        if not whole:
            parser.error("--write needs all contenders at all concurrencies")
        measure.write_between("explanation/performance.md", "decisions", text)
        (measure.DOCS / "explanation" / "decisions.svg").write_text(
            drawing(results, callers), "utf-8"
        )


if __name__ == "__main__":
    main()
