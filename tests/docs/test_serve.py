"""``serve.py`` as a user runs it: under Hypercorn with several workers, on a real Redis."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from ..support.serving import ROOT, hypercorn, load

#: So long that no window ends during a test, at midnight either: the next one begins in 2033.
LONG = {"RATE_LIMIT_DURATION": "1000000000"}


def ask(port: int, path: str) -> tuple[int, bytes]:
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read()
    except HTTPError as refused:
        return refused.code, refused.read()


async def test_four_workers_admit_exactly_ten_of_a_flood(redis_url: str) -> None:
    with hypercorn("-w", "4", env={"REDIS_URL": redis_url, **LONG}) as port:
        statuses = await load(port, "/api/data", 3_000, 256, "127.0.0.1")
    assert statuses == {200: 10, 429: 2_990}


async def test_four_workers_admit_exactly_ten_of_each_of_500_clients(redis_url: str) -> None:
    clients = [f"127.0.{n // 250 + 1}.{n % 250 + 1}" for n in range(500)]
    with hypercorn("-w", "4", env={"REDIS_URL": redis_url, **LONG}) as port:
        answers = await asyncio.gather(*[load(port, "/api/data", 20, 1, who) for who in clients])
    assert [answer[200] for answer in answers] == [10] * 500
    assert [answer[429] for answer in answers] == [10] * 500


def test_without_a_redis_url_it_counts_in_memory_and_says_so() -> None:
    log: list[str] = []
    with hypercorn(env={"REDIS_URL": "", "RATE_LIMIT_REQUESTS": "3", **LONG}, log=log) as port:
        assert [ask(port, "/api/data")[0] for _ in range(4)] == [200, 200, 200, 429]
    assert sum("kept in memory" in line for line in log) == 1


def test_it_runs_on_uvloop(redis_url: str) -> None:
    pytest.importorskip("uvloop", reason="the extra 'fast' is not installed")
    with hypercorn("-k", "uvloop", env={"REDIS_URL": redis_url, **LONG}) as port:
        assert [ask(port, "/api/data")[0] for _ in range(11)] == [200] * 10 + [429]


@pytest.mark.parametrize(
    ("env", "form"),
    [
        ({"RATE_LIMIT_REQUESTS": "ten"}, "RATE_LIMIT_REQUESTS='ten'"),
        ({"RATE_LIMIT_REQUESTS": "0"}, "RATE_LIMIT_REQUESTS='0'"),
        ({"RATE_LIMIT_DURATION": "-60"}, "RATE_LIMIT_DURATION='-60'"),
        ({"RATE_LIMIT_DURATION": "1.5"}, "RATE_LIMIT_DURATION='1.5'"),
        ({"REDIS_URL": "foo://x"}, "'foo://x' is not a store; write 'memory://'"),
    ],
)
def test_a_bad_setting_is_named_at_start(env: dict[str, str], form: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import serve"],
        cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert form in done.stderr.splitlines()[-1]


def test_redis_may_come_after_the_app(start_redis: Any) -> None:
    """Down at start: status answers, data follows the default policy, and counting resumes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        redis_port = probe.getsockname()[1]
    url = f"redis://127.0.0.1:{redis_port}/0"
    with hypercorn(env={"REDIS_URL": url, **LONG}) as port:
        assert ask(port, "/api/status") == (200, b'{"status":"OK"}\n')
        took = []
        for _ in range(12):
            start = time.monotonic()
            took.append((ask(port, "/api/data")[0], time.monotonic() - start))
        # The default policy is "local": counted in the worker's memory.
        assert [status for status, _ in took] == [200] * 10 + [429] * 2
        server = start_redis(port=redis_port)
        end = time.monotonic() + 5
        while not (keys := server.ask("KEYS", "rate_limit:127.0.0.1:*")):
            ask(port, "/api/data")  # the one that finds Redis back is decided before the charge
            assert time.monotonic() < end, "counting did not resume"
        assert ask(port, "/api/data")[0] == 429  # the outage renews no budget
        assert int(server.ask("GET", keys[0])) >= 10  # refused requests are counted as well
        others = asyncio.run(load(port, "/api/data", 12, 1, "127.0.0.2"))
        assert others == {200: 10, 429: 2}
