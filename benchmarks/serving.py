"""HTTP, ours beside its peers: ``python -m benchmarks.serving [--quick] [--write]``.

Hypercorn with one worker serves each case in a process of its own, on one redis-server; ``--server
uvicorn`` has Uvicorn with httptools serve a few of them. ``wrk`` drives it over 64 connections, or
without ``wrk`` `load` in a process apart. Each round starts each process anew: by the places that
it is given in memory alone, one process is 10 us a request dearer than another. Each case is
compared with the route without a limiter right before it and right after it: a machine that others
use is slower in one minute than in the next. CPU a request is the process's own, by /proc. A new
case is one more entry in `apps`.
"""

from __future__ import annotations

import argparse
import re
import shutil
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from threading import Thread

from tests.support.servers import RedisServer, free_port

from .kit import apps, load, measure

#: The routes without a limiter, that the others are compared with.
BASE = "no limiter"
#: Those that another server serves.
FEW = (BASE, apps.FIELDS, apps.PLAIN, apps.HEADERS, apps.REFUSING, apps.SHIELD, apps.BARE)
#: Cases of one client's flood, whose commands are looked at one by one.
FLOODS = (apps.CLOCK_REFUSING, apps.REFUSING, apps.SHIELD)
#: Commands of those that ask Redis how many it has carried out.
ASKING = ("info", "client", "hello", "monitor", "echo")


@dataclass(frozen=True)
class Sample:
    """One case for some seconds."""

    #: Requests a second.
    rate: float
    #: CPU of the server a request, in us.
    cpu: float
    #: Commands that Redis carried out a second, and of a flood those that it was sent.
    commands: float
    sent: float
    #: Requests answered otherwise than the case should answer.
    wrong: int
    #: Requests a second, and their CPU, of the route without a limiter beside it.
    base_rate: float
    base_cpu: float

    @property
    def more(self) -> float:
        """CPU a request beyond that of the route without a limiter, in us."""
        return self.cpu - self.base_cpu

    @property
    def part(self) -> float:
        """Its throughput as a part of that of the route without a limiter."""
        return self.rate / self.base_rate


Results = dict[str, list[Sample]]
#: A port, and the process that serves there.
Served = tuple[int, int]


