"""What faults cost and what they cannot do, measured: ``python -m benchmarks.reliability``.

Starts its own redis-servers, Sentinels and Cluster, breaks them, and prints the table of
docs/explanation/reliability.md; ``--write`` puts it there. Takes about three minutes.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import quantiles
from typing import NamedTuple

from quart_ratelimit import Decision, FixedWindow, Hit, StoreError
from quart_ratelimit.clients.keys import slot_key
from quart_ratelimit.clients.proxies import TrustedProxies
from quart_ratelimit.stores import ClusterStore, GuardedStore, MemoryStore, RedisStore, Store
from tests.support.cluster import Cluster
from tests.support.proxy import Proxy, lose, reset
from tests.support.sentinel import Sentinels
from tests.support.servers import RedisServer

from . import joining, outage
from .kit.measure import write_between

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "explanation" / "reliability.md"

WIDE = FixedWindow(10_000_000, 86_400, aligned=True)
SCRIPTED = FixedWindow(10_000_000, 86_400)
THOUSAND = FixedWindow(1_000, 86_400, aligned=True)

WORKER = "import sys; from benchmarks.reliability import worker; worker(*sys.argv[1:])"


class Row(NamedTuple):
    """One figure beside its target."""

    what: str
    target: str
    measured: str
    met: bool


async def outcome(store: Store, hit: Hit) -> Decision | None:
    """The decision; None if the store could not decide."""
    try:
        return (await store.hit([hit]))[0]
    except StoreError:
        return None


def worker(url: str, hits: str) -> None:
    """In a process of its own, once it is told to: print what remains at each admission."""

    async def run() -> None:
        store = RedisStore(url, deadline=5)
        await store.start()
        print("ready", flush=True)
        sys.stdin.readline()

        async def caller() -> None:
            for _ in range(int(hits) // 50):
                (decision,) = await store.hit([Hit(THOUSAND, "all")])
                if decision.allowed:
                    print(decision.remaining, flush=True)

        await asyncio.gather(*[caller() for _ in range(50)])
        await store.aclose()

    asyncio.run(run())


def start_worker(url: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WORKER, url, "5000"]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)


async def workers() -> list[Row]:
    """Four workers, one of them killed amid 20,000 hits on one key with a limit of 1,000."""
    server = RedisServer()
    running = [start_worker(server.url) for _ in range(4)]
    outputs = [process.stdout for process in running if process.stdout is not None]
    for output in outputs:
        output.readline()
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [int(outputs[0].readline())]
    running[0].send_signal(signal.SIGKILL)
    told += [int(line) for process in running for line in process.communicate()[0].split()]
    with server.client() as client:
        immortal = sum(client.pttl(key) < 0 for key in client.scan_iter())
    server.stop()
    twice, over = len(told) - len(set(told)), max(0, len(told) - 1_000)
    what = f"admitted beyond 1,000 by 4 workers, one killed meanwhile ({len(told)} replies)"
    return [
        Row(what, "0", f"{over}", not over),
        Row("the same count returned to two callers", "0", f"{twice}", not twice),
        Row("keys without expiry after it", "0", f"{immortal}", not immortal),
    ]


async def lost_replies(times: int = 500) -> list[Row]:
    """Redis carried the hit out, and its answer is lost or the connection reset."""
    server = RedisServer()
    double = 0
    async with Proxy(server.port) as proxy:
        store = RedisStore(proxy.url, deadline=0.05)
        await store.start()
        for number in range(2 * times):
            who, quota = f"client-{number}", (WIDE, SCRIPTED)[number % 2]
            proxy.match, proxy.times = who.encode(), 1
            proxy.fault = lose if number < times else reset
            await outcome(store, Hit(quota, who))
            look = await outcome(store, Hit(quota, who, 0)) or await outcome(
                store, Hit(quota, who, 0)
            )
            double += look is not None and quota.amount - look.remaining > 1
        await store.aclose()
    server.stop()
    return [Row("hits counted twice, of 1,000 lost replies", "0", f"{double}", not double)]


async def cancellations(rounds: int = 6_000) -> list[Row]:
    """Callers cancelled after a random number of turns; each next caller's count must be right."""
    server, chance = RedisServer(), random.Random(1)
    store = RedisStore(server.url, deadline=5)
    await store.start()
    wrong = 0
    for number in range(rounds):
        quota = (WIDE, SCRIPTED)[number % 2]
        leaving = asyncio.ensure_future(store.hit([Hit(quota, "leaving")]))
        for _ in range(chance.randrange(40)):
            await asyncio.sleep(0)
        leaving.cancel()
        (decision,) = await store.hit([Hit(quota, "following")])
        wrong += quota.amount - decision.remaining != number // 2 + 1
        await asyncio.gather(leaving, return_exceptions=True)
    await store.aclose()
    server.stop()
    return [Row(f"wrong answers after {rounds:,} cancelled calls", "0", f"{wrong}", not wrong)]


