"""Four worker processes on one Redis: no algorithm admits one more than its bound."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from itertools import islice
from typing import Any

import pytest

from quart_ratelimit import FixedWindow, Hit
from quart_ratelimit.quotas import Concurrency
from quart_ratelimit.stores import RedisStore

from ...support.algorithms import RATES
from ...support.servers import RedisServer
from ...support.serving import ROOT

WORKERS, HITS, CALLERS = 4, 12_500, 50

#: Hits of each worker that floods, on one key of one limit.
FLOOD = 5_000
THOUSAND = FixedWindow(1_000, 86_400)

#: Its arguments: the Redis URL, a seed, what to do.
WORKER = "import sys; from tests.stores.redis.test_workers import main; main(*sys.argv[1:])"


def main(url: str, seed: str, what: str) -> None:
    if what == "flood":
        asyncio.run(flood(url))
    else:
        print(json.dumps(asyncio.run({"mixed": mixed, "hold": hold}[what](url, int(seed)))))


async def flood(url: str) -> None:
    """Once told to, 5,000 hits on the key of all; what remains is printed at each admission."""
    store = RedisStore(url, deadline=5)
    await store.start()
    print("ready", flush=True)
    sys.stdin.readline()

    async def caller() -> None:
        for _ in range(FLOOD // CALLERS):
            (decision,) = await store.hit([Hit(THOUSAND, "all")])
            if decision.allowed:
                print(decision.remaining, flush=True)

    await asyncio.gather(*[caller() for _ in range(CALLERS)])
    await store.aclose()


async def mixed(url: str, seed: int) -> dict[str, int]:
    """Hits of all algorithms on three keys each; what was admitted, by quota and key."""
    store, chance = RedisStore(url, deadline=5), random.Random(seed)
    await store.start()
    admitted: dict[str, int] = {}

    async def caller() -> None:
        for _ in range(HITS // CALLERS):
            quota, key, cost = chance.choice(RATES), chance.choice("abc"), chance.choice([1, 1, 2])
            if (await store.hit([Hit(quota, key, cost)]))[0]:
                name = f"{quota.tag} {key}"
                admitted[name] = admitted.get(name, 0) + cost

    await asyncio.gather(*[caller() for _ in range(CALLERS)])
    await store.aclose()
    return admitted


async def hold(url: str, seed: int) -> dict[str, int]:
    """Take and release places until killed or done; the most held here at once."""
    store, quota = RedisStore(url, deadline=5), Concurrency(10, 2)
    await store.start()
    held = most = 0

    async def caller(number: int) -> None:
        nonlocal held, most
        for turn in range(40):
            hit = Hit(quota, "pool", lease=f"{seed}-{number}-{turn}")
            if (await store.hit([hit]))[0]:
                held += 1
                most = max(most, held)
                await asyncio.sleep(0.002)
                held -= 1
                await store.hit([hit._replace(cost=-1)])
            else:
                await asyncio.sleep(0.001)

    await asyncio.gather(*[caller(number) for number in range(20)])
    await store.aclose()
    return {"most": most}


def start(url: str, seed: int, what: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WORKER, url, str(seed), what]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True, env=os.environ)


def results(workers: "list[subprocess.Popen[str]]") -> list[dict[str, int]]:
    return [json.loads(worker.communicate(timeout=120)[0]) for worker in workers]


def flooded(url: str, *, kill: bool) -> list[int]:
    """What remained at each admission, told by four workers; one is killed amid it."""
    workers = [start(url, seed, "flood") for seed in range(WORKERS)]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdin is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    told: list[int] = []
    if kill:
        # The first that tells of twenty: one that was slower than all others may have fewer.
        for worker in workers:
            assert worker.stdout is not None
            first = list(map(int, islice(worker.stdout, 20)))
            told += first
            if len(first) == 20:
                worker.send_signal(signal.SIGKILL)
                break
        else:
            raise AssertionError("no worker admitted twenty")
    for worker in workers:
        assert worker.stdout is not None
        told += map(int, worker.stdout)  # also what was read ahead
        worker.communicate(timeout=60)
    return told


def test_four_workers_admit_exactly_a_thousand_of_20_000(redis_url: str) -> None:  # T-01
    assert sorted(flooded(redis_url, kill=False)) == list(range(1_000))


def killed_amid_it(server: RedisServer) -> None:
    server.ask("FLUSHALL")
    told = flooded(server.url, kill=True)
    assert len(told) == len(set(told))
    assert 1_000 - CALLERS <= len(told) <= 1_000, "lost is only what the killed one had asked"
    with server.client() as client:
        assert [0 < int(client.pttl(key)) <= 86_400_000 for key in client.scan_iter()] == [True]


def test_a_worker_that_is_killed_lets_nobody_in_twice(redis_server: RedisServer) -> None:  # T-02
    killed_amid_it(redis_server)


@pytest.mark.slow
def test_nor_do_twenty(redis_server: RedisServer) -> None:  # T-02
    for _ in range(20):
        killed_amid_it(redis_server)


@pytest.mark.slow
def test_fifty_thousand_mixed_hits_of_four_workers_stay_within_every_bound(
    redis_url: str,
) -> None:
    began = time.time()
    totals: dict[str, int] = {}
    for part in results([start(redis_url, seed, "mixed") for seed in range(WORKERS)]):
        for key, count in part.items():
            totals[key] = totals.get(key, 0) + count
    took = time.time() - began
    assert took < 60, "the bounds below are for less than a period"
    windows = 1 + int(time.time()) // 60 - int(began) // 60
    most = {
        "fixed_window/10/60000/0": 10,
        "fixed_window/10/60000/1": 10 * windows,
        "sliding_window/10/60000": 10 * windows,
        "strict_window/10/60000/10": 10,
        "moving_window/10/60000": 10,
        "gcra/10/60000/10/1/6000": 10 + int(took / 6) + 1,
    }
    for tag, bound in most.items():
        for key in "abc":
            assert 10 <= totals[f"{tag} {key}"] <= bound, (tag, key)


@pytest.mark.slow
def test_places_in_flight_never_exceed_the_amount_and_those_of_a_killed_worker_come_back(
    redis_server: RedisServer, redis_url: str
) -> None:
    workers = [start(redis_url, seed, "hold") for seed in range(WORKERS)]
    (key,) = ["rate_limit:pool:concurrency/10/2000"]
    most = 0
    with redis_server.client() as client:
        killed = False
        while any(worker.poll() is None for worker in workers):
            held: Any = client.zcard(key)
            most = max(most, held)
            if held > 5 and not killed:
                workers[0].send_signal(signal.SIGKILL)
                killed = True
        assert killed
        assert 5 < most <= 10
        assert all(part["most"] <= 10 for part in results(workers[1:]))
        end = time.monotonic() + 5
        while client.exists(key):
            assert time.monotonic() < end, "a dead worker's places did not come back"
    workers[0].communicate()
