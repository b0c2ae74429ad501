"""Loops, forks and shutdowns: nothing hangs, nothing is shared that must not be, nothing leaks."""

import asyncio
import gc
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from quart_ratelimit import FixedWindow, Hit
from quart_ratelimit.errors import StoreError
from quart_ratelimit.stores import ClusterStore, GuardedStore, RedisStore

from ...support.cluster import until
from ...support.servers import RedisServer, free_port
from ...support.serving import ROOT, hypercorn, load

WIDE = FixedWindow(1_000_000, 3_600, aligned=True)
DAY = {"RATE_LIMIT_REQUESTS": "1000000", "RATE_LIMIT_DURATION": "86400"}


async def used(store: RedisStore, times: int) -> int:
    """Hit so many times at once; how much is used in the end."""
    decisions = await asyncio.gather(*[store.hit([Hit(WIDE, "ann")]) for _ in range(times)])
    return WIDE.amount - min(decision.remaining for (decision,) in decisions)


def test_a_store_goes_from_loop_to_loop(redis_url: str) -> None:  # T-24
    store = RedisStore(redis_url, deadline=5)

    async def one_loop(turn: int) -> None:
        assert await used(store, 20) == 20 * turn
        await store.aclose()

    for turn in (1, 2, 3):
        asyncio.run(one_loop(turn))


def test_loops_that_end_without_closing_the_store_leave_no_connection(
    redis_server: RedisServer, redis_url: str
) -> None:
    """They are closed when the next loop looks up its own, and a warning would fail this test."""
    with redis_server.client() as client:
        before = len(client.client_list())
        store = RedisStore(redis_url, deadline=5)
        for turn in range(1, 41):
            assert asyncio.run(used(store, 5)) == 5 * turn
            assert len(client.client_list()) <= before + 2 * 4
        del store
        gc.collect()
        until(lambda: len(client.client_list()) <= before)


@pytest.mark.parametrize(
    "uri", ["redis://{}", "redis+cluster://{}", "redis+sentinel://{}/mymaster"]
)
def test_a_loop_that_is_closed_while_connections_are_opened_leaves_none(uri: str) -> None:
    """Nothing is left to await then: what is under way ends without a task, or a warning fails."""
    silent = socket.create_server(("127.0.0.1", 0))  # it accepts, and says nothing
    silent.settimeout(5)
    kind = ClusterStore if "cluster" in uri else RedisStore
    store = kind(uri.format(f"127.0.0.1:{silent.getsockname()[1]}"))

    async def fails(is_closed: bool) -> None:
        with pytest.raises(StoreError):
            await store.hit([Hit(WIDE, "ann")])
        if is_closed:
            await store.aclose()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(fails(is_closed=False))
    loop.close()
    del loop
    opened, _ = silent.accept()
    asyncio.run(fails(is_closed=True))
    gc.collect()
    opened.settimeout(5)
    while opened.recv(1024):
        pass
    opened.close()
    silent.close()


def test_two_loops_that_take_turns_keep_their_connections(
    redis_server: RedisServer, redis_url: str
) -> None:
    store = RedisStore(redis_url, deadline=5)
    loops = [asyncio.new_event_loop() for _ in range(2)]
    with redis_server.client() as client:
        for turn in range(1, 21):
            assert loops[turn % 2].run_until_complete(used(store, 5)) == 5 * turn
        opened = client.info("stats")["total_connections_received"]
        for turn in range(21, 41):
            assert loops[turn % 2].run_until_complete(used(store, 5)) == 5 * turn
        assert client.info("stats")["total_connections_received"] == opened
    for loop in loops:
        loop.run_until_complete(store.aclose())
        loop.close()


