"""What all workers counted: written while a viewer looks, and summed in the viewer's process."""

import asyncio
import json
import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from quart import Quart

from quart_ratelimit import Decision, FixedWindow, Hit, Limiter, StoreError
from quart_ratelimit.cli.commands import TOP_ONCE
from quart_ratelimit.extension.binding import bindings_of
from quart_ratelimit.extension.fleet_rows import KEPT_MS, Sums, Worker, merged
from quart_ratelimit.extension.fleet_sums import FleetSums
from quart_ratelimit.extension.history import series
from quart_ratelimit.extension.tally import Tally
from quart_ratelimit.signals import send_decided
from quart_ratelimit.stores import Fleet, MemoryStore
from quart_ratelimit.stores.fleet import LONGEST_MS, LOOK_MS, MARK

from ..support.apps import Clock, ask
from ..support.servers import RedisServer

W1, W2 = Worker("w1", "east", 11), Worker("w2", "west", 7)


def worker(url: str, **settings: Any) -> tuple[Quart, FleetSums, Any]:
    app = Quart("shop")
    limiter = Limiter(app=app, storage_uri=url, storage_options={"deadline": 1}, **settings)

    @app.get("/")
    @limiter.limit("3/hour")
    async def index() -> str:
        return ""

    return app, bindings_of(limiter).sums, bindings_of(limiter)


async def test_sums_are_those_of_all_workers(redis_url: str) -> None:
    apps = [worker(redis_url) for _ in range(3)]
    for _, sums, _ in apps:
        sums.keep()
    for app, _, _ in apps:
        await ask(app, "/", 2, who="192.0.2.1")
    viewer, backend = apps[0][1], apps[0][2].of(apps[0][0]).backend
    assert await viewer.look(backend)  # sets the mark
    for app, sums, _ in apps:
        sums._fleet._due_ms = 0
        await ask(app, "/", 1, who="192.0.2.2")  # reads the mark along with it
        await ask(app, "/", 1, who="192.0.2.3")  # writes along with it what was counted before
        sums._due_ms = 0
        sums._start_carrying()  # as the timer does where no batch comes
        assert sums._carrying is not None
        await sums._carrying
    view = await viewer.look(backend)
    assert view is not None
    (row,) = view.rows
    assert len(view.parts) == 3
    assert (row.allowed, row.refused) == (3 + 3 + 3, 3)
    assert {key: (hits, no) for key, hits, no in row.top}["{192.0.2.1}|index"] == (6, 3)
    for app, sums, bindings in apps:
        sums.close()
        await bindings.of(app).store.aclose()


async def test_a_user_without_the_right_to_hashes_is_an_error_and_no_endless_look(
    start_redis: Callable[..., RedisServer],
) -> None:
    server = start_redis()
    server.ask("ACL", "SETUSER", "app", "on", ">secret", "~*", "+@all", "-@hash")
    app, sums, bindings = worker(server.url.replace("redis://", "redis://app:secret@"))
    assert await ask(app, "/", 1, who="192.0.2.1") == [200]
    looking = asyncio.ensure_future(sums.look(bindings.of(app).backend))
    done, _ = await asyncio.wait({looking}, timeout=5)
    looking.cancel()
    assert done, "it looks for ever"
    with pytest.raises(StoreError, match=r"sums of the workers.*no permissions"):
        await looking
    sums.close()
    await bindings.of(app).store.aclose()


@pytest.mark.parametrize("has_dashboard", [False, True])
async def test_no_command_is_sent_for_the_sums_while_nobody_looks(
    redis_server: RedisServer, redis_url: str, has_dashboard: bool
) -> None:
    app, sums, bindings = worker(redis_url)
    if has_dashboard:
        sums.keep()
    await ask(app, "/", 2)  # connects, and registers for the first time
    with redis_server.client() as client, client.monitor() as monitor:
        for number in range(3):
            sums._fleet._due_ms = 0
            await ask(app, "/", who=f"192.0.2.{number}")
            sums._fleet._due_ms = 0
            sums._start_carrying()  # as the timer of a worker without traffic does
            if sums._carrying is not None:
                await sums._carrying
        client.echo("end")
        own = Counter[str]()
        while (said := monitor.next_command()["command"].split())[0] != "ECHO":
            if any(key in said for key in ("rate_limit:sums", "rate_limit:workers")):
                own[" ".join(said[:2])] += 1
    heartbeats = own["ZADD rate_limit:workers"]
    assert heartbeats >= 3
    names = [f"{one} rate_limit:workers" for one in ("ZADD", "PEXPIRE", "ZRANGE")]
    assert own == dict.fromkeys(names, heartbeats)
    await sums.look(bindings.of(app).backend)
    assert redis_server.ask("ZSCORE", "rate_limit:workers", MARK)
    sums.close()
    await bindings.of(app).store.aclose()


def test_a_busy_worker_learns_of_a_viewer_within_three_seconds() -> None:
    assert LONGEST_MS < TOP_ONCE * 1000


