"""A URI of the wrong kind, a Cluster's node by redis:// or a single Redis by redis+cluster://."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from quart import Quart

from quart_ratelimit import Hit, Limiter
from quart_ratelimit.errors import StoreError, StoreMisconfigured
from quart_ratelimit.stores import ClusterStore, GuardedStore, RedisStore

from ...support import certificates
from ...support.algorithms import BOTH, SCRIPT
from ...support.cluster import SLOTS, Cluster, node_port, until
from ...support.servers import RedisServer, free_port

Start = Callable[..., RedisServer]

PREFIXES = ["rate_limit", "", "moved", "{a}b", "app:limits"]


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_each_node_of_a_cluster_by_a_plain_uri_is_an_error_at_start(
    redis_cluster: Cluster, prefix: str
) -> None:
    for node in redis_cluster.nodes:
        owns_all = "{" in prefix and redis_cluster.owner(prefix) is node
        store = RedisStore(node.url, prefix=prefix, deadline=5)
        if owns_all:  # it is the only node that this prefix needs
            await store.start()
        else:
            with pytest.raises(StoreMisconfigured) as caught:
                await store.start()
            assert f"write redis+cluster://127.0.0.1:{node.port}" in str(caught.value)
        await store.aclose()


async def test_a_cluster_of_one_node_by_a_plain_uri_is_an_error_at_start(
    start_redis: Start,
) -> None:
    server = start_redis("--cluster-enabled", "yes", port=node_port())
    store = RedisStore(server.url, deadline=5)
    with pytest.raises(StoreMisconfigured, match=r"redis\+cluster://.*|CLUSTERDOWN"):
        await store.start()
    server.ask("CLUSTER", "ADDSLOTS", *range(SLOTS))
    until(lambda: "cluster_state:ok" in server.ask("CLUSTER", "INFO"))
    with pytest.raises(StoreMisconfigured, match=r"CROSSSLOT.*write redis\+cluster://"):
        await store.start()
    await store.aclose()


@BOTH
async def test_no_client_of_a_clusters_node_is_counted_by_a_plain_uri(
    redis_cluster: Cluster, quota: object
) -> None:
    store = RedisStore(redis_cluster.nodes[0].url, deadline=5)
    for number in range(9):
        with pytest.raises(StoreMisconfigured, match=r"write redis\+cluster://"):
            await store.hit([Hit(quota, str(number))])  # type: ignore[arg-type]
    await store.aclose()


@BOTH
async def test_a_slot_that_moves_away_is_an_error_until_it_is_back(
    redis_cluster: Cluster, quota: object
) -> None:
    """A prefix in braces keeps all keys on one node, so a plain URI works until they move."""
    redis_cluster.flush()
    source = redis_cluster.owner("{limits}")
    store = RedisStore(source.url, prefix="{limits}", deadline=5)
    await store.start()
    assert (await store.hit([Hit(quota, "ann")]))[0]  # type: ignore[arg-type]
    redis_cluster.flush()
    slot, _, target = redis_cluster.begin_move("{limits}")
    redis_cluster.end_move(slot, target)
    try:
        for number in range(5):
            with pytest.raises(StoreMisconfigured, match=r"MOVED.*write redis\+cluster://"):
                await store.hit([Hit(quota, str(number))])  # type: ignore[arg-type]
    finally:
        redis_cluster.begin_move("{limits}", source)
        redis_cluster.end_move(slot, source)
    assert (await store.hit([Hit(quota, "ann")]))[0]  # type: ignore[arg-type]
    await store.aclose()


async def test_an_app_at_a_clusters_node_does_not_start(redis_cluster: Cluster) -> None:
    app = Quart("app")
    limiter = Limiter(app=app, storage_uri=redis_cluster.nodes[0].url)
    with pytest.raises(Exception, match=r"write redis\+cluster://"):
        async with app.test_app():
            pass
    await limiter.store.aclose()


async def test_what_is_wrong_is_logged_once_though_other_hits_succeed(
    start_redis: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """Successes in between keep the breaker closed, which would otherwise log it."""
    server = start_redis()
    guard = GuardedStore(RedisStore(server.url, deadline=5))
    await guard.start()
    await guard.hit([Hit(SCRIPT, "ann")])
    with server.client() as client:
        (key,) = client.keys("*ann*")
        client.delete(key)
        client.lpush(key, "x")
    with caplog.at_level(logging.ERROR, "quart_ratelimit"):
        for number in range(20):
            (decision,) = await guard.hit([Hit(SCRIPT, "ann")])
            assert decision.by == "local"
            assert (await guard.hit([Hit(SCRIPT, str(number))]))[0].by == "store"
    assert caplog.text.count("WRONGTYPE") == 1
    await guard.aclose()


async def test_a_single_redis_by_a_clusters_uri_is_an_error_at_start(
    redis_server: RedisServer, redis_url: str
) -> None:
    store = ClusterStore(redis_url.replace("redis://", "redis+cluster://"), deadline=5)
    place = f"127.0.0.1:{redis_server.port}"
    with pytest.raises(StoreMisconfigured, match=rf"at {place} .*write redis://{place}"):
        await store.start()
    with pytest.raises(StoreMisconfigured, match=rf"at {place} .*write redis://{place}"):
        await store.hit([Hit(SCRIPT, "ann")])
    await store.aclose()


async def test_a_database_that_redis_lacks_is_an_error_at_start(redis_server: RedisServer) -> None:
    store = RedisStore(f"redis://127.0.0.1:{redis_server.port}/99", deadline=5)
    with pytest.raises(StoreMisconfigured, match=r"no such database at .*/0, or set its databases"):
        await store.start()
    await store.aclose()


async def test_another_database_of_a_clusters_node_is_an_error_at_start(
    redis_cluster: Cluster,
) -> None:
    port = redis_cluster.nodes[0].port
    store = RedisStore(f"redis://127.0.0.1:{port}/1", deadline=5)
    with pytest.raises(StoreMisconfigured, match=rf"write redis\+cluster://127.0.0.1:{port}"):
        await store.start()
    await store.aclose()


async def test_a_single_redis_by_a_sentinels_uri_is_an_error_at_start(start_redis: Start) -> None:
    server = start_redis()
    store = RedisStore(f"redis+sentinel://127.0.0.1:{server.port}/mymaster", deadline=5)
    message = rf"a Redis answers where a Sentinel was .*write redis://127.0.0.1:{server.port}"
    with pytest.raises(StoreMisconfigured, match=message):
        await store.start()
    await store.aclose()


PLAIN = ["rediss://{}", "rediss+cluster://{}", "rediss+sentinel://{}/mymaster"]
BY_TLS = ["redis://{}", "redis+cluster://{}", "redis+sentinel://{}/mymaster"]


@pytest.mark.parametrize("uri", PLAIN)
async def test_tls_to_a_port_without_it_is_named(start_redis: Start, uri: str) -> None:
    await is_named(uri, start_redis().port, "means TLS; if this port has none, write redis$")


@pytest.mark.parametrize("uri", BY_TLS)
async def test_a_port_that_expects_tls_is_named(
    start_redis: Start, uri: str, tmp_path: Path
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl is installed")
    port, files = free_port(), certificates.make(tmp_path)
    try:
        start_redis(
            "--tls-port", str(port), "--tls-auth-clients", "no", "--tls-cert-file",
            str(files.certificate), "--tls-key-file", str(files.key), "--tls-ca-cert-file",
            str(files.authority),
        )  # fmt: skip
    except RuntimeError as error:
        if "tls" not in str(error).lower():
            raise
        pytest.skip("this redis-server was built without TLS")
    await is_named(uri, port, "if this port expects TLS, write rediss$")


@pytest.mark.parametrize("uri", [*PLAIN, *BY_TLS])
async def test_a_port_that_nobody_listens_at_says_nothing_of_tls(uri: str) -> None:
    await is_named(uri, free_port(), "^((?!TLS).)*$")


async def is_named(uri: str, port: int, message: str) -> None:
    kind = ClusterStore if "cluster" in uri else RedisStore
    store = kind(uri.format(f"127.0.0.1:{port}"))
    with pytest.raises(StoreError, match=message):
        await store.start()
    await store.aclose()
