"""The edges of windows: slow replies, a Redis that stops over one, a herd that comes back."""

import asyncio
import time
from bisect import bisect_left
from collections import Counter
from random import Random
from typing import Any

import pytest
from quart import Quart

from quart_ratelimit import ConfigurationError, FixedWindow, Hit, Limiter
from quart_ratelimit.clock import wall_ms
from quart_ratelimit.quotas import Quota, StrictWindow
from quart_ratelimit.stores import MemoryStore, RedisStore

from ..support.proxy import Proxy
from ..support.servers import RedisServer

AMOUNT, KEYS, SECONDS = 5, 100, 5

#: An admission: when it was asked for and answered (s), and decided (ms, by Redis' clock).
Admission = tuple[float, float, int]


async def admissions(url: str, quota: Quota, chance: Random) -> list[list[Admission]]:
    """Those of so many keys, hit all the time."""
    store = RedisStore(url, deadline=5, max_connections=8)
    await store.start()
    admitted: list[list[Admission]] = [[] for _ in range(KEYS)]
    end = time.monotonic() + SECONDS

    async def caller(number: int) -> None:
        while (began := time.monotonic()) < end:
            (decision,) = await store.hit([Hit(quota, f"k{number}")])
            if decision.allowed:
                admitted[number].append((began, time.monotonic(), decision.at_ms))
            await asyncio.sleep(chance.uniform(0, 0.1))

    await asyncio.gather(*[caller(number % KEYS) for number in range(2 * KEYS)])
    await store.aclose()
    return admitted


def most_within(admitted: list[Admission], seconds: float) -> int:
    """The most that lie, from question to answer, within any interval of that length."""
    ends = sorted(end for _, end, _ in admitted)
    most = 0
    for start, _, _ in admitted:
        inside = [a for a in admitted if a[0] >= start]
        ends = sorted(end for _, end, _ in inside)
        most = max(most, bisect_left(ends, start + seconds))
    return most


@pytest.mark.slow
@pytest.mark.parametrize(
    ("quota", "bound"),
    [
        (FixedWindow(AMOUNT, 1, aligned=True), 2 * AMOUNT),
        (FixedWindow(AMOUNT, 1), 2 * AMOUNT),
        (StrictWindow(AMOUNT, 1), AMOUNT),
    ],
    ids=["by the clock", "from the first hit", "strict"],
)
@pytest.mark.parametrize("how", ["delayed", "paused"])
async def test_about_500_windows_edges_no_window_admits_more(  # T-18
    redis_server: RedisServer, redis_url: str, quota: Quota, bound: int, how: str
) -> None:
    """100 keys over 5 s, while replies take up to 0.2 s or Redis stops over the edge."""
    async with Proxy(redis_server.port) as proxy:

        async def trouble() -> None:
            chance = Random(1)
            while True:
                if how == "delayed":
                    proxy.delay = chance.choice([0, 0.005, 0.05, 0.2])
                    await asyncio.sleep(0.05)
                else:
                    await asyncio.sleep(1 - time.time() % 1 - 0.1)
                    await asyncio.to_thread(redis_server.ask, "CLIENT", "PAUSE", 200, "ALL")
                    await asyncio.sleep(0.3)

        troubling = asyncio.ensure_future(trouble())
        admitted = await admissions(proxy.url, quota, Random(2))
        troubling.cancel()
        await asyncio.gather(troubling, return_exceptions=True)
    for each in admitted:
        if getattr(quota, "aligned", False):
            windows = Counter(at // 1000 for *_, at in each)
            assert max(windows.values()) <= AMOUNT
        assert most_within(each, 1.0) <= bound
    assert sum(map(len, admitted)) > KEYS * AMOUNT * (SECONDS - 2), "hardly anything was admitted"


async def commands(server: RedisServer) -> int:
    """How many Redis has carried out."""
    stats = server.ask("INFO", "stats")
    return int(stats["total_commands_processed"])


@pytest.mark.parametrize("shared", [True, False], ids=["one key", "a key each"])
async def test_a_herd_that_comes_back_at_once_costs_redis_no_more_than_one_by_one(  # T-29
    redis_server: RedisServer, redis_url: str, shared: bool
) -> None:
    """1,000 clients at the moment that they were told; all are answered within the deadline."""
    store = RedisStore(redis_url)
    quota = FixedWindow(1_000, 86_400, aligned=True)
    await store.start()
    hits = [Hit(quota, "all" if shared else f"client-{number}") for number in range(1_000)]
    for hit in hits[:50]:
        await store.hit([hit])
    before = await commands(redis_server)
    for hit in hits[:50]:
        await store.hit([hit])
    apart = (await commands(redis_server) - before) / 50
    await store.clear()
    before = await commands(redis_server)
    decisions = await asyncio.gather(*[store.hit([hit]) for hit in hits])
    together = (await commands(redis_server) - before) / 1_000
    assert all(decision.allowed for (decision,) in decisions)
    assert together <= apart
    if shared:
        assert together <= 0.05
    await store.aclose()


@pytest.mark.parametrize("own_answer", [False, True], ids=["", "own answer"])
@pytest.mark.parametrize("fields", [None, "x-ratelimit", "draft-10"])
async def test_a_jitter_spreads_the_moments_that_a_herd_is_told_and_none_is_too_early(  # T-29
    own_answer: bool, fields: str | None
) -> None:
    """Over a fifth of the period here, as was chosen; without it all are told the same."""
    told = {}
    for jitter in (0, 0.2):
        app = Quart(__name__)
        store = MemoryStore(now_ms=wall_ms)
        limiter = Limiter(app=app, store=store, retry_jitter=jitter, header_fields=fields)

        @app.get("/")
        @limiter.limit("1/hour", key_func=lambda: "all")
        async def index() -> str:
            return "hello"

        if own_answer and fields:

            @app.errorhandler(429)
            async def refuse(error: Exception) -> tuple[str, int]:
                return "later", 429

        client = app.test_client()
        answers = [await client.get("/") for _ in range(200)][1:]
        assert {answer.status_code for answer in answers} == {429}
        told[jitter] = [int(answer.headers["Retry-After"]) for answer in answers]
    assert max(told[0]) - min(told[0]) <= 5  # as long as this takes
    assert max(told[0]) - 5 <= min(told[0.2])
    assert max(told[0.2]) <= 3_600 * 1.2 + 1
    assert max(told[0.2]) - min(told[0.2]) >= 360


@pytest.mark.parametrize("jitter", [-0.1, 1.1, "0.1", None])
def test_a_jitter_that_is_no_share_is_named(jitter: Any) -> None:
    with pytest.raises(ConfigurationError, match="retry_jitter="):
        Limiter(app=Quart(__name__), retry_jitter=jitter)