@contextmanager
def serving(case: str, redis_url: str, by: str) -> Iterator[Served]:
    """Serve a case by that server; its port and its process."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.kit.apps", case, str(port), redis_url, by],
        cwd=measure.DOCS.parent,
    )
    try:
        end = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 0.5).close()
                break
            except OSError:
                if time.monotonic() > end or process.poll() is not None:
                    raise RuntimeError(f"{case} does not serve") from None
                time.sleep(0.05)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(10)


def drive(port: int, seconds: float, connections: int) -> tuple[int, float, int]:
    """Load one case: requests answered, in how many seconds, and how many of them not by 2xx."""
    url = f"http://127.0.0.1:{port}/"
    wrk = shutil.which("wrk")
    if wrk is None:
        command = [sys.executable, "-m", "benchmarks.kit.load", str(port), str(seconds)]
        out = subprocess.run(
            [*command, str(connections)], capture_output=True, text=True, check=True
        ).stdout
        return load.read(out)
    # wrk takes whole seconds.
    command = [wrk, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", url]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    count = re.search(r"(\d+) requests in ([\d.]+)(ms|s)", out)
    assert count is not None, out
    other = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    elapsed = float(count[2]) / (1000 if count[3] == "ms" else 1)
    return int(count[1]), elapsed, int(other[1]) if other else 0


def run(cases: list[str], rounds: int, seconds: float, connections: int, by: str) -> Results:
    """All cases, in so many rounds, served by that server."""
    results: Results = defaultdict(list)
    with ExitStack() as stack:
        server = RedisServer()
        stack.callback(server.stop)
        shuffled = measure.shuffled_rounds(cases, rounds)
        for number, in_round in groupby(shuffled, key=itemgetter(0)):
            with serving(BASE, server.url, by) as beside:
                drive(beside[0], 1, connections)  # warm
                for _, case in in_round:
                    with serving(case, server.url, by) as served:
                        drive(served[0], 1, connections)
                        time.sleep(0.3)  # what is left under way comes to its end
                        found = sample(case, server, served, beside, seconds, connections)
                    results[case].append(found)
                    print(f"round {number + 1} of {rounds}: {case}", file=sys.stderr)
    return results


def sample(
    case: str,
    server: RedisServer,
    served: Served,
    beside: Served,
    seconds: float,
    connections: int,
) -> Sample:
    """Load one case, before and after it the route beside it, and look what it and Redis did."""
    base = [load_of(beside, seconds / 2, connections)]
    asked = commands(server)
    with watching(server) if case in FLOODS else nullcontext([]) as sent:
        count, elapsed, other, cpu = load_of(served, seconds, connections)
    done = commands(server) - asked
    base.append(load_of(beside, seconds / 2, connections))
    base_count, base_elapsed, _, base_cpu = map(sum, zip(*base, strict=True))
    wrong = count - other if apps.CASES[case].refuses else other
    return Sample(
        count / elapsed,
        cpu / max(1, count) * 1e6,
        done / elapsed,
        len(sent) / elapsed,
        wrong,
        base_count / base_elapsed,
        base_cpu / base_count * 1e6,
    )


def load_of(served: Served, seconds: float, connections: int) -> tuple[int, float, int, float]:
    """Load one process: as `drive`, and the CPU that it used, in seconds."""
    port, pid = served
    before = measure.cpu_of(pid)
    count, elapsed, other = drive(port, seconds, connections)
    return count, elapsed, other, measure.cpu_of(pid) - before


def commands(server: RedisServer) -> int:
    """Commands that Redis has carried out, in scripts too, without those that ask for this."""
    stats = server.ask("INFO", "commandstats")
    return sum(
        stat["calls"] for name, stat in stats.items() if not any(word in name for word in ASKING)
    )


@contextmanager
def watching(server: RedisServer) -> Iterator[list[str]]:
    """The commands that clients send meanwhile, without those that a script carries out."""
    sent: list[str] = []
    end = "ECHO the end of a flood"

    def listen() -> None:
        for command in monitor.listen():
            if command["command"] == end:
                return
            words = command["command"].lower().split()
            if command["client_type"] != "lua" and words[0] not in ASKING:
                sent.append(words[0])

    with server.client() as client, client.monitor() as monitor:
        thread = Thread(target=listen)
        thread.start()
        try:
            yield sent
        finally:
            server.ask(*end.split(" ", 1))
            thread.join()


def figures(results: Results) -> str:
    """The table: each case beside the route without a limiter, round by round."""
    rows = []
    for case in apps.CASES:
        if case not in results:
            continue
        samples = results[case]
        rows.append(
            [
                case,
                measure.spread([one.rate for one in samples]),
                measure.spread([one.cpu for one in samples]),
                measure.spread([one.more for one in samples]),
                measure.spread([one.part for one in samples]),
                measure.figure(measure.median([one.commands for one in samples])),
                str(sum(one.wrong for one in samples)),
            ]
        )
    head = ["", "requests/s", "CPU µs", f"more than {BASE}, µs", "its throughput"]
    head += ["Redis commands/s", "wrong answers"]
    return measure.table(head, rows)


def targets(results: Results) -> str:
    """What was aimed at, and whether it is reached."""
    rows = []
    for case in (apps.HEADERS, apps.PLAIN, apps.CLOCK):
        if case not in results:
            continue
        more = [one.more for one in results[case]]
        rows.append(measure.verdict(f"{case}: ≤ 25 µs more CPU", more, lambda x: x <= 25))
        share = [one.more / one.base_cpu for one in results[case]]
        rows.append(
            measure.verdict(
                f"{case}: 25 of 300 µs, ≤ 0.083 of the CPU", share, lambda x: x <= 0.083
            )
        )
        part = [one.part for one in results[case]]
        rows.append(measure.verdict(f"{case}: ≥ 0.9 of the throughput", part, lambda x: x >= 0.9))
    shield = [one.part for one in results[apps.SHIELD]]
    rows.append(measure.verdict(f"shield / {BASE}: ≥ 2", shield, lambda x: x >= 2))
    both = zip(results[apps.SHIELD], results[apps.BARE], strict=True)
    bare = [one.part / other.part for one, other in both]
    rows.append(measure.verdict(f"shield / {apps.BARE}: ≥ 0.8", bare, lambda x: x >= 0.8))
    for case in [case for case in FLOODS if case in results]:
        asked = [one.sent for one in results[case]]
        rows.append(measure.verdict(f"{case}: Redis is sent ≤ 2/s", asked, lambda x: x <= 2))
    return measure.table(["target", "measured", "reached"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few and short rounds")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--only", default="", help="cases with this in their name")
    parser.add_argument("--server", choices=("hypercorn", "uvicorn"), default="hypercorn")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 3, 1
    by = options.server
    known = apps.CASES if by == "hypercorn" else FEW
    cases = [case for case in known if options.only in case or case == BASE]
    results = run(cases, options.rounds, options.seconds, options.connections, by)
    also = () if by == "hypercorn" else ("uvicorn", "httptools")
    parts = [
        f"Medians of {options.rounds} rounds of {options.seconds:g} s (least–most), "
        f"{options.connections} connections. {measure.versions((*measure.PACKAGES, *also))}.",
        figures(results),
    ]
    if not options.only:
        parts.append(targets(results))
    text = "\n\n".join(parts)
    print(text)
    if options.write:
        if options.only:
            parser.error("--write needs all cases")
        mark = "serving" if by == "hypercorn" else f"serving by {by}"
        measure.write_between("explanation/performance.md", mark, text)


if __name__ == "__main__":
    main()
