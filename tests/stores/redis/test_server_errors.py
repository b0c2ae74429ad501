"""What a Redis answers that cannot serve: each is an error at once, and counting resumes."""

import asyncio
import contextlib
import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
import redis
from redis.backoff import NoBackoff
from redis.exceptions import ExecAbortError
from redis.retry import Retry

from quart_ratelimit import FixedWindow, Hit, StoreError
from quart_ratelimit.quotas.fixed_window import KEPT_LONGER
from quart_ratelimit.stores import Breaker, GuardedStore, RedisStore
from quart_ratelimit.stores.redis.counters import executed
from quart_ratelimit.stores.redis.failures import store_error

from ...support.algorithms import CLOCK, SCRIPT
from ...support.cluster import Cluster, node_port, until
from ...support.servers import RedisServer, binary, major, since_7

Start = Callable[..., RedisServer]


def settings(**values: object) -> Callable[[RedisServer], contextlib.AbstractContextManager[None]]:
    """A fault that CONFIG SET makes."""

    @contextmanager
    def fault(server: RedisServer) -> Iterator[None]:
        names = [name.replace("_", "-") for name in values]
        before = [server.ask("CONFIG", "GET", name)[name] for name in names]
        for name, value in zip(names, values.values(), strict=True):
            server.ask("CONFIG", "SET", name, value)  # type: ignore[arg-type]
        yield
        for name, value in zip(names, before, strict=True):
            server.ask("CONFIG", "SET", name, value)

    return fault


@contextmanager
def replica(server: RedisServer) -> Iterator[None]:
    server.ask("REPLICAOF", "127.0.0.1", 1)
    yield
    server.ask("REPLICAOF", "NO", "ONE")


@contextmanager
def stale_replica(server: RedisServer) -> Iterator[None]:
    with settings(replica_serve_stale_data="no")(server), replica(server):
        yield


@contextmanager
def busy(server: RedisServer) -> Iterator[None]:
    """A script of another client that does not end."""
    name = "busy-reply-threshold" if major(str(binary())) >= 7 else "lua-time-limit"
    server.ask("CONFIG", "SET", name, 20)

    def run() -> None:
        with contextlib.suppress(redis.RedisError):
            server.ask("EVAL", "while true do end", 0)

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.1)
    yield
    server.ask("SCRIPT", "KILL")
    thread.join()


@contextmanager
def no_disk(server: RedisServer) -> Iterator[None]:
    """It cannot save, and so takes no writes (MISCONF)."""
    moved = server.folder.with_name(server.folder.name + "-moved")
    with settings(save="3600 1000000")(server):
        server.folder.rename(moved)
        shutil.rmtree(moved)
        server.ask("BGSAVE")
        until(lambda: server.ask("INFO", "persistence")["rdb_last_bgsave_status"] == "err")
        yield
    server.folder.mkdir()
    server.ask("CONFIG", "SET", "stop-writes-on-bgsave-error", "no")


FAULTS = {
    "OOM": settings(maxmemory=1),
    "NOREPLICAS": settings(min_replicas_to_write=1),
    "READONLY": replica,
    "MASTERDOWN": stale_replica,
    "BUSY": busy,
    "MISCONF": no_disk,
}


@asynccontextmanager
async def guarded(server: RedisServer) -> AsyncIterator[GuardedStore]:
    guard = GuardedStore(RedisStore(server.url), policy="open", breaker=Breaker())
    await guard.start()
    yield guard
    await guard.aclose()


async def resumes(guard: GuardedStore) -> None:
    """Counting does, within a second, and no key is without an expiry."""
    end = time.monotonic() + 1
    for quota in (CLOCK, SCRIPT):
        while (await guard.hit([Hit(quota, "ann")]))[0].by != "store":
            assert time.monotonic() < end
            await asyncio.sleep(0.01)


def no_key_is_immortal(server: RedisServer) -> None:
    with server.client() as client:
        assert all(client.pttl(key) > 0 for key in client.scan_iter())


@pytest.mark.parametrize("name", FAULTS)
async def test_an_error_is_an_answer_at_once_and_counting_resumes(  # T-14
    start_redis: Start, name: str
) -> None:
    server = start_redis()
    async with guarded(server) as guard:
        await resumes(guard)
        with FAULTS[name](server):
            took = []
            for number in range(4):
                began = time.monotonic()
                (decision,) = await guard.hit([Hit((CLOCK, SCRIPT)[number % 2], "ann")])
                took.append(time.monotonic() - began)
                assert decision.by == "open", name
            assert min(took) <= 0.01
            assert max(took) <= 0.075
        await resumes(guard)
    no_key_is_immortal(server)


@pytest.mark.parametrize("quota", [CLOCK, SCRIPT], ids=["pipeline", "script"])
@pytest.mark.parametrize("name", FAULTS)
async def test_what_is_admitted_while_redis_answers_with_errors_is_charged_afterwards(
    start_redis: Start, name: str, quota: FixedWindow
) -> None:
    """Each hit reaches Redis, as each one of a client that comes once a second is a probe."""
    server = start_redis()
    guard = GuardedStore(RedisStore(server.url))
    await guard.start()
    await guard.hit([Hit(quota, "ann")])
    with FAULTS[name](server):
        for _ in range(3):
            (decision,) = await guard.hit([Hit(quota, "ann")])
            assert (bool(decision), decision.by) == (True, "local")
    end = time.monotonic() + 5
    seen = ("", 0)
    while seen != ("store", quota.amount - 4):
        assert time.monotonic() < end, seen
        await asyncio.sleep(0.05)
        (decision,) = await guard.hit([Hit(quota, "ann", 0)])
        seen = (decision.by, decision.remaining)
    await guard.aclose()


