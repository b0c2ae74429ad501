"""What a fleet admits while workers join and leave: ``python -m benchmarks.joining``.

Hypercorn recycles its workers, or a second server with four workers joins a first with two and
leaves again: while Redis answers, and while it is away. Writes a table of
docs/explanation/reliability.md; `benchmarks.reliability` does so as well. Takes two minutes.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from quart import Quart

from tests.support.servers import RedisServer
from tests.support.serving import hypercorn

from . import outage
from .kit.measure import write_between
from .outage import AMOUNT, CHARGE, MEET, QUOTAS, USED, admitted

APP = "benchmarks.joining:create_app()"
#: Requests until a worker is replaced; each round sends some hundreds.
LIFE = "90"
FIRST, SECOND = 2, 4


def create_app() -> Quart:
    """As `outage.create_app`; writes down that a worker has started."""
    with open(os.environ["STARTED"], "a", encoding="utf-8") as file:
        file.write(f"{os.getpid()}\n")
    return outage.create_app()


class Fleet:
    """Servers on one Redis, and how many workers have started."""

    def __init__(self, exits: ExitStack, *options: str) -> None:
        self.redis = RedisServer("--appendonly", "yes", "--appendfsync", "always")
        exits.callback(self.redis.stop)
        folder = exits.enter_context(tempfile.TemporaryDirectory())
        self._started = Path(folder) / "started"
        self._exits = exits
        self._options = options
        self.ports: list[int] = []

    async def serve(self, workers: int) -> ExitStack:
        """Start a server with so many workers; closing what is returned stops it."""
        env = {"REDIS_URL": self.redis.url, "STARTED": str(self._started)}
        server = hypercorn("-w", str(workers), *self._options, env=env, app=APP)
        exits = self._exits.enter_context(ExitStack())
        self.ports.append(port := await asyncio.to_thread(server.__enter__))
        exits.callback(server.__exit__, None, None, None)
        exits.callback(self.ports.remove, port)
        return exits

    @property
    def started(self) -> int:
        return len(self._started.read_text("utf-8").splitlines())


Found = dict[tuple[str, str], int]


async def ask(fleet: Fleet, found: Found, clients: dict[str, int]) -> None:
    """Send the requests of a round, and add what is admitted to what was found."""
    for key, count in (await admitted(fleet.ports, max(clients.values()), clients)).items():
        found[key] += count


async def case(change: str, away: bool) -> tuple[dict[str, list[int]], int]:
    """For each kind of client, what each algorithm admitted; and the workers that joined late."""
    with ExitStack() as exits:
        fleet = Fleet(exits, *(["--max-requests", LIFE] if change == "recycled" else []))
        await fleet.serve(FIRST if change == "2 to 6 to 2" else SECOND)
        leaving = await fleet.serve(SECOND) if change == "8 to 4" else None
        await asyncio.sleep(MEET)
        everyone = dict.fromkeys(USED, 2 * AMOUNT)
        found: Found = {(path, client): 0 for path in QUOTAS for client in USED}
        await ask(fleet, found, USED)
        await asyncio.sleep(0.2)
        known = fleet.started
        if away:
            fleet.redis.freeze()
        await ask(fleet, found, everyone)
        if change == "2 to 6 to 2":
            leaving = await fleet.serve(SECOND)
        await ask(fleet, found, everyone)
        if leaving is not None:
            await asyncio.to_thread(leaving.close)
        await ask(fleet, found, everyone)
        late = fleet.started - known
        if away:
            fleet.redis.thaw()
            await asyncio.sleep(CHARGE)
        await ask(fleet, found, everyone)
        return {client: [found[path, client] for path in QUOTAS] for client in USED}, late


def bound(workers: int, used: int, late: int, away: bool) -> int:
    """What the docs promise at most: each worker that starts in the outage adds a share."""
    if not away:
        return AMOUNT
    missed = -(-used * (workers - 1) // workers)
    return AMOUNT + missed + late * -(-AMOUNT // SECOND)


async def table() -> str:
    """All cases in Markdown; a cell is the least and the most of all algorithms."""
    head = [f"{client} (bound)" for client in USED]
    lines = [
        f"| workers | Redis | started late | {' | '.join(head)} |",
        "| --- | --- | --- |" + " --- |" * len(USED),
    ]
    for away in (False, True):
        for change, workers in (("recycled", 4), ("2 to 6 to 2", 2), ("8 to 4", 8)):
            found, late = await case(change, away)
            cells = [
                f"{min(found[client])}–{max(found[client])} ({bound(workers, used, late, away)})"
                for client, used in USED.items()
            ]
            redis = "frozen" if away else "answers"
            lines.append(f"| {change} | {redis} | {late} | {' | '.join(cells)} |")
            print(lines[-1], file=sys.stderr)
    return "\n".join(lines)


if __name__ == "__main__":
    write_between("explanation/reliability.md", "joining", asyncio.run(table()))
