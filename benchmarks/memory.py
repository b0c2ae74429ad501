"""Memory stores with many live keys: ``python -m benchmarks.memory [--keys 1000000] [--write]``.

Each store runs in a process of its own. While callers hit random keys of those that live, a
ticker in the same event loop measures how late it is called: the longest stall, full garbage
collections included (what was imported is frozen out of them). A stall is told in CPU time as
well, as other processes on the machine lengthen it otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from .kit import measure

AMOUNT, PERIOD = 1000, 86_400
#: Decisions between two looks of the ticker: so few that they are no stall themselves, and so many
#: that its turn of the event loop is a small part of their time.
BATCH = 100

Ask = Callable[[str], Awaitable[object]]


def ours(algorithm: str) -> Ask:
    """Our memory store."""
    from quart_ratelimit import Hit, quotas
    from quart_ratelimit.stores import MemoryStore

    store = MemoryStore(max_keys=10_000_000)
    quota = getattr(quotas, algorithm)(AMOUNT, PERIOD)

    async def ask(key: str) -> object:
        return await store.hit([Hit(quota, key)])

    return ask


def limits_memory() -> Ask:
    """The memory storage of ``limits.aio``."""
    from limits import RateLimitItemPerDay
    from limits.aio.storage import MemoryStorage
    from limits.aio.strategies import FixedWindowRateLimiter

    limiter, item = FixedWindowRateLimiter(MemoryStorage()), RateLimitItemPerDay(AMOUNT)

    async def ask(key: str) -> object:
        return await limiter.hit(item, key)

    return ask


def quart_rate_limiter() -> Ask:
    """The calls of quart-rate-limiter on its memory store: it never forgets a key."""
    from quart_rate_limiter.store import MemoryStore

    store, step = MemoryStore(), timedelta(seconds=PERIOD / AMOUNT)

    async def read(key: str) -> datetime:
        now = datetime.now(UTC)
        return max(await store.get(key, now), now)

    async def ask(key: str) -> object:
        await read(key)
        await store.set(key, await read(key) + step)
        return await read(key)

    return ask


STORES: dict[str, Callable[[], Ask]] = {
    "ours: fixed window": lambda: ours("FixedWindow"),
    "ours: sliding window": lambda: ours("SlidingWindow"),
    "ours: GCRA": lambda: ours("GCRA"),
    "limits.aio: fixed window": limits_memory,
    "quart-rate-limiter's calls": quart_rate_limiter,
}


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * 4096


async def fill(ask: Ask, keys: list[str], seconds: float) -> bool:
    """Hit every key once; false if that takes too long."""
    end = time.monotonic() + seconds
    for number, key in enumerate(keys):
        await ask(key)
        if number % 100 == 0:
            await asyncio.sleep(0)
            if time.monotonic() > end:
                return False
    return True


async def examine(name: str, count: int, seconds: float) -> dict[str, float]:
    """Fill one store, then hit it for so long."""
    ask = STORES[name]()
    await ask("warm")
    keys = [f"k{number:09d}" for number in range(count)]  # of 9 digits: an address is as long
    picked = random.Random(1).choices(keys, k=100_000)
    gc.collect()
    gc.freeze()
    before = resident()
    if not await fill(ask, keys, 120):
        return {}
    size = (resident() - before) / count
    # A key's text belongs to a request: the store that keeps it keeps it alive.
    size += sys.getsizeof(keys[0])
    done, stall, stall_cpu = 0, 0.0, 0.0
    started, cpu = time.perf_counter(), time.process_time()
    last, last_cpu = started, cpu
    while last < started + seconds:
        for number in range(done, done + BATCH):
            await ask(picked[number % len(picked)])
        done += BATCH
        await asyncio.sleep(0)
        if done % (1000 * BATCH) == 0:
            gc.collect()  # as allocations of an app would bring about now and then
        now, now_cpu = time.perf_counter(), time.process_time()
        stall, stall_cpu = max(stall, now - last), max(stall_cpu, now_cpu - last_cpu)
        last, last_cpu = now, now_cpu
    return {
        "rate": done / (last - started),
        "cpu": (last_cpu - cpu) / done * 1e6,
        "size": size,
        "stall": stall * 1000,
        "stall_cpu": stall_cpu * 1000,
    }


def in_a_process(name: str, count: int, seconds: float) -> dict[str, float]:
    """`examine` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.memory", "--one", name]
    command += ["--keys", str(count), "--seconds", str(seconds)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    result: dict[str, float] = json.loads(out.splitlines()[-1])
    return result


def figures(results: dict[str, list[dict[str, float]]]) -> str:
    """The table."""
    columns = ("rate", "cpu", "size", "stall", "stall_cpu")
    rows = []
    for name, samples in results.items():
        found = [one for one in samples if one]
        row = [measure.spread([one[column] for one in found]) for column in columns]
        rows.append([name, *row])
    head = ["", "decisions/s", "CPU µs", "bytes per key", "longest stall, ms", "its CPU, ms"]
    return measure.table(head, rows)


def targets(results: dict[str, list[dict[str, float]]]) -> str:
    """What was aimed at, and whether it is reached."""
    mine = results["ours: fixed window"]
    rows = [
        measure.verdict(
            "ours: decisions/s ≥ 400 000", [one["rate"] for one in mine], lambda x: x >= 400_000
        ),
        measure.verdict(
            "ours: bytes per key ≤ 250", [one["size"] for one in mine], lambda x: x <= 250
        ),
        measure.verdict("ours: stall ≤ 5 ms", [one["stall"] for one in mine], lambda x: x <= 5),
        measure.verdict(
            "ours: CPU of a stall ≤ 5 ms", [one["stall_cpu"] for one in mine], lambda x: x <= 5
        ),
    ]
    return measure.table(["target", "measured", "reached"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="100,000 keys, one round")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/")
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--only", default="", help="stores with this in their name")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(asyncio.run(examine(options.one, options.keys, options.seconds))))
        return
    if options.quick:
        options.keys, options.rounds, options.seconds = 100_000, 1, 1
    names = [name for name in STORES if options.only in name]
    results: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _, name in measure.shuffled_rounds(names, options.rounds):
        print(name, file=sys.stderr)
        results[name].append(in_a_process(name, options.keys, options.seconds))
    text = (
        f"{options.keys:,} live keys, medians of {options.rounds} rounds (least–most); `-` was not "
        f"filled within two minutes. {measure.versions()}.\n\n{figures(results)}"
    )
    if "ours: fixed window" in results:
        text += f"\n\n{targets(results)}"
    print(text)
    if options.write:
        measure.write_between("explanation/performance.md", "memory", text)


if __name__ == "__main__":
    main()
