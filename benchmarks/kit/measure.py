"""What all measurements share: interleaved rounds, medians with their spread, pages, versions."""

from __future__ import annotations

import os
import platform
import random
import statistics
import subprocess
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

from tests.support.servers import RedisServer, binary

T = TypeVar("T")

DOCS = Path(__file__).parent.parent.parent / "docs"
#: What a run's figures depend on.
PACKAGES = (
    "quart-ratelimit",
    "quart",
    "hypercorn",
    "redis",
    "hiredis",
    "limits",
    "throttled-py",
    "quart-rate-limiter",
)


def versions(packages: Sequence[str] = PACKAGES) -> str:
    """The machine, Python, Redis and the packages, in one line."""
    server = subprocess.run(
        [str(binary()), "--version"], capture_output=True, text=True, check=True
    ).stdout.split()
    words = [f"{platform.machine()} with {os.cpu_count()} CPUs"]
    words += [f"Python {platform.python_version()}", f"{server[0]} {server[2].removeprefix('v=')}"]
    for package in packages:
        try:
            words.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            words.append(f"no {package}")
    return ", ".join(words)


def shuffled_rounds(cases: Sequence[T], rounds: int) -> Iterator[tuple[int, T]]:
    """Every case once a round, each round in another order: what else runs here hits all alike."""
    for number in range(rounds):
        order = list(cases)
        random.Random(number).shuffle(order)
        for case in order:
            yield number, case


def median(values: Sequence[float]) -> float:
    """The median; NaN of nothing."""
    return statistics.median(values) if values else float("nan")


def spread(values: Sequence[float]) -> str:
    """The median, and in brackets the least and the most."""
    if not values:
        return "-"
    return f"{figure(median(values))} ({figure(min(values))}–{figure(max(values))})"


def figure(value: float) -> str:
    """A number in three figures."""
    if value != value:  # NaN
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_between(page: str, mark: str, text: str) -> None:
    """Put a text between ``<!-- mark -->`` and ``<!-- end of mark -->`` of a page of the docs."""
    path = DOCS / page
    before, rest = path.read_text("utf-8").split(f"<!-- {mark} -->", 1)
    after = rest.split(f"<!-- end of {mark} -->", 1)[1]
    path.write_text(
        f"{before}<!-- {mark} -->\n{text}\n<!-- end of {mark} -->{after}", encoding="utf-8"
    )


def cpu_of(pid: int) -> float:
    """Seconds of CPU that a process and its threads have used, user and system."""
    try:  # in ns; what follows is in ticks of 10 ms
        threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
        used = sum(int(thread.read_text("ascii").split()[0]) for thread in threads)
    except OSError:
        used = 0
    if used:
        return used / 1e9
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def redis_cpu(server: RedisServer) -> float:
    """Seconds of CPU that a Redis has used, in microseconds' steps."""
    with server.client() as client:
        used = client.info("cpu")
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


def verdict(what: str, values: Sequence[float], holds: Callable[[float], bool]) -> list[str]:
    """A row that tells a target, what was measured, and whether it is reached."""
    return [what, spread(values), "yes" if holds(median(values)) else "**no**"]
