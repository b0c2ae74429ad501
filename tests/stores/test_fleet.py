"""How workers learn how many they are, and what a limit's own policy decides."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from quart import Quart

from quart_ratelimit import (
    ConfigurationError,
    FixedWindow,
    Hit,
    Limiter,
    LimitsFile,
    StoreError,
    rate_limit,
)
from quart_ratelimit.stores import ClusterStore, Fleet, GuardedStore, RedisStore, fleet

from ..support.algorithms import CLOCK
from ..support.fleets import Crew
from ..support.servers import RedisServer
from ..support.stores import Clock, guarded

MINUTE = FixedWindow(2, 60)


@pytest.fixture
async def workers(redis_url: str) -> AsyncIterator[list[GuardedStore]]:
    guards = [GuardedStore(RedisStore(redis_url, deadline=5, prefix="fleet")) for _ in range(3)]
    yield guards
    for guard in guards:
        await guard.aclose()


async def test_workers_that_started_know_each_other_with_their_next_hits(
    workers: list[GuardedStore],
) -> None:
    for guard in workers:
        await guard.start()
    for guard in workers:
        guard._known.fleet._due_ms = 0
        await guard.hit([Hit(CLOCK, "ann")])
    assert sorted(guard._known.fleet.view() for guard in workers) == [(3, 0), (3, 1), (3, 2)]
    await workers[0].aclose()
    workers[1]._known.fleet._due_ms = 0
    await workers[1].hit([Hit(CLOCK, "ann")])
    assert workers[1]._known.fleet.view()[0] == 2


def test_processes_that_were_forked_from_one_are_workers_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An app that is loaded before its server forks has one `Fleet`, copied into each worker."""
    known = Fleet(now_ms=Clock())
    names = []
    for pid in (11, 12):
        monkeypatch.setattr(os, "getpid", lambda pid=pid: pid)
        (_, _, _, name), *_ = known.commands("k", 0)
        names.append(name)
    known.read([0, 0, 0, [part for name in names for part in (name, 0)]], 0)
    assert (len(set(names)), known.view()) == (2, (2, sorted(names).index(names[1])))


async def test_hits_of_both_ways_to_redis_take_the_registration_along(
    workers: list[GuardedStore],
) -> None:
    for guard, quota in zip(workers, [CLOCK, FixedWindow(10, 60), CLOCK], strict=True):
        await guard.hit([Hit(quota, "ann")])  # which opens a connection
        (decision,) = await guard.hit([Hit(quota, "ann")])
        assert decision.by == "store"
        assert guard._known.fleet.name in guard._known.fleet.names


async def test_a_registration_costs_six_commands_in_five_seconds() -> None:
    clock, sent = Clock(), 0
    own = Fleet(name="a", now_ms=clock)
    for _ in range(3_000):
        if own.is_due():
            commands = own.commands("key", 1_000_000)
            sent += len(commands)
            replies = [0] * (len(commands) - 1)
            own.read([*replies, [b"a", b"1000000"]], 1_000_000)
        clock.now += 20
    assert sent <= 6 * (60 / 5 + 4)


async def test_the_set_of_workers_expires_and_no_reset_forgets_it(
    start_redis: type[RedisServer],
) -> None:
    server = start_redis()
    guard = GuardedStore(RedisStore(server.url))
    await guard.start()
    await guard.hit([Hit(MINUTE, "ann")])
    assert await guard.clear() == 1
    assert 0 < server.ask("PTTL", "rate_limit:workers") <= fleet.KEPT_MS
    await guard.aclose()
    assert server.ask("EXISTS", "rate_limit:workers") == 0


async def test_the_set_of_workers_expires_also_after_all_keys_were_lost(
    start_redis: type[RedisServer],
) -> None:
    server = start_redis()
    guard = GuardedStore(RedisStore(server.url))
    await guard.start()
    for _ in range(2):
        server.ask("FLUSHALL")
        guard._known.fleet._due_ms = 0
        await guard.hit([Hit(MINUTE, "ann")])
        assert 0 < server.ask("PTTL", "rate_limit:workers") <= fleet.KEPT_MS
    await guard.aclose()


async def test_a_process_that_only_looks_is_not_one_of_the_workers() -> None:
    own = Fleet(name="a", now_ms=Clock())
    own.registers = False
    assert not own.is_due()
    own.look()
    assert own.is_due()
    assert own.commands("k", 7_000)[0] == ("ZADD", "k", 7_000, fleet.MARK)
    own.read([1, 0, 1, [fleet.MARK.encode(), b"7000", b"b", b"6000"]], 7_000)
    assert own.names == ["b"]
    assert not own.is_due()


@pytest.mark.parametrize("key", ["workers", "rate_limit:workers", "", ":workers"])
async def test_no_client_can_choose_the_key_of_the_workers(key: str) -> None:
    for quota in (MINUTE, FixedWindow(2, 60, aligned=True)):
        assert not quota.state_key(key, 1_000_000).endswith("workers")


async def test_the_workers_of_a_cluster_register_in_one_node(redis_cluster: object) -> None:
    guards = [GuardedStore(ClusterStore(redis_cluster.url, deadline=5)) for _ in range(2)]  # type: ignore[attr-defined]
    for guard in guards:
        await guard.start()
    for guard in guards:
        guard._known.fleet._due_ms = 0
        await guard._store.carry()  # type: ignore[attr-defined]
    assert sorted(guard._known.fleet.view() for guard in guards) == [(2, 0), (2, 1)]
    for guard in guards:
        await guard.aclose()