def test_a_worker_counts_only_while_somebody_looks() -> None:
    clock, limiter = Clock(), Limiter()
    sums, fleet = FleetSums(limiter, now_ms=clock), Fleet(name="a", now_ms=clock)
    sums._fleet = fleet

    def register(at_ms: int, *mark: object) -> None:
        commands = fleet.commands("k", at_ms)
        fleet.read([0] * (len(commands) - 1) + [[b"a", at_ms, *mark]], at_ms)

    clock.forward(60)
    register(5_000)
    assert not sums.is_due()
    assert sums._tally is None
    register(7_000, MARK.encode(), 6_000)
    assert sums.is_due()  # what is counted goes with the next batch
    assert sums.commands("k", 7_000) == []
    assert sums._tally is not None
    assert not sums.is_due()
    clock.forward(1)
    assert sums.is_due()
    decide(limiter, "login")
    (write, _) = sums.commands("k", 8_000)
    assert write[0] == "HSET"
    clock.forward(LOOK_MS / 1000)
    assert not sums.is_due()
    decide(limiter, *["login"] * 200)
    (row,) = sums._tally.rows
    assert row.allowed < 100  # it ended


def test_a_write_that_is_not_confirmed_is_repeated() -> None:
    limiter, clock = Limiter(store=MemoryStore()), Clock()
    sums = FleetSums(limiter, now_ms=clock)
    sums.keep()
    hits = [Hit(FixedWindow(9, 60), "ann", 1)]
    send_decided(limiter, hits, [Decision(True, 8, 60_000, 0)])
    written = []
    for confirmed in (False, True, True):
        commands = sums.commands("k", 7_000)
        written.append([command[0] for command in commands])
        if confirmed:
            sums.read([0] * len(commands), 7_000)
    assert written == [["HSET", "PEXPIRE"], ["HSET", "PEXPIRE"], []]


