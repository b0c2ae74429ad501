"""Minutes of random faults: ``python -m tests.support.soak --minutes 20``.

Callers hit a guarded store behind a proxy while the network and Redis fail at random. Wrong are: an
answer of another caller's, a count that is too high, an error that escapes, a key without expiry,
and memory, descriptors or tasks that grow. The seed is printed; exit status 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable

from quart_ratelimit.quotas import GCRA, FixedWindow, Hit, Quota, SlidingWindow
from quart_ratelimit.stores import GuardedStore, RedisStore

from .proxy import Proxy, add_stray, answer, cut, deliver, lose, reset
from .servers import RedisServer

#: No window by the clock turns while this runs.
YEAR = 31_104_000

#: Never refused: what remains tells each caller whether an answer is its own.
CANARIES: list[Quota] = [
    FixedWindow(10**9, YEAR, aligned=True),
    FixedWindow(10**9, YEAR),
    SlidingWindow(10**6, YEAR // 12),
]
#: Refused nearly always, so that refusals are remembered and forgotten.
TIGHT = GCRA(5, 1)

CALLERS = 24
#: Seconds between a caller's hits.
PAUSE = 0.08


class Soak:
    """One run."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.server = RedisServer()
        self.proxy = Proxy(self.server.port)
        self.seen: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.running = True

    async def caller(self, number: int) -> None:
        """Hits keys of its own: what remains of them must only ever shrink, by no more than asked.

        After Redis lost its memory it may start anew.
        """
        asked: Counter[str] = Counter()
        last: dict[str, tuple[int, int]] = {}
        while self.running:
            quota = self.chance.choice(CANARIES)
            key = f"caller-{number}"
            restarts = self.restarts
            (decision,) = await self.store.hit([Hit(quota, key)])
            self.seen[decision.by] += 1
            asked[quota.tag] += 1
            if decision.by == "store" and restarts == self.restarts:
                used = quota.amount - decision.remaining
                before, when = last.get(quota.tag, (0, restarts))
                if used > asked[quota.tag]:
                    self.wrong.append(f"{used} counted of {asked[quota.tag]} ({quota.algorithm})")
                if when == restarts and used <= before:
                    self.wrong.append(f"{used} follows {before} ({quota.algorithm})")
                last[quota.tag] = (used, restarts)
            (refusable,) = await self.store.hit([Hit(TIGHT, "all")])
            self.seen["allowed" if refusable else "refused"] += 1
            await asyncio.sleep(PAUSE * self.chance.random() * 2)

    async def trouble(self) -> None:
        """One fault after another, some seconds of peace between them."""
        faults: list[Callable[[], Awaitable[None]]] = [
            self.silence, self.losses, self.resets, self.strays, self.garbage, self.cuts,
            self.slowness, self.drops, self.freeze, self.restart, self.flush_scripts, self.pause,
        ]  # fmt: skip
        while self.running:
            await asyncio.sleep(self.chance.uniform(2, 8))
            fault = self.chance.choice(faults)
            self.faults[fault.__name__] += 1
            await fault()
            self.proxy.fault, self.proxy.silent, self.proxy.delay = deliver, False, 0

    async def _for_a_while(self) -> None:
        await asyncio.sleep(self.chance.uniform(0.1, 2))

    async def silence(self) -> None:
        self.proxy.silent = True
        await self._for_a_while()
        self.proxy.drop_all()

    async def losses(self) -> None:
        self.proxy.fault = lose
        await self._for_a_while()

    async def resets(self) -> None:
        self.proxy.fault = reset
        await self._for_a_while()

    async def strays(self) -> None:
        self.proxy.fault = add_stray
        await self._for_a_while()

    async def garbage(self) -> None:
        self.proxy.fault = answer(self.chance.randbytes(40) + b"\r\n")
        await self._for_a_while()

    async def cuts(self) -> None:
        self.proxy.fault = cut(self.chance.randrange(30))
        await self._for_a_while()

    async def slowness(self) -> None:
        self.proxy.delay = self.chance.choice([0.005, 0.02, 0.06, 0.2])
        await self._for_a_while()

    async def drops(self) -> None:
        self.proxy.drop_all()

    async def freeze(self) -> None:
        self.server.freeze()
        await self._for_a_while()
        self.server.thaw()

    async def restart(self) -> None:
        self.server.kill()
        await self._for_a_while()
        self.restarts += 1
        await asyncio.to_thread(self.server.start)
        self.restarts += 1

    async def flush_scripts(self) -> None:
        await asyncio.to_thread(self.server.ask, "SCRIPT", "FLUSH")

    async def pause(self) -> None:
        await asyncio.to_thread(self.server.ask, "CLIENT", "PAUSE", 500, "ALL")
        await asyncio.sleep(0.6)

    async def run(self, seconds: float) -> bool:
        """Whether all was right."""
        self.restarts = 0
        async with self.proxy:
            self.store = GuardedStore(RedisStore(self.proxy.url), remember_ms=1000)
            await self.store.start()
            callers = [asyncio.create_task(self.caller(number)) for number in range(CALLERS)]
            trouble = asyncio.create_task(self.trouble())
            await self._watch(seconds, [*callers, trouble])
            self.running = False
            await asyncio.gather(*callers, trouble)
            await asyncio.sleep(2)  # the breaker's longest pause
            (decision,) = await self.store.hit([Hit(CANARIES[0], "last")])
            if decision.by != "store":
                self.wrong.append("counting did not resume")
            await self.store.aclose()
        with self.server.client() as client:
            immortal = [key for key in client.scan_iter() if client.pttl(key) < 0]
        if immortal:
            self.wrong.append(f"{len(immortal)} keys without expiry")
        self.server.stop()
        print("faults", dict(self.faults), "answers", dict(self.seen))
        for line in self.wrong[:20]:
            print("WRONG", line)
        return not self.wrong

    async def _watch(self, seconds: float, tasks: list[asyncio.Task[None]]) -> None:
        """Note memory, descriptors and tasks ten times a run; the last half must not grow."""
        began = time.monotonic()
        samples = []
        for part in range(1, 11):
            end = began + seconds * part / 10
            while time.monotonic() < end:
                await asyncio.sleep(min(1, max(0, end - time.monotonic())))
                for task in tasks:
                    if task.done():
                        task.result()
            gc.collect()
            samples.append((memory(), len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())))
            kilobytes, descriptors, alive = samples[-1]
            print(
                f"{time.monotonic() - began:6.0f} s  {kilobytes} kB, {descriptors} descriptors, "
                f"{alive} tasks, {sum(self.seen.values())} answers",
                flush=True,
            )
        half = samples[4]
        if samples[-1][0] > half[0] * 1.02:
            self.wrong.append(f"memory grew from {half[0]} to {samples[-1][0]} kB")
        # A connection or two may be opening or closing as they are counted.
        for name, place in (("descriptors", 1), ("tasks", 2)):
            if samples[-1][place] > max(sample[place] for sample in samples[:5]) + 8:
                self.wrong.append(f"{name} grew: {[sample[place] for sample in samples]}")


def memory() -> int:
    """Kilobytes of this process in memory now."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    print("seed", options.seed, flush=True)
    right = asyncio.run(Soak(options.seed).run(options.minutes * 60))
    print("right" if right else "wrong")
    sys.exit(not right)


if __name__ == "__main__":
    main()