async def test_a_worker_that_is_silent_is_forgotten_and_one_from_the_future_too() -> None:
    own = Fleet(name="b")
    now = 10_000_000
    told = [b"a", now - fleet.KEPT_MS - 1, b"b", now, b"c", now + fleet.KEPT_MS + 1, b"d", now - 9]
    own.read([1, 0, 1, told], now)
    assert own.names == ["b", "d"]


async def test_without_the_right_to_register_what_is_known_stays() -> None:
    own = Fleet(4, name="b")
    own.read([StoreError("NOPERM"), 0, 1, []], 0)
    assert own.view()[0] == 4


def test_a_worker_that_never_reached_redis_counts_as_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(fleet.WEB_CONCURRENCY, raising=False)
    assert Fleet().view() == (1, 0)
    monkeypatch.setenv(fleet.WEB_CONCURRENCY, "3")
    assert Fleet().view()[0] == 3
    assert Fleet(5).view()[0] == 5


def test_or_by_the_processes_that_its_server_started(tmp_path: Path) -> None:
    own, mother = os.getpid(), os.getppid()
    children = tmp_path / f"{mother}/task/{mother}"
    children.mkdir(parents=True)
    (children / "children").write_text(f"{own} {own + 1} {own + 2}", "ascii")
    spawned = b"python\0-c\0spawn_main(%d)\0--multiprocessing-fork"
    commands = {own: spawned % 1, own + 1: spawned % 2, own + 2: b"python\0-c\0main(3)"}
    for pid, command in commands.items():
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "cmdline").write_bytes(command)
    assert fleet._siblings(parent=lambda: "a server", folder=tmp_path) == (2, 0)
    assert fleet._siblings(parent=lambda: None, folder=tmp_path) == (1, 0)


# A policy per limit


async def test_a_limit_has_a_policy_of_its_own() -> None:
    guard, store, _ = guarded("local")
    store.error = StoreError("away")
    for policy in ("open", "closed", "local"):
        (decision,) = await guard.hit([Hit(MINUTE, "ann", policy=policy)])
        assert (decision.by, decision.allowed) == (policy, policy != "closed")
    with pytest.raises(StoreError):
        await guard.hit([Hit(MINUTE, "ann", policy="raise")])


async def test_of_several_policies_the_strictest_decides_and_nothing_else_is_charged() -> None:
    guard, store, _ = guarded("local")
    store.error = StoreError("away")
    hits = [Hit(MINUTE, "ann", policy=policy) for policy in ("open", "closed", "local")]
    decisions = await guard.hit(hits)
    assert [decision.by for decision in decisions] == ["open", "closed", "local"]
    assert [decision.allowed for decision in decisions] == [True, False, True]
    (look,) = await guard.hit([Hit(MINUTE, "ann", 0)])
    assert look.remaining == 2


async def test_a_limit_under_open_does_not_let_pass_what_a_local_one_refuses() -> None:
    crew = Crew(1)
    crew.cut()
    (guard,) = crew.guards
    hits = [Hit(MINUTE, "ann"), Hit(FixedWindow(5, 60), "ann", policy="open")]
    allowed = [all(await guard.hit(hits)) for _ in range(3)]
    assert allowed == [True, True, False]


def test_a_policy_is_checked_when_it_is_given() -> None:
    limiter = Limiter()
    for give in (
        lambda: limiter.limit("5/minute", on_store_error="ajar"),
        lambda: limiter.shared_limit("5/minute", "s", on_store_error="ajar"),
        lambda: limiter.reserve("5/minute", "ann", cost=1, on_store_error="ajar"),
        lambda: limiter.in_flight(5, on_store_error="ajar"),
        lambda: rate_limit("5/minute", on_store_error="ajar"),
    ):
        with pytest.raises(ConfigurationError, match=r"on_store_error.*'ajar' is not a policy"):
            give()


async def test_a_login_is_closed_while_the_rest_of_the_site_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "limits.toml"
    file.write_text('reset = {limit = "5/minute", on_store_error = "closed"}', "utf-8")
    app = Quart(__name__)
    limiter = Limiter(app=app, storage_uri="redis://127.0.0.1:1", key_func=lambda: "ann")

    @app.get("/login")
    @limiter.limit("5/minute", on_store_error="closed")
    async def login() -> str:
        return "in"

    @app.get("/reset")
    @limiter.limit(LimitsFile(file)["reset"])
    async def reset() -> str:
        return "reset"

    @app.get("/code")
    @rate_limit("5/minute", on_store_error="closed")
    async def code() -> str:
        return "code"

    @app.get("/")
    @limiter.limit("5/minute")
    async def index() -> str:
        return "home"

    client = app.test_client()
    for _ in range(7):
        for path in ("/login", "/reset", "/code"):
            assert (await client.get(path)).status_code == 503
    assert (await client.get("/")).status_code == 200
    assert not await limiter.hit("5/minute", "ann", on_store_error="closed")
    assert await limiter.hit("5/minute", "ann")
    await limiter.store.aclose()
