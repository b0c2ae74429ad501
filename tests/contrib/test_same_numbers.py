"""One run of four workers: the dashboard, `top` and Prometheus show what the load counted."""

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..support.serving import ROOT, hypercorn, load

#: What a viewer shows within this time after the load has ended, in seconds.
WITHIN = 3.0
#: A limit's name -> how many hits it allowed and refused.
Numbers = dict[str, tuple[int, int]]

#: What ten clients with 60 requests for "10/hour" and 20 for "200/minute" get.
TRUTH: Numbers = {
    "10 per 1 hour": (100, 500), "10000 per 1 day": (800, 0), "200 per 1 minute": (200, 0),
}  # fmt: skip


def read(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
        text: str = response.read().decode()
        return text


def shown(found: Any) -> Numbers:
    """What the dashboard's JSON and `top` show."""
    return {
        one["limit"]: (one["allowed"], one["refused"])
        for one in sorted(found["limits"], key=lambda one: str(one["limit"]))
    }


def scraped(text: str) -> Numbers:
    """What Prometheus would read."""
    pattern = r'^ratelimit_decisions_total\{limit="(.+?)",outcome="(\w+)"\} (\S+)$'
    counts: dict[str, Counter[str]] = {}
    for limit, outcome, count in re.findall(pattern, text, re.MULTILINE):
        counts.setdefault(limit, Counter())[outcome] += int(float(count))
    return {limit: (one["allowed"], one["refused"]) for limit, one in sorted(counts.items())}


def top(env: dict[str, str], *args: str) -> str:
    command = [sys.executable, "-m", "quart", "--app", "tests.support.watched", "limiter", "top"]
    done = subprocess.run(
        [*command, *args], cwd=ROOT, env={**os.environ, **env},
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return done.stdout


@contextmanager
def open_page(port: int) -> Iterator[None]:
    """An operator's page, which looks again and again."""
    closed = threading.Event()

    def look() -> None:
        while not closed.wait(0.5):
            read(port, "/ratelimit/state")

    page = threading.Thread(target=look)
    page.start()
    try:
        yield
    finally:
        closed.set()
        page.join()


def put_load(port: int) -> Counter[int]:
    async def clients() -> Counter[int]:
        loads = [load(port, "/data", 60, 6, f"127.0.0.{n}") for n in range(2, 12)]
        loads += [load(port, "/search", 20, 2, f"127.0.0.{n}") for n in range(2, 12)]
        counted = Counter[int]()
        for statuses in await asyncio.gather(*loads):
            counted += statuses
        return counted

    return asyncio.run(clients())


def test_all_viewers_show_what_the_load_counted(redis_url: str, tmp_path: Path) -> None:
    env = {"REDIS_URL": redis_url}
    served = {**env, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    with hypercorn("-w", "4", app="tests.support.watched:app", env=served) as port:
        with open_page(port):
            counted = put_load(port)
            ended = time.monotonic()
        found: dict[str, Numbers] = {}
        while time.monotonic() < ended + WITHIN and set(map(str, found.values())) != {str(TRUTH)}:
            state = json.loads(read(port, "/ratelimit/state"))
            found = {"dashboard": shown(state), "Prometheus": scraped(read(port, "/metrics"))}
        took = time.monotonic() - ended
        states = [json.loads(read(port, "/ratelimit/state")) for _ in range(12)]
        scrapes = [scraped(read(port, "/metrics")) for _ in range(4)]
        found["top"] = shown(json.loads(top(env, "--once", "--json"))[0])
    print(f"the load counted {dict(counted)}; after {took:.2f} s:", *found.items(), sep="\n")
    assert counted == {200: 300, 429: 500}
    assert found == dict.fromkeys(("dashboard", "Prometheus", "top"), TRUTH)
    assert len({one["worker"] for one in states}) > 1
    assert all(shown(one) == TRUTH for one in states), "another worker shows other numbers"
    assert all(one == TRUTH for one in scrapes)
