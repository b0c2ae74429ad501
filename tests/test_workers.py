"""Four worker processes on one Redis: no algorithm admits one more than its bound."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from quart_ratelimit import Hit
from quart_ratelimit.quotas import Concurrency
from quart_ratelimit.stores import RedisStore

from .algorithms import RATES
from .servers import RedisServer
from .serving import ROOT

WORKERS, HITS, CALLERS = 4, 12_500, 50

#: Its arguments: the Redis URL, a seed, what to do.
WORKER = "import sys; from tests.test_workers import main; main(*sys.argv[1:])"


def main(url: str, seed: str, what: str) -> None:
    print(json.dumps(asyncio.run({"mixed": mixed, "hold": hold}[what](url, int(seed)))))


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
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=os.environ)


def results(workers: "list[subprocess.Popen[str]]") -> list[dict[str, int]]:
    return [json.loads(worker.communicate(timeout=120)[0]) for worker in workers]


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
