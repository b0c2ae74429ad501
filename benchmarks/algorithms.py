"""What each algorithm costs and promises, measured: ``python benchmarks/algorithms.py``.

Starts a redis-server of its own. Prints the table of docs/explanation/algorithms.md;
``--write`` puts it there.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import tracemalloc
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from quart_ratelimit import Hit, Quota  # noqa: E402
from quart_ratelimit.quotas import (  # noqa: E402
    GCRA,
    Concurrency,
    FixedWindow,
    MovingWindow,
    SlidingWindow,
    StrictWindow,
)
from quart_ratelimit.stores import MemoryStore, RedisStore  # noqa: E402
from tests.support.servers import RedisServer  # noqa: E402

AMOUNT, PERIOD, KEYS, REFUSALS = 100, 60, 5_000, 300
START = 1_800_000_000_000
PAGE = ROOT / "docs" / "explanation" / "algorithms.md"

QUOTAS: dict[str, Quota] = {
    "fixed window (`fixed-window`)": FixedWindow(AMOUNT, PERIOD),
    "fixed window by the clock (`@rate_limit`)": FixedWindow(AMOUNT, PERIOD, aligned=True),
    "sliding window counter (`sliding-window-counter`)": SlidingWindow(AMOUNT, PERIOD),
    "strict window (`strict-window`)": StrictWindow(AMOUNT, PERIOD),
    "moving window (`moving-window`)": MovingWindow(AMOUNT, PERIOD),
    "GCRA (`gcra`, `token-bucket`)": GCRA(AMOUNT, PERIOD),
    "concurrency (`limiter.in_flight`)": Concurrency(AMOUNT, PERIOD),
}
#: What a batch runs besides its hits, once for all of them.
BOOKKEEPING = ("config", "time", "multi", "exec", "info")


def hit(quota: Quota, key: str) -> Hit:
    """A hit that takes a lease of its own, as `limiter.in_flight` does."""
    return Hit(quota, key, lease=secrets.token_hex(8))


async def in_redis(server: RedisServer, quota: Quota) -> tuple[int, list[str], float]:
    """Bytes of one exhausted key; the commands of a refusal, and its time in Redis in us."""
    store = RedisStore(server.url, deadline=5)
    await store.start()
    await store.clear()
    for _ in range(AMOUNT):
        await store.hit([hit(quota, "203.0.113.7")])
    with server.client() as client:
        (key,) = client.keys()
        size = int(client.memory_usage(key, samples=0))
        client.config_resetstat()
        for _ in range(REFUSALS):
            assert not (await store.hit([hit(quota, "203.0.113.7")]))[0]
        stats = {
            name.removeprefix("cmdstat_"): stat
            for name, stat in client.info("commandstats").items()
            if not name.removeprefix("cmdstat_").startswith(BOOKKEEPING)
        }
    await store.aclose()
    # What a script calls is in the script's own time, too.
    sent = [stats["evalsha"]] if "evalsha" in stats else list(stats.values())
    return size, sorted(stats), sum(stat["usec"] for stat in sent) / REFUSALS


def in_python(quota: Quota) -> int:
    """Bytes of one exhausted key of a memory store, its key's text and table slot included."""
    store = MemoryStore()
    store.decide([hit(quota, "x")], START)  # the table itself
    leases = isinstance(quota, Concurrency)  # one a hit; any other can charge all at once
    cost, hits, keys = (1, AMOUNT, KEYS // 10) if leases else (AMOUNT, 1, KEYS)
    tracemalloc.start()
    for number in range(keys):
        key = f"203.0.{number // 250}.{number % 250}"
        for _ in range(hits):
            store.decide([hit(quota, key)._replace(cost=cost)], START)
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return size // keys


def worst_period(quota: Quota) -> int:
    """The most that an adversary gets in a trailing period: a crowd, then all that it can.

    It comes at a window's start, in its middle or at its end, or opens it with one hit.
    """
    length = PERIOD * 1000
    worst = 0
    for opener, crowd in ((0, 0), (0, length // 2), (0, length - 1), (None, length - 1)):
        store, admitted = MemoryStore(), []
        if opener is not None and store.decide([hit(quota, "x")], START + opener)[0]:
            admitted.append(START + opener)
        for now in [START + crowd, *range(START + crowd + 1, START + 2 * length + crowd, 50)]:
            while store.decide([hit(quota, "x")], now)[0]:
                admitted.append(now)
        first = 0
        for last, now in enumerate(admitted):
            while admitted[first] <= now - length:
                first += 1
            worst = max(worst, last - first + 1)
    return worst


def at_once(quota: Quota) -> int:
    """The most within two milliseconds, at a window's edge."""
    worst = 0
    for opened in (False, True):
        store, edge = MemoryStore(), START + PERIOD * 1000
        if opened:
            store.decide([hit(quota, "x")], START)
        count = 0
        for now in (edge - 1, edge):
            while store.decide([hit(quota, "x")], now)[0]:
                count += 1
        worst = max(worst, count)
    return worst


def table() -> str:
    """The table in markdown."""
    server = RedisServer()
    rows = [
        "| algorithm | Redis bytes per key | bytes per key in memory | a refusal runs in Redis "
        "| its µs in Redis | most within 2 ms | most in a trailing period | round trips |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, quota in QUOTAS.items():
        size, commands, micros = asyncio.run(in_redis(server, quota))
        # Places come back as soon as they are given back.
        worst = "any" if isinstance(quota, Concurrency) else worst_period(quota)
        rows.append(
            f"| {name} | {size} | {in_python(quota)} | {', '.join(commands)} | {micros:.0f} "
            f"| {at_once(quota)} | {worst} | 1 |"
        )
    server.stop()
    return "\n".join(rows)


if __name__ == "__main__":
    text = table()
    print(text)
    if "--write" in sys.argv:
        page = PAGE.read_text("utf-8")
        before, after = (
            page.split("<!-- table -->", 1)[0],
            page.split("<!-- end of table -->", 1)[1],
        )
        PAGE.write_text(f"{before}<!-- table -->\n{text}\n<!-- end of table -->{after}", "utf-8")
