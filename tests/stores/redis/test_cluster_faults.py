"""A Cluster that hangs in part, loses a slot or says too much: no answer is another's."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest
from redis.asyncio import RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot

from quart_ratelimit import FixedWindow, Hit, StoreError
from quart_ratelimit.errors import StoreTimeout
from quart_ratelimit.stores import ClusterStore

from ...support.cluster import SLOTS, Cluster, until
from ...support.proxy import Proxy, add_stray

QUOTA = FixedWindow(1_000_000, 3_600)


#: Tag -> which of the three masters its slot lies on.
TAGS = {tag: key_slot(str(tag).encode()) // -(-SLOTS // 3) for tag in range(60)}


@pytest.fixture
async def proxies(redis_cluster: Cluster) -> AsyncIterator[dict[int, Proxy]]:
    """One before each node, by the node's port."""
    redis_cluster.flush()
    async with AsyncExitStack() as stack:
        yield {
            node.port: await stack.enter_async_context(Proxy(node.port))
            for node in redis_cluster.masters
        }


@pytest.fixture
async def store(redis_cluster: Cluster, proxies: dict[int, Proxy]) -> AsyncIterator[ClusterStore]:
    def open_client() -> RedisCluster:
        return RedisCluster(
            host="127.0.0.1",
            port=redis_cluster.masters[0].port,
            address_remap=lambda address: (address[0], proxies[address[1]].port),
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=None,
            socket_connect_timeout=None,
        )

    store = ClusterStore(open_client, deadline=2)
    await store.start()
    yield store
    await store.aclose()


async def used(store: ClusterStore, key: str) -> int:
    """What a hit brings the count to."""
    (decision,) = await store.hit([Hit(QUOTA, key)])
    return QUOTA.amount - decision.remaining


STRAYS: dict[str, Callable[[bytes], bytes]] = {
    "a number": lambda reply: add_stray(reply) or b"",
    "an error": lambda reply: reply + b"-ERR unasked\r\n",
    "itself": lambda reply: reply + reply,
}


@pytest.mark.parametrize("name", STRAYS)
async def test_a_stray_reply_shifts_nobodys_answer(  # T-12
    proxies: dict[int, Proxy], store: ClusterStore, name: str
) -> None:
    """redis-py's cluster client looks at no connection before it uses it again."""
    assert await used(store, "{ann}") == 1
    for proxy in proxies.values():
        proxy.match, proxy.fault, proxy.times = b"{ann}", STRAYS[name], 1
    assert [await used(store, "{ann}") for _ in range(10)] == list(range(2, 12))


async def test_connections_that_were_closed_while_idle_cost_nobody_an_answer(  # T-10
    redis_cluster: Cluster,
) -> None:
    redis_cluster.flush()
    store = ClusterStore(redis_cluster.url, deadline=2)
    await asyncio.gather(*[used(store, f"{{c{n}}}") for n in range(30)])
    for node in redis_cluster.masters:
        node.ask("CLIENT", "KILL", "TYPE", "normal")
    await asyncio.sleep(0.01)  # the loop hears of it
    assert await asyncio.gather(*[used(store, f"{{c{n}}}") for n in range(30)]) == [2] * 30
    await store.aclose()


@pytest.mark.parametrize("connections", range(1, 7))
async def test_while_a_slot_moves_any_number_of_warm_connections_will_do(  # T-22
    redis_cluster: Cluster, connections: int
) -> None:
    """ASKING holds for the next command of its own connection alone."""
    redis_cluster.flush()
    store = ClusterStore(redis_cluster.url, deadline=2)
    await store.start()
    for node in redis_cluster.masters:
        mine = [tag for tag in TAGS if TAGS[tag] == redis_cluster.masters.index(node)]
        await asyncio.gather(*[used(store, f"{{{tag}}}") for tag in mine[:connections]])
    key = "{moving}"
    slot, source, target = redis_cluster.begin_move(key)
    try:
        counts = [await used(store, f"{key}|{connections}-{n}") for n in range(10)]
    finally:
        for node in (target, source):
            node.ask("CLUSTER", "SETSLOT", slot, "STABLE")
        target.ask("FLUSHALL")
        await store.aclose()
    assert counts == [1] * 10


async def test_a_node_that_hangs_holds_up_its_own_slots_alone_and_never_the_loop(  # T-22
    redis_cluster: Cluster,
) -> None:
    store = ClusterStore(redis_cluster.url, deadline=0.1)
    await store.start()
    hung = redis_cluster.masters[1]
    owners = {tag: redis_cluster.masters[place] for tag, place in list(TAGS.items())[:12]}
    lags = []

    async def watch() -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.001)
            lags.append(time.monotonic() - began)

    hung.freeze()
    try:
        watching = asyncio.ensure_future(watch())
        began = time.monotonic()
        answers = await asyncio.gather(
            *[store.hit([Hit(QUOTA, f"{{{n}}}")]) for n in owners], return_exceptions=True
        )
        assert time.monotonic() - began <= 0.2
        watching.cancel()
    finally:
        hung.thaw()
    for owner, answer in zip(owners.values(), answers, strict=True):
        assert isinstance(answer, StoreTimeout) == (owner is hung)
    assert max(lags) <= 0.05
    until(lambda: "cluster_state:ok" in redis_cluster.masters[0].ask("CLUSTER", "INFO"))
    end = time.monotonic() + 1
    for number in owners:
        await until_counted(store, f"{{{number}}}", end)
    await store.aclose()


async def until_counted(store: ClusterStore, key: str, end: float) -> None:
    while True:
        try:
            await used(store, key)
        except StoreError:
            assert time.monotonic() < end
            await asyncio.sleep(0.01)
        else:
            return


async def test_a_slot_without_a_node_is_an_error_until_it_has_one(  # T-22, CLUSTERDOWN
    redis_cluster: Cluster,
) -> None:
    store = ClusterStore(redis_cluster.url, deadline=0.5)
    await store.start()
    key = "{orphan}"
    slot, owner = redis_cluster.alive().ask("CLUSTER", "KEYSLOT", key), redis_cluster.owner(key)
    assert await used(store, key) >= 1
    for node in redis_cluster.masters:
        node.ask("CLUSTER", "DELSLOTS", slot)
    try:
        for _ in range(3):
            began = time.monotonic()
            with pytest.raises(StoreError) as caught:
                await used(store, key)
            assert time.monotonic() - began <= 0.6
            assert "orphan" not in str(caught.value)
    finally:
        owner.ask("CLUSTER", "ADDSLOTS", slot)
        for node in redis_cluster.masters:
            until(lambda node=node: "cluster_state:ok" in node.ask("CLUSTER", "INFO"))
    await until_counted(store, key, time.monotonic() + 1)
    await store.aclose()