def test_what_a_worker_writes_at_once_is_bounded() -> None:
    limiter, clock = Limiter(store=MemoryStore()), Clock()
    sums = FleetSums(limiter, now_ms=clock)
    sums.keep()
    for number in range(120):
        hits = [Hit(FixedWindow(9, 60, name=f"n{number}"), "ann", 1)]
        send_decided(limiter, hits, [Decision(True, 8, 60_000, 0)])
    sizes = []
    for _ in range(4):
        commands = sums.commands("k", 7_000)
        sizes.append((len(commands[0]) - 2) // 2 if commands else 0)
        sums.read([0] * len(commands), 7_000)
    assert sizes == [100, 20, 0, 0]


def decide(limiter: Limiter, *names: str, allowed: bool = True) -> None:
    for name in names:
        hits = [Hit(FixedWindow(9, 60, name=name), "ann", 1)]
        send_decided(limiter, hits, [Decision(allowed, 8, 60_000, 0)])


def test_each_of_many_limits_has_its_turn_although_all_are_hit_all_the_time() -> None:
    limiter, clock = Limiter(store=MemoryStore()), Clock()
    sums = FleetSums(limiter, now_ms=clock)
    sums.keep()
    names = [f"n{number}" for number in range(200)]
    written = set()
    for _ in range(2):
        decide(limiter, *names)
        write, expiry = sums.commands("k", 7_000)
        written |= set(write[2::2])
        sums.read([0, expiry], 7_000)
    assert len(written) == 200


def test_a_worker_that_goes_on_keeps_its_rows_and_one_that_ended_is_forgotten() -> None:
    limiter, clock = Limiter(store=MemoryStore()), Clock()
    living, viewer = FleetSums(limiter, now_ms=clock), FleetSums(Limiter(), now_ms=clock)
    living.keep()
    decide(limiter, "login")
    found: dict[str, object] = {}
    start = clock()

    def tick() -> None:
        """What the two do every second, and the store's part in it."""
        viewer._looking = 1
        for one in (living, viewer):
            for command, _, *words in one.commands("k", clock()):
                if command == "HSET":
                    found.update(zip(map(str, words[::2]), words[1::2], strict=True))
                if command == "HDEL":
                    for word in words:
                        del found[str(word)]
        living.read([], clock())
        viewer.read([dict(found)], clock())

    tick()
    found["w9|0"] = Sums("login", "", FixedWindow(9, 60), 5).as_json(start, "", W1)
    tick()
    assert viewer._found is not None
    assert [one.allowed for one in viewer._found.rows] == [6]
    for _ in range(3):
        clock.forward(KEPT_MS / 1000 / 2 + 1)
        tick()
    assert [one.allowed for one in viewer._found.rows] == [1]
    tick()
    assert "w9|0" not in found


def test_the_hour_is_the_sum_of_all_workers_minutes_by_their_machines_clocks() -> None:
    first = Sums("a", "", FixedWindow(1, 60), minutes=[[100, 3, 0], [158, 1, 1]])
    second = Sums("a", "", FixedWindow(1, 60), minutes=[[99, 7, 7], [158, 2, 0], [159, 0, 4]])
    found: dict[str, object] = {
        "w1|0": first.as_json(0, "", W1), "w2|0": second.as_json(0, "", W2),
    }  # fmt: skip
    (row,) = merged(found, "", 0).rows
    hour = series(row.minutes, 159)
    assert (len(hour), hour[0], hour[-2:]) == (60, (3, 0), [(3, 1), (0, 4)])
    assert sum(map(sum, hour)) == 11


def test_a_row_holds_an_hour_of_history_and_no_more() -> None:
    limiter, clock = Limiter(store=MemoryStore()), Clock()
    tally = Tally(limiter, now_ms=clock)
    for _ in range(100):
        decide(limiter, "login")
        decide(limiter, "login", allowed=False)
        clock.forward(60)
    (row,) = tally.rows
    tally.close()
    sums = Sums.of_row(row, tally.second)
    assert len(sums.minutes) == 59  # the present minute has had no hit
    text = sums.as_json(0, "", W1)
    assert len(text) < 1000
    (again,) = merged({"w1|0": text}, "", 0).rows
    assert again.minutes == sums.minutes


def test_a_worker_that_wrote_a_moment_ago_runs_although_the_fleet_has_not_heard_of_it() -> None:
    row = Sums("a", "", FixedWindow(1, 60), 1)
    found: dict[str, object] = {
        "w1|0": row.as_json(10_000, "", W1), "w2|0": row.as_json(90_000, "", W2),
    }  # fmt: skip
    assert merged(found, "", 91_000).recent == {"w2"}


def test_each_workers_part_is_known() -> None:
    quota = FixedWindow(1, 60)
    rows = [
        (W1, Sums("a", "", quota, 3, 1)), (W1, Sums("b", "", quota, 0, 0, 2)),
        (W2, Sums("a", "", quota, 4)),
    ]  # fmt: skip
    found: dict[str, object] = {
        f"{n}|0": one.as_json(0, "", worker) for n, (worker, one) in enumerate(rows)
    }
    said: Any = merged(found, "", 0).as_dict(with_workers=True)
    assert said["parts"] == [
        {"worker": "east:11", "allowed": 3, "refused": 1, "fallback": 2},
        {"worker": "west:7", "allowed": 4, "refused": 0, "fallback": 0},
    ]
    (row,) = [one for one in said["limits"] if one["limit"] == "a"]
    assert (row["allowed"], [one["allowed"] for one in row["parts"]]) == (7, [3, 4])


def test_processes_that_were_forked_from_one_write_rows_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limiter, clock = Limiter(store=MemoryStore()), Clock()
    sums = FleetSums(limiter, now_ms=clock)
    sums.keep()
    found: dict[str, object] = {}
    for pid in (11, 12):
        monkeypatch.setattr(os, "getpid", lambda pid=pid: pid)
        decide(limiter, "login")
        write, expiry = sums.commands("k", 7_000)
        found[str(write[2])] = write[3]
        sums.read([0, expiry], 7_000)
    view = merged(found, "", 7_000)
    assert sorted(worker.pid for worker in view.parts) == [11, 12]


async def test_a_worker_sends_no_exchange_of_its_own_for_what_a_batch_took_along(
    redis_url: str,
) -> None:
    app, sums, bindings = worker(redis_url)
    sums.keep()
    await ask(app, "/", 1, who="192.0.2.1")
    sums._fleet._due_ms = sums._now_ms() + 60_000  # as after a batch that has read the mark
    sums._start_carrying()
    assert sums._carrying is None
    assert sums._timer is not None  # later
    sums.close()
    await bindings.of(app).store.aclose()


def test_rows_of_another_service_or_version_are_left_out() -> None:
    row = Sums("a", "", FixedWindow(1, 60), 1)
    found: dict[str, object] = {
        "w1|0": row.as_json(0, "shop", W1), "w2|0": row.as_json(0, "", W2), "w3|0": b"[1]",
    }  # fmt: skip
    view = merged(found, "shop", 0)
    assert [one.allowed for one in view.rows] == [1]
    assert list(view.parts) == [W1]


def test_top_says_that_memory_is_no_fleet() -> None:
    app = Quart(__name__)
    Limiter(app=app, storage_uri="memory://", default_limits=["9/day"])
    from quart_ratelimit.cli import cli

    result = app.test_cli_runner().invoke(cli, ["top", "--json"])
    assert (result.exit_code, json.loads(result.stdout)) == (1, [])
    assert "kept in memory" in result.stderr


@pytest.mark.parametrize("args", [["top"], ["top", "--once"], ["top", "--json"]])
def test_top_prints_once_where_nothing_can_be_drawn(
    redis_url: str, args: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from quart_ratelimit.cli import commands

    monkeypatch.setattr(commands, "TOP_ONCE", 0)
    app, sums, _ = worker(redis_url)
    sums.keep()
    asyncio.run(ask(app, "/", 4, who="192.0.2.1"))
    result = app.test_cli_runner().invoke(commands.cli, args)
    assert result.exit_code == 0
    assert "3 per 1 hour" in result.stdout
    assert ('"192.0.2.1"' if "--json" in args else "192.0.2.1: 4, 1 refused") in result.stdout
