"""The pytest plugin, as a user's suite runs it: sync and async, in each mode, and by xdist."""

import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = """
import pytest
from quart_ratelimit.pytest import CountInMemory
from quart_ratelimit.testing import Clock

import shop

pytest_plugins = ["quart_ratelimit.pytest"]


@pytest.fixture(autouse=True)
def clock(count_in_memory: CountInMemory) -> Clock:
    return count_in_memory(shop.limiter)
"""
SHOP = """
from quart import Quart
from quart_ratelimit import Limiter

# Nothing listens there.
limiter = Limiter(storage_uri="redis://127.0.0.1:1/0", on_store_error="raise")


def create_app() -> Quart:
    app = Quart(__name__)

    @app.get("/")
    @limiter.limit("3/minute")
    async def index() -> str:
        return "index"

    limiter.init_app(app)
    return app
"""
TESTS = """
import asyncio
import logging

import pytest
from quart_ratelimit import Limiter
from quart_ratelimit.testing import assert_limited

from shop import create_app, limiter

numbers = pytest.mark.parametrize("number", range(2))


@pytest.fixture
def app(caplog):
    yield create_app()
    assert caplog.get_records("call") == []


@numbers
{mark}
async def test_async(app, clock, number):
    client = app.test_client()
    await assert_limited(lambda: client.get("/"), "3/minute", clock)


@numbers
def test_sync(app, clock, number):
    client = app.test_client()
    asyncio.run(assert_limited(lambda: client.get("/"), "3/minute", clock))
    clock.forward(60)
    asyncio.run(assert_limited(lambda: client.get("/"), "3/minute", clock))


def test_the_limiters_of_a_test_share_its_clock(clock, count_in_memory):
    other = Limiter()
    assert count_in_memory(other) is clock

    async def take(one):
        assert await one.wait("1/minute", "job", seconds=90)

    for _ in range(2):
        asyncio.run(take(other))
        asyncio.run(take(limiter))
    assert clock() == 1_800_000_060_000


@pytest.mark.parametrize("first", [True, False])
def test_nothing_is_carried_over_where_a_limiter_has_no_app(first):
    assert asyncio.run(limiter.hit("1/hour", "job"))
"""


@pytest.mark.parametrize(("mode", "options"), [("auto", []), ("strict", ["-n2"])])
def test_a_suite_of_sync_and_async_tests_counts_each_from_nothing(
    tmp_path: Path, mode: str, options: list[str]
) -> None:
    if options == ["-n2"]:
        pytest.importorskip("xdist")
    mark = "@pytest.mark.asyncio" if mode == "strict" else ""
    (tmp_path / "shop.py").write_text(SHOP, "utf-8")
    (tmp_path / "conftest.py").write_text(CONFTEST, "utf-8")
    (tmp_path / "test_shop.py").write_text(TESTS.replace("{mark}", mark), "utf-8")
    (tmp_path / "pytest.ini").write_text(
        f"[pytest]\nasyncio_mode = {mode}\nfilterwarnings = error\n"
        "asyncio_default_fixture_loop_scope = function\n",
        "utf-8",
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "7 passed" in done.stdout
