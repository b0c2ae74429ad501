"""Real servers and real clients: a server in a process of its own, and raw HTTP/1.1 load."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


@contextmanager
def hypercorn(
    *args: str, env: dict[str, str], app: str = "serve:app", log: list[str] | None = None
) -> Iterator[int]:
    """Serve an app by Hypercorn; see `serving`."""
    with serving("hypercorn", "-b", "127.0.0.1:{port}", *args, app, env=env, log=log) as port:
        yield port


@contextmanager
def serving(*words: str, env: dict[str, str], log: list[str] | None = None) -> Iterator[int]:
    """Serve an app by ``python -m`` these words and yield its port.

    What was started is stopped by pid. Fills ``log`` then.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", *(word.format(port=port) for word in words)]
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **env}, stderr=subprocess.PIPE, text=True
    )
    try:
        _wait_for(port, process)
        yield port
    finally:
        process.terminate()
        try:
            _, errors = process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        if log is not None:
            log += errors.splitlines()


def _wait_for(port: int, process: "subprocess.Popen[str]") -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(process.communicate()[1])
        try:
            socket.create_connection(("127.0.0.1", port), 0.5).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError("the server did not listen within 30 s")


async def load(port: int, path: str, requests: int, connections: int, client: str) -> Counter[int]:
    """Statuses of so many GETs over so many keep-alive connections of one client address."""
    statuses: Counter[int] = Counter()
    left = iter(range(requests))

    async def one_connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(client, 0))
        for _ in left:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            statuses[int(head[9:12])] += 1
            length = head.split(b"content-length:")[1].split(b"\r\n")[0]
            await reader.readexactly(int(length))
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*[one_connection() for _ in range(connections)])
    return statuses