async def timed(guard: Store, seconds: float, callers: int) -> list[tuple[float, str]]:
    """What each hit of so many callers took (ms), and who decided it."""
    waits: list[tuple[float, str]] = []
    end = time.monotonic() + seconds

    async def caller() -> None:
        while time.monotonic() < end:
            began = time.perf_counter()
            (decision,) = await guard.hit([Hit(WIDE, "ann")])
            waits.append(((time.perf_counter() - began) * 1000, decision.by))
            await asyncio.sleep(0.02)

    await asyncio.gather(*[caller() for _ in range(callers)])
    return waits


async def recovery(guard: Store, limit: float = 5) -> float:
    """Seconds until the store decides again."""
    began = time.monotonic()
    while time.monotonic() < began + limit:
        (decision,) = await guard.hit([Hit(WIDE, "ann")])
        if decision.by == "store":
            break
        await asyncio.sleep(0.005)
    return time.monotonic() - began


async def hung_and_gone() -> list[Row]:
    """30 callers under the default deadline while Redis is frozen, then while it is killed."""
    server = RedisServer()
    rows = []
    for name, fail, heal in (
        ("hung", server.freeze, server.thaw),
        ("killed", server.kill, server.start),
    ):
        guard = GuardedStore(RedisStore(server.url), policy="open")
        await guard.start()
        await timed(guard, 0.2, 30)
        fail()
        waits = await timed(guard, 2.5, 30)
        most = max(wait for wait, _ in waits)
        p99 = quantiles([wait for wait, _ in waits[len(waits) // 5 :]], n=100)[98]
        slow = sum(wait > 10 for wait, _ in waits)
        await asyncio.to_thread(heal)
        back = await recovery(guard)
        await guard.aclose()
        bound, total = 60 if name == "hung" else 10, f"{len(waits):,}"
        figures = [
            ("the most added to a call", f"<= {bound} ms", f"{most:.1f} ms", most <= bound),
            ("p99 once the breaker is open", "<= 1 ms", f"{p99:.2f} ms", p99 <= 1),
            (f"calls slower than 10 ms, of {total}", "<= 40", f"{slow}", slow <= 40),
            ("counting again after its return", "<= 1.0 s", f"{back:.2f} s", back <= 1),
        ]
        rows += [Row(f"Redis {name}: {what}", *rest) for what, *rest in figures]
    server.stop()
    return rows


async def until_counting(store: Store, hit: Hit, limit: float = 15) -> float:
    """Seconds until the store decides this hit."""
    began = time.monotonic()
    while time.monotonic() < began + limit:
        if await outcome(store, hit) is not None:
            break
        await asyncio.sleep(0.02)
    return time.monotonic() - began


async def failovers() -> list[Row]:
    """A master behind Sentinels (down after 1 s), killed and frozen, at the default deadline."""
    rows = []
    for how in ("kill", "freeze"):
        sentinels = Sentinels()
        store = RedisStore(sentinels.url)
        await store.start()
        for _ in range(200):
            await store.hit([Hit(WIDE, "ann")])
        getattr(sentinels.master, how)()
        took = await until_counting(store, Hit(WIDE, "ann"))
        await store.aclose()
        sentinels.stop()
        done = {"kill": "killed", "freeze": "frozen"}[how]
        rows.append(
            Row(
                f"Sentinel: counting again, master {done}", "<= 2.5 s", f"{took:.1f} s", took <= 2.5
            )
        )
    return rows  # fmt: skip


async def cluster() -> list[Row]:
    """A Cluster (node timeout 1 s): a planned failover amid 10,000 hits, then a killed master."""
    nodes = Cluster(replicas=1)
    store = ClusterStore(nodes.url, deadline=3)
    await store.start()
    hit = Hit(WIDE, "{ann}")
    master = nodes.owner("{ann}")
    replica = next(node for node in nodes.nodes[3:] if node.ask("ROLE")[2] == master.port)
    acknowledged = failed = 0
    for number in range(10_000):
        if number == 3_000:
            replica.ask("CLUSTER", "FAILOVER")
        decision = await outcome(store, hit)
        acknowledged += decision is not None
        failed += decision is None
    (look,) = await store.hit([hit._replace(cost=0)])
    double = max(0, WIDE.amount - look.remaining - acknowledged - failed)
    await store.aclose()
    store = ClusterStore(nodes.url)
    await store.start()
    await outcome(store, hit)
    await asyncio.sleep(1)
    nodes.owner("{ann}").kill()
    took = await until_counting(store, hit)
    await store.aclose()
    nodes.stop()
    return [
        Row("Cluster: hits counted twice of 10,000 with a failover", "0", f"{double}", not double),
        Row("Cluster: counting again, master killed", "<= 3.0 s", f"{took:.1f} s", took <= 3),
    ]


async def identities() -> list[Row]:
    """Buckets that one client can get by its addresses and its headers."""
    proxies = TrustedProxies(None)
    of_64 = {proxies.client(f"2001:db8:1:2::{number:x}", []) for number in range(10_000)}
    spoofed = {
        slot_key(str(proxies.client("192.0.2.1", [f"198.51.100.{number}"])), "view")
        for number in range(100)
    }
    store = MemoryStore()
    for who in of_64:
        await store.hit([Hit(WIDE, str(who))])
    return [
        Row("buckets of 10,000 addresses of one IPv6 /64", "1", f"{len(store)}", len(store) == 1),
        Row("buckets of 100 spoofed headers", "1", f"{len(spoofed)}", len(spoofed) == 1),
    ]


PARTS: list[Callable[[], Awaitable[list[Row]]]] = [
    workers, lost_replies, cancellations, hung_and_gone, failovers, cluster, identities,
]  # fmt: skip


def table(rows: list[Row]) -> str:
    """In Markdown."""
    lines = ["| what | target | measured | |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {r.what} | {r.target} | {r.measured} | {'' if r.met else 'missed'} |" for r in rows
    ]
    return "\n".join(lines)


async def main() -> None:
    rows: list[Row] = []
    for part in PARTS:
        rows += await part()
        print(json.dumps([row[:3] for row in rows[-4:]]), file=sys.stderr)
    text = table(rows)
    print(text)
    if "--write" in sys.argv:
        page = PAGE.read_text("utf-8")
        before, after = (
            page.split("<!-- table -->", 1)[0],
            page.split("<!-- end of table -->", 1)[1],
        )
        PAGE.write_text(f"{before}<!-- table -->\n{text}\n<!-- end of table -->{after}", "utf-8")
        write_between("explanation/reliability.md", "outage", await outage.table())
        write_between("explanation/reliability.md", "joining", await joining.table())


if __name__ == "__main__":
    asyncio.run(main())
