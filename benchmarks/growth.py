"""What a decision costs as keys and limits grow: ``python -m benchmarks.growth [--write]``.

Questions on a real Redis: CPU a decision with 100 to 1,000,000 live keys there, and with 1 to 8
limits a request; the same where each hit is a key's first, which Redis has to make; and Redis' own
CPU a hit beside the bare ``INCRBY`` and ``EXPIRE NX``.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from quart_ratelimit.quotas import FixedWindow
from tests.support.servers import RedisServer

from .decisions import Sample, sample
from .kit import measure
from .kit.contenders import AMOUNT, PERIOD, Ask, Contender, ours

CALLERS = 64
KEYS = (100, 10_000, 1_000_000)
#: At most so many of them are hit, at random: more than a round comes to.
HIT = 200_000
LIMITS = (1, 2, 4, 8)
FIRST = ", first hits"
#: What a minute and its multiples are to several limits of one request.
STEP = 60
CLOCK = FixedWindow(AMOUNT, PERIOD, aligned=True)
SCRIPT = FixedWindow(AMOUNT, PERIOD)


@asynccontextmanager
async def bare(url: str) -> AsyncIterator[Ask]:
    """As many ``INCRBY`` and ``EXPIRE NX`` a pipeline as there are callers, and nothing else."""
    import redis.asyncio

    client = redis.asyncio.Redis.from_url(url)
    waiting: list[tuple[str, asyncio.Future[bool]]] = []

    async def send() -> None:
        batch = waiting.copy()
        waiting.clear()
        async with client.pipeline(transaction=False) as pipe:
            for key, _ in batch:
                pipe.incrby(key, 1)
                pipe.expire(key, PERIOD, nx=True)
            await pipe.execute()
        for _, caller in batch:
            caller.set_result(True)

    tasks = set()

    async def ask(key: str) -> bool:
        caller = asyncio.get_running_loop().create_future()
        waiting.append((f"{key}:1", caller))
        if len(waiting) == CALLERS:
            tasks.add(asyncio.create_task(send()))
        return await caller

    yield ask
    await client.aclose()


#: A contender, its number of keys, and its number of limits.
Case = tuple[str, int, int]


def cases() -> dict[Case, Contender]:
    found: dict[Case, Contender] = {}
    for count in KEYS:
        found["fixed window by the clock", count, 1] = ours(CLOCK)
        found["fixed window", count, 1] = ours(SCRIPT)
    found[f"fixed window by the clock{FIRST}", KEYS[-1], 1] = ours(CLOCK)
    found[f"fixed window{FIRST}", KEYS[-1], 1] = ours(SCRIPT)
    for count in LIMITS:
        several = [FixedWindow(AMOUNT, STEP * (1 + number)) for number in range(count)]
        found["fixed windows of one request", 1000, count] = ours(*several)
    return found


async def run(
    rounds: int, seconds: float
) -> tuple[dict[Case, list[Sample]], dict[str, list[float]]]:
    """Samples of each case; Redis' us a hit, of ours and of the bare commands."""
    results: dict[Case, list[Sample]] = defaultdict(list)
    hits: dict[str, list[float]] = defaultdict(list)
    server = RedisServer()
    found = cases()
    for number, case in measure.shuffled_rounds(list(found), rounds):
        print(f"round {number + 1} of {rounds}: {case}", file=sys.stderr)
        keys = [f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in range(case[1])]
        random.Random(number).shuffle(keys)
        del keys[HIT:]
        live = () if case[0].endswith(FIRST) else keys
        async with found[case](server.url) as ask:
            results[case].append(
                await sample(server, ask, keys, CALLERS, seconds, others=case[1], live=live)
            )
    for _ in range(rounds):
        for name, contender in (("ours", ours(CLOCK)), ("bare", bare)):
            async with contender(server.url) as ask:
                hits[name].append(await in_redis(server, ask))
    server.stop()
    return results, hits


async def in_redis(server: RedisServer, ask: Ask, turns: int = 300) -> float:
    """Redis' CPU a hit in us, at as many callers a turn."""
    keys = [f"10.0.{n >> 8}.{n & 255}" for n in range(CALLERS * 16)]
    server.ask("FLUSHALL")
    before = measure.redis_cpu(server)
    for turn in range(turns):
        first = turn % 16 * CALLERS
        await asyncio.gather(*[ask(key) for key in keys[first : first + CALLERS]])
    return (measure.redis_cpu(server) - before) / (turns * CALLERS) * 1e6


def report(results: dict[Case, list[Sample]], hits: dict[str, list[float]]) -> str:
    """Both tables and the targets."""
    rows = []
    for (name, keys, limits), samples in results.items():
        cpu = [one.cpu + one.redis for one in samples]
        row = [[one.rate for one in samples], cpu, [one.redis for one in samples]]
        rows.append([name, f"{keys:,}", str(limits), *map(measure.spread, row)])
    rows.sort(key=lambda row: (row[0], int(row[1].replace(",", "")), int(row[2])))
    head = ["", "keys", "limits", "decisions/s", "CPU µs, ours and Redis'", "Redis µs"]
    aims = []
    for name in ("fixed window by the clock", "fixed window"):
        few, many = results[name, KEYS[0], 1], results[name, KEYS[-1], 1]
        values = [(b.cpu + b.redis) / (a.cpu + a.redis) for a, b in zip(few, many, strict=True)]
        what = f"{name}: CPU with {KEYS[-1]:,} keys / {KEYS[0]}: 0.8 to 1.2"
        aims.append(measure.verdict(what, values, lambda x: 0.8 <= x <= 1.2))
    name = "fixed windows of one request"
    one, eight = results[name, 1000, 1], results[name, 1000, 8]
    values = [(b.cpu + b.redis) / (a.cpu + a.redis) for a, b in zip(one, eight, strict=True)]
    aims.append(measure.verdict("CPU with 8 limits / 1: ≤ 8", values, lambda x: x <= 8))
    values = [mine / plain for mine, plain in zip(hits["ours"], hits["bare"], strict=True)]
    what = "Redis CPU a hit / bare INCRBY and EXPIRE NX: ≤ 1.2"
    aims.append(measure.verdict(what, values, lambda x: x <= 1.2))
    return "\n\n".join(
        [measure.table(head, rows), measure.table(["target", "measured", "reached"], aims)]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few and short rounds")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1)
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 3, 0.3
    results, hits = asyncio.run(run(options.rounds, options.seconds))
    text = (
        f"{CALLERS} callers, medians of {options.rounds} rounds (least–most). "
        f"{measure.versions()}.\n\n{report(results, hits)}"
    )
    print(text)
    if options.write:
        measure.write_between("explanation/performance.md", "growth", text)


if __name__ == "__main__":
    main()