def test_a_child_that_was_forked_counts_on_connections_of_its_own(  # T-24
    redis_server: RedisServer, redis_url: str
) -> None:
    """It runs in processes of its own: the suite's has threads, which a fork must not copy."""
    code = f"""
import asyncio, os
from tests.stores.redis.test_lifetimes import used
from quart_ratelimit.stores import RedisStore

store = RedisStore({redis_url!r}, deadline=5)
loop = asyncio.new_event_loop()  # at rest while it is copied
assert loop.run_until_complete(used(store, 20)) == 20
pid = os.fork()


async def child():
    for _ in range(100):
        await used(store, 5)
    await store.aclose()


async def parent():
    while not os.waitpid(pid, os.WNOHANG)[0]:
        await used(store, 5)
        await asyncio.sleep(0.001)
    await store.aclose()


if not pid:
    asyncio.run(child())
    os._exit(0)
loop.run_until_complete(parent())
loop.close()
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    with redis_server.client() as client:
        (key,) = client.keys()
        count = int(str(client.get(key)))
    assert count >= 520
    assert count % 5 == 0


async def test_closing_while_hits_are_under_way_leaves_no_task(redis_url: str) -> None:  # T-25
    before = asyncio.all_tasks()
    store = GuardedStore(RedisStore(redis_url, deadline=5))
    callers = [asyncio.ensure_future(store.hit([Hit(WIDE, "ann")])) for _ in range(50)]
    await asyncio.sleep(0)
    await store.aclose()
    decisions = await asyncio.gather(*callers)
    assert {decision.by for (decision,) in decisions} == {"store"}
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_closing_twice_or_unused_is_nothing(redis_url: str) -> None:
    store = RedisStore(redis_url)
    await store.aclose()
    await store.start()
    await store.aclose()
    await store.aclose()


async def test_no_connection_outlives_its_store(redis_server: RedisServer, redis_url: str) -> None:
    with redis_server.client() as client:
        before = len(client.client_list())
        for _ in range(5):
            store = RedisStore(redis_url, deadline=5)
            await store.start()
            await used(store, 50)
            await store.aclose()
        end = time.monotonic() + 5
        while len(client.client_list()) > before:
            assert time.monotonic() < end, "connections were left open"
            await asyncio.sleep(0.01)


async def test_workers_that_are_recycled_lose_no_request(redis_url: str) -> None:  # T-25
    env = {"REDIS_URL": redis_url, **DAY}
    log: list[str] = []
    with hypercorn("-w", "2", "--max-requests", "50", env=env, log=log) as port:
        # A connection for each: a worker that ends closes those that it keeps.
        answers = [await load(port, "/api/data", 1, 1, "127.0.0.1") for _ in range(300)]
    assert sum(answer[200] for answer in answers) == 300
    assert not [line for line in log if "Traceback" in line or "Warning" in line]


def test_a_server_that_is_told_to_stop_stops_at_once_and_quietly(redis_url: str) -> None:  # T-25
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "hypercorn", "-b", f"127.0.0.1:{port}", "serve:app"],
        cwd=ROOT,
        env={**os.environ, "REDIS_URL": redis_url, **DAY},
        stderr=subprocess.PIPE,
        text=True,
    )
    _wait_for(port)
    asyncio.run(load(port, "/api/data", 200, 20, "127.0.0.1"))
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=20)
    assert time.monotonic() - began < 5
    assert "Traceback" not in errors
    assert "Warning" not in errors


@pytest.mark.slow
def test_a_reload_serves_on(redis_url: str, tmp_path: Path) -> None:  # T-24
    """``--reload`` starts the app's module anew in another process."""
    module = tmp_path / "site_to_reload.py"
    text = (ROOT / "serve.py").read_text("utf-8")
    module.write_text(text, "utf-8")
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "hypercorn", "--reload", "-b", f"127.0.0.1:{port}", module.stem],
        cwd=tmp_path,
        env={**os.environ, "REDIS_URL": redis_url, "PYTHONPATH": str(tmp_path), **DAY},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _wait_for(port)
        assert asyncio.run(load(port, "/api/data", 20, 2, "127.0.0.1"))[200] == 20
        module.write_text(text.replace("Here is your data!", "Here is new data!"), "utf-8")
        end = time.monotonic() + 20
        while "new" not in _body(port):
            assert time.monotonic() < end, "the change was not served"
            time.sleep(0.2)
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=20)
    assert "Traceback" not in errors


def _wait_for(port: int) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with socket.socket() as probe:
            if not probe.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.02)
    raise RuntimeError("the server did not listen within 30 s")


def _body(port: int) -> str:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as sock:
            sock.sendall(b"GET /api/data HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
            parts = []
            while part := sock.recv(4096):
                parts.append(part)
    except OSError:
        return ""
    return b"".join(parts).decode()
