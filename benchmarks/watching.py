"""What it costs that operators can watch: ``./dev bench watching [--quick] [--tree FOLDER]``.

Each case is a process with one app, which a driver calls without a server: CPU per request, by
turns in rounds of another order each, and the commands that Redis is sent in a while of even
traffic. ``--tree`` adds another checkout of the package, such as an older one.

- "never": as if nothing could be watched
- "as it is": no dashboard, and nobody runs ``quart limiter top``
- "dashboard": an app with a dashboard that nobody has opened
- "looked at": a dashboard that an operator has open
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import IO, Any

from tests.support.servers import RedisServer

from .kit import measure

CASES = ("never", "as it is", "dashboard", "looked at")
ROOT = Path(__file__).parent.parent
#: The key of the workers, and the member that is the mark.
KEY, MARK = "rate_limit:workers", "?"
#: Names of rows -> the case, and the checkout.
Cases = dict[str, tuple[str, Path]]


# One case, in a process of its own: each line of its input is "requests pause", and it answers
# with the microseconds of CPU per request.


def made(case: str, url: str) -> Any:
    from quart import Quart

    from quart_ratelimit import Limiter

    app = Quart("watched")
    limiter = Limiter(app=app, storage_uri=url, storage_options={"deadline": 1})

    @app.get("/")
    @limiter.limit("100000000/day")
    async def index() -> str:
        return "hello"

    if case in ("dashboard", "looked at"):
        from quart_ratelimit.contrib.dashboard import dashboard

        app.register_blueprint(dashboard(limiter, guard=lambda: True))
    return app, limiter


def forget_sums(limiter: Any, app: Any) -> None:
    from quart_ratelimit.extension.binding import binding_of

    binding: Any = binding_of(limiter, app)
    own = binding.backend.piggybacks
    own[:] = [one for one in own if one.key_name != "sums"]


async def serve(case: str, url: str) -> None:
    app, limiter = made(case, url)
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
        "method": "GET", "scheme": "http", "path": "/", "raw_path": b"/", "query_string": b"",
        "root_path": "", "headers": [(b"host", b"test")], "client": ("192.0.2.1", 1),
        "server": ("127.0.0.1", 80), "extensions": {}, "state": {},
    }  # fmt: skip

    async def request() -> None:
        received = False

        async def receive() -> Any:
            nonlocal received
            if received:
                await asyncio.Event().wait()
            received = True
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(_: Any) -> None: ...

        await app(dict(scope), receive, send)

    async with app.test_app():
        if case == "never":
            forget_sums(limiter, app)
        loop = asyncio.get_running_loop()
        print("ready", flush=True)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            count, pause = line.split()
            before = time.thread_time_ns()
            for _ in range(int(count)):
                await request()
                if float(pause):
                    await asyncio.sleep(float(pause))
            print((time.thread_time_ns() - before) / 1000 / int(count), flush=True)


# The driver


class Worker:
    """One case of one tree."""

    def __init__(self, case: str, tree: Path, url: str) -> None:
        self.case = case
        env = {**os.environ, "PYTHONPATH": f"{tree / 'src'}:{ROOT}"}
        command = [sys.executable, "-m", "benchmarks.watching", "--case", case, "--url", url]
        self._process = subprocess.Popen(
            command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._in: IO[str] = self._process.stdin  # type: ignore[assignment]
        self._out: IO[str] = self._process.stdout  # type: ignore[assignment]
        assert self._out.readline() == "ready\n"

    def run(self, count: int, pause: float = 0) -> float:
        self._in.write(f"{count} {pause}\n")
        self._in.flush()
        return float(self._out.readline())

    def stop(self) -> None:
        self._in.close()
        self._process.wait(20)


def look(server: RedisServer, case: str) -> None:
    """Set the mark for this case, or remove it."""
    with server.client() as client:
        if case == "looked at":
            seconds, _ = client.time()
            client.zadd(KEY, {MARK: (seconds + 60) * 1000})
        else:
            client.zrem(KEY, MARK)


def calls(server: RedisServer) -> Counter[str]:
    with server.client() as client:
        stats = client.info("commandstats")
    return Counter({name.removeprefix("cmdstat_"): one["calls"] for name, one in stats.items()})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--tree", type=Path, action="append", default=[])
    parser.add_argument("--case")
    parser.add_argument("--url", default="")
    args = parser.parse_args()
    if args.case:
        asyncio.run(serve(args.case, args.url))
        return
    rounds, count, seconds = (60, 100, 4) if args.quick else (300, 100, 10)
    cases = {case: (case, ROOT) for case in CASES}
    for tree in args.tree:
        cases |= {f"{tree}, {case}": (case, tree) for case in ("as it is", "dashboard")}
    server = RedisServer()
    try:
        print(measure.versions(("quart-ratelimit", "quart", "redis", "hiredis")))
        print(cpu(server, cases, rounds, count))
        print(commands(server, cases, seconds))
    finally:
        server.stop()


def cpu(server: RedisServer, cases: Cases, rounds: int, count: int) -> str:
    workers = {name: Worker(*case, server.url) for name, case in cases.items()}
    found: dict[str, list[float]] = {name: [] for name in workers}
    for number, name in measure.shuffled_rounds(list(workers), rounds + 2):
        look(server, workers[name].case)
        used = workers[name].run(count)
        if number > 1:  # the first ones load and connect
            found[name].append(used)
    for worker in workers.values():
        worker.stop()
    least, middle = ({name: of(one) for name, one in found.items()} for of in (low, measure.median))
    rows = [
        [
            name, measure.spread(found[name]), f"{middle[name] / middle['never'] - 1:+.1%}",
            measure.figure(least[name]), f"{least[name] / least['never'] - 1:+.1%}",
        ]
        for name in workers
    ]  # fmt: skip
    head = ["case", "µs CPU per request", "to never", "its lowest tenth", "to never"]
    return measure.table(head, rows)


def low(values: list[float]) -> float:
    """What a tenth of the rounds stay below: the others were disturbed."""
    return sorted(values)[len(values) // 10]


def commands(server: RedisServer, cases: Cases, seconds: int) -> str:
    rows = []
    for name, case in cases.items():
        worker = Worker(*case, server.url)
        look(server, worker.case)
        worker.run(60, 0.05)  # it sees the mark, or that there is none
        before, started = calls(server), time.monotonic()
        worker.run(20 * seconds, 0.05)
        took = time.monotonic() - started
        sent = calls(server) - before
        worker.stop()
        own = sum(sent[one] for one in ("hget", "hset", "hgetall", "hdel"))
        others = ", ".join(
            f"{one} {number / took:.1f}"
            for one, number in sorted(sent.items())
            if one not in ("info", "hello", "client|setinfo", "time")
        )
        rows.append([name, f"{own / took:.2f}", others])
    return measure.table(["case", "commands a second for sums", "all, a second"], rows)


if __name__ == "__main__":
    main()