async def test_while_redis_loads_its_data_the_policy_decides(start_redis: Start) -> None:  # T-14
    server = start_redis("--key-load-delay", "50", "--rdbcompression", "no")  # microseconds
    server.ask("DEBUG", "POPULATE", 20_000, "other", 1_000)
    with server.client() as client:
        client.save()
    server.kill()
    server.start(loaded=False)
    guard = GuardedStore(RedisStore(server.url), policy="open", breaker=Breaker())
    assert not loaded(server)
    (decision,) = await guard.hit([Hit(CLOCK, "ann")])
    assert decision.by == "open"
    until(lambda: loaded(server))
    await resumes(guard)
    await guard.aclose()


def loaded(server: RedisServer) -> bool:
    with server.client(retry=Retry(NoBackoff(), 0)) as client:
        try:
            return bool(client.dbsize())
        except redis.BusyLoadingError:
            return False


async def test_a_redis_that_lets_nobody_in_is_an_error_at_once(start_redis: Start) -> None:  # T-14
    server = start_redis()
    store = RedisStore(server.url)
    with server.client() as client:
        client.config_set("maxclients", 1)
        with pytest.raises(StoreError):
            await store.start()
        began = time.monotonic()
        with pytest.raises(StoreError):
            await store.hit([Hit(CLOCK, "ann")])
        assert time.monotonic() - began <= 0.075
        client.config_set("maxclients", 100)
        (decision,) = await store.hit([Hit(CLOCK, "ann")])
        assert decision.remaining == CLOCK.amount - 1
    await store.aclose()


async def test_a_clusters_node_asked_as_if_it_were_alone_is_an_error(  # T-14: MOVED
    redis_cluster: Cluster,
) -> None:
    redis_cluster.flush()
    elsewhere = next(n for n in map(str, range(99)) if _elsewhere(redis_cluster, n))
    store = RedisStore(redis_cluster.nodes[0].url, prefix="moved", deadline=5)
    with pytest.raises(StoreError):
        await store.hit([Hit(CLOCK, f"{{{elsewhere}}}")])
    await store.aclose()


def _elsewhere(cluster: Cluster, tag: str) -> bool:
    return cluster.owner(f"{{{tag}}}") is not cluster.nodes[0]


async def test_a_node_whose_cluster_is_down_is_an_error(start_redis: Start) -> None:  # T-14
    server = start_redis("--cluster-enabled", "yes", port=node_port())  # it has no slots
    store = RedisStore(server.url, deadline=5)
    with pytest.raises(StoreError, match=r"CLUSTERDOWN|ClusterDown"):
        await store.hit([Hit(CLOCK, "ann")])
    await store.aclose()


@since_7
@pytest.mark.parametrize("poison", ["abc", "-5", "1.5", str(2**63 - 1), "x" * 1000])
async def test_a_value_that_is_no_count_admits_nobody_for_long(  # T-15
    redis_server: RedisServer, redis_url: str, poison: str
) -> None:
    """An error or a refusal until the key is over; nobody else is harmed after it."""
    store = RedisStore(redis_url, deadline=5)
    await store.hit([Hit(CLOCK, "ann")])
    with redis_server.client() as client:
        (key,) = client.keys()
        client.set(key, poison, keepttl=True)
    for _ in range(2):
        try:
            (decision,) = await store.hit([Hit(CLOCK, "ann")])
        except StoreError:
            continue
        assert not decision
    (decision,) = await store.hit([Hit(CLOCK, "bob")])
    assert decision.remaining == CLOCK.amount - 1
    no_key_is_immortal(redis_server)
    await store.aclose()


@pytest.mark.parametrize("quota", [CLOCK, SCRIPT], ids=["pipeline", "script"])
async def test_an_expiry_that_was_changed_locks_nobody_out_for_longer(  # T-15
    redis_server: RedisServer, redis_url: str, quota: FixedWindow
) -> None:
    store = RedisStore(redis_url, deadline=5)
    await store.hit([Hit(quota, "ann")])
    with redis_server.client() as client:
        (key,) = client.keys()
        client.pexpire(key, 10**9)
    (decision,) = await store.hit([Hit(quota, "ann", 1)])
    assert decision.reset_ms <= quota.period_ms
    with redis_server.client() as client:
        client.persist(key)
    await store.hit([Hit(quota, "ann")])
    with redis_server.client() as client:
        assert 0 < int(client.pttl(key)) <= quota.period_ms + 1000 * KEPT_LONGER
    await store.aclose()


@pytest.mark.parametrize(
    ("last", "was_sent"), [("EXEC without MULTI", True), ("Transaction discarded", False)]
)
def test_what_a_refused_transaction_left_undone_is_known_by_execs_own_reply(
    last: str, was_sent: bool
) -> None:
    """If MULTI is refused, and another client's script ends just then, Redis runs INCRBY."""
    kind = redis.ResponseError if was_sent else ExecAbortError
    replies = [redis.ResponseError("BUSY Redis is busy"), 1, 1, kind(last)]
    with pytest.raises(redis.ResponseError) as refused:
        executed(replies)
    assert store_error(refused.value, None, "INCRBY").was_sent is was_sent
