"""What a fleet admits before, during and after an outage: ``python -m benchmarks.outage``.

Each case starts Hypercorn with several workers on a Redis of its own and takes the Redis away: from
all, frozen or killed, or from one worker alone, which reaches it through a proxy. Clients that the
workers have never seen, that have used half, and that have used all are counted apart. Writes the
table of docs/explanation/reliability.md; `benchmarks.reliability` does so as well. Takes four
minutes.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack, suppress
from pathlib import Path

from quart import Quart, request

from quart_ratelimit import Limiter
from quart_ratelimit.quotas import (
    GCRA,
    FixedWindow,
    MovingWindow,
    Quota,
    SlidingWindow,
    StrictWindow,
)
from tests.support.proxy import Proxy
from tests.support.servers import RedisServer
from tests.support.serving import hypercorn

from .kit.measure import write_between

AMOUNT = 10
#: By the name of its route. A day is so long that nothing comes back meanwhile.
QUOTAS: dict[str, Quota] = {
    "window": FixedWindow(AMOUNT, 86_400),
    "clock": FixedWindow(AMOUNT, 86_400, aligned=True),
    "sliding": SlidingWindow(AMOUNT, 86_400),
    "strict": StrictWindow(AMOUNT, 86_400),
    "moving": MovingWindow(AMOUNT, 86_400),
    "gcra": GCRA(AMOUNT, 86_400),
}
#: What each kind of client has used when the outage begins.
USED = {"unseen": 0, "half used": AMOUNT // 2, "exhausted": AMOUNT}
#: Seconds in which the workers learn of each other, and in which they charge what they owe.
MEET, CHARGE = 3.0, 3.0


def create_app() -> Quart:
    """The app of one worker. The first worker that starts reaches Redis by ``LONE_URL``, if set."""
    app = Quart(__name__)
    uri = os.environ["REDIS_URL"]
    if "LONE_URL" in os.environ:
        try:
            os.close(os.open(os.environ["LONE_FILE"], os.O_CREAT | os.O_EXCL))
            uri = os.environ["LONE_URL"]
        except FileExistsError:
            pass
    limiter = Limiter(lambda: request.headers["X-Client"], app=app, storage_uri=uri)

    for name, quota in QUOTAS.items():
        app.add_url_rule(f"/{name}", name, limiter.limit(quota)(view_named(name)))
    return app


def view_named(name: str) -> Callable[[], Awaitable[str]]:
    """A view of its own for each limit."""

    async def view() -> str:
        return name

    view.__name__ = name
    return view


async def get(port: int, path: str, client: str) -> bool:
    """Whether one request, over a connection of its own, is admitted.

    A worker that ends closes connections that it has accepted: that request is sent once more.
    """
    fields = f"Host: a\r\nX-Client: {client}\r\nConnection: close"
    for _ in range(5):
        head = b""
        with suppress(ConnectionError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET /{path} HTTP/1.1\r\n{fields}\r\n\r\n".encode())
            head = await reader.read(12)
            await reader.read()
            writer.close()
        if head[9:12] in (b"200", b"429"):
            return head[9:12] == b"200"
        if head:
            break
    raise RuntimeError(f"/{path}: {head!r}")


async def admitted(
    ports: list[int], times: int, clients: dict[str, int]
) -> dict[tuple[str, str], int]:
    """How many of so many requests are admitted, by algorithm and client; 32 at a time."""
    found = {(path, client): 0 for path in QUOTAS for client in clients}
    gate = asyncio.Semaphore(32)

    async def one(number: int, path: str, client: str) -> None:
        async with gate:
            passed = await get(ports[number % len(ports)], path, client)
        found[path, client] += passed

    await asyncio.gather(
        *[
            one(number, path, client)
            for number in range(times)
            for path in QUOTAS
            for client, most in clients.items()
            if number < most
        ]
    )
    return found


async def case(workers: int, fault: str) -> dict[str, list[int]]:
    """For each kind of client, what each algorithm admitted in all."""
    # Kept on disk at each write: a Redis that starts empty has forgotten what was used.
    server = RedisServer("--appendonly", "yes", "--appendfsync", "always")
    async with AsyncExitStack() as stack:
        exits = stack.enter_context(ExitStack())
        exits.callback(server.stop)
        env = {"REDIS_URL": server.url}
        proxy = await stack.enter_async_context(Proxy(server.port))
        if fault == "cut off":
            folder = exits.enter_context(tempfile.TemporaryDirectory())
            env |= {"LONE_URL": proxy.url, "LONE_FILE": str(Path(folder) / "taken")}
        # Entered in a thread: the proxy must go on while the workers start.
        server_context = hypercorn(
            "-w", str(workers), env=env, app="benchmarks.outage:create_app()"
        )
        port = await asyncio.to_thread(server_context.__enter__)
        exits.callback(lambda: server_context.__exit__(None, None, None))
        await asyncio.sleep(MEET)
        rounds = 4 * AMOUNT
        everyone = dict.fromkeys(USED, rounds)
        before = await admitted([port], AMOUNT, USED)
        await asyncio.sleep(0.2)
        if fault == "frozen":
            server.freeze()
        elif fault == "killed":
            server.kill()
        else:
            proxy.silent = True
        during = await admitted([port], rounds, everyone)
        if fault == "frozen":
            server.thaw()
        elif fault == "killed":
            await asyncio.to_thread(server.start)
        else:
            proxy.silent = False
        await asyncio.sleep(CHARGE)
        after = await admitted([port], rounds, everyone)
        return {
            client: [before[p, client] + during[p, client] + after[p, client] for p in QUOTAS]
            for client in USED
        }


def bound(workers: int, fault: str, used: int) -> int:
    """What docs/explanation/reliability.md promises at most, whatever each worker has heard."""
    if fault == "cut off":
        return AMOUNT + -(-AMOUNT // workers)
    return AMOUNT + -(-used * (workers - 1) // workers)


async def table() -> str:
    """All cases in Markdown; a cell is the least and the most of all algorithms."""
    head = [f"{client} (bound)" for client in USED]
    lines = [f"| workers | Redis | {' | '.join(head)} |", "| --- | --- |" + " --- |" * len(USED)]
    for workers in (2, 4, 8):
        for fault in ("frozen", "killed", "cut off"):
            found = await case(workers, fault)
            cells = [
                f"{min(found[client])}–{max(found[client])} ({bound(workers, fault, used)})"
                for client, used in USED.items()
            ]
            lines.append(f"| {workers} | {fault} | {' | '.join(cells)} |")
            print(lines[-1], file=sys.stderr)
    return "\n".join(lines)


if __name__ == "__main__":
    write_between("explanation/reliability.md", "outage", asyncio.run(table()))
