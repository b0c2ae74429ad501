"""Connections are opened in the background, and a request that gives up does not undo that."""

import asyncio
import time
from collections.abc import Callable

import pytest
from redis.asyncio import Redis, RedisCluster

from quart_ratelimit import FixedWindow, Hit, StoreError
from quart_ratelimit.stores import ClusterStore, GuardedStore, RedisStore

from ...support.algorithms import BOTH
from ...support.cluster import Cluster, until
from ...support.proxy import Proxy, answer, break_at, lose
from ...support.servers import RedisServer

DISTANCES = [0, 0.005, 0.015, 0.03, 0.08, 0.2]
CLOCK = FixedWindow(1_000_000, 86_400, aligned=True)


async def counts_within(store: GuardedStore, seconds: float, quota: FixedWindow = CLOCK) -> float:
    """Hit until Redis counts again; how long it took."""
    began = time.monotonic()
    while (await store.hit([Hit(quota, "ann")]))[0].by != "store":
        assert time.monotonic() - began < seconds, "not counted by Redis again"
        await asyncio.sleep(0.02)
    return time.monotonic() - began


@BOTH
@pytest.mark.parametrize("distance", DISTANCES)
async def test_at_any_distance_redis_counts_within_2_s_of_a_start_and_of_a_loss(
    proxy: Proxy, distance: float, quota: FixedWindow
) -> None:
    """Started cold, then after every connection was reset, then after one was closed by Redis."""
    proxy.delay = distance
    store = GuardedStore(RedisStore(proxy.url))
    await counts_within(store, 2, quota)
    for _ in range(2):
        proxy.drop_all()
        await counts_within(store, 2, quota)
    await store.aclose()


@pytest.mark.parametrize("distance", DISTANCES)
async def test_at_any_distance_a_restarted_redis_counts_within_2_s(
    start_redis: Callable[..., RedisServer], distance: float
) -> None:
    server = start_redis()
    async with Proxy(server.port) as proxy:
        proxy.delay = distance
        store = GuardedStore(RedisStore(proxy.url))
        await store.start()
        await counts_within(store, 2)
        server.kill()
        for _ in range(10):
            await store.hit([Hit(CLOCK, "ann")])
        await asyncio.to_thread(server.start)
        await counts_within(store, 2)
        await store.aclose()


@pytest.mark.parametrize("distance", [0, 0.03, 0.2])
async def test_at_any_distance_the_nodes_of_a_cluster_count_within_2_s(
    redis_cluster: Cluster, distance: float
) -> None:
    redis_cluster.flush()
    proxies = {node.port: Proxy(node.port) for node in redis_cluster.masters}
    for proxy in proxies.values():
        await proxy.__aenter__()
        proxy.delay = distance

    def open_client() -> RedisCluster:
        return RedisCluster(
            host="127.0.0.1",
            port=proxies[redis_cluster.masters[0].port].port,
            address_remap=lambda address: (
                (address[0], proxies[address[1]].port) if address[1] in proxies else address
            ),
            protocol=2,
            socket_timeout=None,
            socket_connect_timeout=None,
        )

    store = GuardedStore(ClusterStore(open_client))
    await store.start()
    await counts_within(store, 2)
    for proxy in proxies.values():
        proxy.drop_all()
    await counts_within(store, 2)
    await store.aclose()
    for proxy in proxies.values():
        await proxy.__aexit__()


async def test_a_request_waits_for_a_connection_no_longer_than_its_deadline(proxy: Proxy) -> None:
    proxy.delay = 0.3
    store = RedisStore(proxy.url, deadline=0.1)
    began = time.monotonic()
    with pytest.raises(StoreError):
        await store.hit([Hit(CLOCK, "ann")])
    assert time.monotonic() - began < 0.25
    await asyncio.sleep(1.2)  # nobody asks; the connection is opened all the same
    proxy.delay = 0
    assert (await store.hit([Hit(CLOCK, "ann")]))[0].remaining == CLOCK.amount - 1
    await store.aclose()


def connected(server: RedisServer) -> int:
    with server.client() as client:
        return len(client.client_list())


@pytest.mark.parametrize("step", range(0, 40, 3))
async def test_closing_at_any_step_of_connecting_leaves_no_task_and_no_connection(
    redis_server: RedisServer, redis_url: str, step: int
) -> None:
    tasks, connections = asyncio.all_tasks(), connected(redis_server)
    store = RedisStore(redis_url, deadline=0.2)
    hitting = asyncio.ensure_future(store.hit([Hit(CLOCK, "ann")]))
    for _ in range(step):
        await asyncio.sleep(0)
    await store._links.get().connections.aclose()
    await asyncio.gather(hitting, return_exceptions=True)
    await store.aclose()
    assert asyncio.all_tasks() == tasks
    until(lambda: connected(redis_server) <= connections)


FAULTS = [lose, break_at(3), answer(b"hello\r\n"), answer(b"+OK\r\n"), answer(b"-ERR no\r\n")]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("match", [b"HELLO", b"SETINFO", b"SELECT", b"probe", b"ann"])
async def test_whatever_breaks_while_connecting_no_connection_is_left(
    redis_server: RedisServer, proxy: Proxy, fault: Callable[[bytes], bytes], match: bytes
) -> None:
    connections = connected(redis_server)
    proxy.match, proxy.fault, proxy.times = match, fault, 3
    store = RedisStore(proxy.url.replace("/0", "/1"), deadline=0.05)
    for _ in range(8):
        await asyncio.gather(
            *[store.hit([Hit(CLOCK, "ann")]) for _ in range(3)], return_exceptions=True
        )
    await store.aclose()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert [task for task in others if "coro=<Proxy." not in repr(task)] == []
    await asyncio.sleep(0.05)  # the proxy hears of it
    until(lambda: connected(redis_server) <= connections)
    assert not proxy._writers


@BOTH
async def test_a_connection_that_was_reset_while_it_was_idle_costs_no_hit(
    proxy: Proxy, quota: FixedWindow
) -> None:
    """As a firewall or a load balancer resets what was idle for long."""
    store = GuardedStore(RedisStore(proxy.url, deadline=2))
    await store.hit([Hit(quota, "ann")])
    for _ in range(5):
        proxy.drop_all()
        await asyncio.sleep(0.02)  # the event loop sees the reset
        (decision,) = await store.hit([Hit(quota, "ann")])
        assert decision.by == "store"
    await store.aclose()


@BOTH
async def test_a_connection_that_was_reset_while_it_was_idle_in_the_apps_pool_costs_no_hit(
    proxy: Proxy, quota: FixedWindow
) -> None:
    """The app used it before, and redis-py gives it out without seeing the reset."""
    client = Redis.from_url(proxy.url)
    store = GuardedStore(RedisStore(lambda: client, deadline=2))
    await client.ping()
    proxy.drop_all()
    await asyncio.sleep(0.02)  # the event loop sees the reset
    (decision,) = await store.hit([Hit(quota, "ann")])
    assert decision.by == "store"
    await store.aclose()
    await client.aclose()
