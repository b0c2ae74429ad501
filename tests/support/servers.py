"""Real redis-servers for the tests: on free loopback ports, stopped by the pid that was started."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import redis

#: Where the test command puts a server's path that is not on PATH.
VARIABLE = "TESTS_REDIS_SERVER"


def binary() -> str | None:
    """The redis-server to start: the variable's, else the first on PATH; None if there is none."""
    return os.environ.get(VARIABLE) or shutil.which("redis-server") or shutil.which("valkey-server")


@cache
def major(path: str) -> int:
    """A server's version, the first of its numbers."""
    told = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    return int(told.partition("v=")[2].partition(".")[0])


#: For tests that count commands which an older Redis is not asked: it has no EXPIRE NX.
since_7 = pytest.mark.skipif(
    (path := binary()) is not None and major(path) < 7,
    reason="before Redis 7.0 the script counts windows by the clock, too",
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RedisServer:
    """One redis-server process in a folder of its own."""

    def __init__(
        self,
        *args: str,
        port: int | None = None,
        env: dict[str, str] | None = None,
        config: str | None = None,
    ) -> None:
        self.port = free_port() if port is None else port
        self.folder = Path(tempfile.mkdtemp(prefix="redis-test-"))
        self._args = args
        self._config = config
        self._env = {**os.environ, **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.stop)
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, *, loaded: bool = True) -> None:
        """Start on the port, which must be free: a forgotten server would answer for this one.

        It is waited for until it has loaded its data or, if told so, only until it answers.
        """
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", self.port)), f"port {self.port} is in use"
        path = binary()
        assert path is not None, "no redis-server is installed"
        command = [path, "--port", str(self.port), "--bind", "127.0.0.1"]
        if self._config is not None:  # a Sentinel, which keeps its state in its own file
            file = self.folder / "conf"
            file.write_text(self._config, "utf-8")
            command.insert(1, str(file))
        else:
            command += ["--save", ""]
            if major(path) >= 7:  # before, DEBUG needs no leave
                command += ["--enable-debug-command", "yes"]
        command += ["--dir", str(self.folder), *self._args]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=self._env)
        self._wait(loaded)

    def client(self, **options: Any) -> redis.Redis:
        """A plain client for looking from outside; close it, or use it in a ``with``."""
        return redis.Redis.from_url(self.url, decode_responses=True, **options)

    def ask(self, *command: str | int) -> Any:
        """One command's reply."""
        with self.client() as client:
            return client.execute_command(*command)

    def kill(self) -> None:
        """As a machine that loses power."""
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(5)

    def freeze(self) -> None:
        """Accept, and answer nothing, until `thaw`."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.thaw()
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(5)
        shutil.rmtree(self.folder, ignore_errors=True)
        atexit.unregister(self.stop)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _wait(self, loaded: bool) -> None:
        assert self._process is not None
        end = time.monotonic() + 10
        while time.monotonic() < end and self._process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 0.5) as ping:
                    ping.sendall(b"PING\r\n")
                    reply = ping.recv(64)
                    if reply and not (loaded and reply.startswith(b"-LOADING")):
                        return
            except OSError:
                time.sleep(0.01)
        raise RuntimeError((self.folder / "log").read_text("utf-8"))
