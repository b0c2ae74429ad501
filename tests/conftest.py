"""Fixtures of the whole suite. Redis is real; without a redis-server the suite says so."""

import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from .support import browser
from .support.cluster import Cluster
from .support.proxy import Proxy
from .support.servers import VARIABLE, RedisServer, binary


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One redis-server for the session; tests that break it start their own."""
    if binary() is None:
        pytest.skip("no redis-server is installed: ./dev test installs one")
    server = RedisServer()
    yield server
    server.stop()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The session's server, empty."""
    redis_server.ask("FLUSHALL")
    return redis_server.url


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[int, str], None]:
    """Prints how many cases of a kind were tried, where pytest holds back what is printed."""

    def show(count: int, kind: str) -> None:
        with capsys.disabled():
            print(f" {count:,} {kind}", end="")

    return show


@pytest.fixture
async def proxy(redis_server: RedisServer, redis_url: str) -> AsyncIterator[Proxy]:
    """Before the session's server, empty."""
    async with Proxy(redis_server.port) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[Cluster]:
    """Three masters for the session; tests that break one start their own."""
    if binary() is None:
        pytest.skip("no redis-server is installed: ./dev test installs one")
    cluster = Cluster()
    yield cluster
    cluster.stop()


@pytest.fixture
def start_redis() -> Iterator[Callable[..., RedisServer]]:
    """Starts servers of the test's own; they stop with it."""
    if binary() is None:
        pytest.skip("no redis-server is installed: ./dev test installs one")
    started: list[RedisServer] = []

    def start(*args: str, **options: object) -> RedisServer:
        started.append(RedisServer(*args, **options))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for server in started:
        server.stop()


def pytest_sessionstart() -> None:
    """In CI the contract must not shrink unseen."""
    if binary() is None and os.environ.get("CI"):
        pytest.exit(f"no redis-server: put one on PATH or its path in {VARIABLE}", returncode=1)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    path = binary()
    if path is None:
        terminalreporter.write_line("NO redis-server: all tests on a real Redis were skipped")
    else:
        version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
        terminalreporter.write_line(f"redis: {version.stdout.strip()}")
    if browser.binary() is None:
        terminalreporter.write_line(
            "NO CHROMIUM: the dashboard was not tried in a browser (apt-get install chromium)",
            red=True,
        )
