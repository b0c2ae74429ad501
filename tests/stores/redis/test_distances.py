"""However far away Redis is, by TLS or not: it counts within 2 s, and no setting is changed."""

import os
import shutil
import ssl
from pathlib import Path

import pytest
import redis.asyncio

from quart_ratelimit import StoreError
from quart_ratelimit.stores import ClusterStore, RedisStore
from quart_ratelimit.stores.redis.sockets import prompt

from ...support import certificates
from ...support.certificates import Certificates
from ...support.cluster import Cluster
from ...support.distances import DISTANCES, EVENTS, HIT, Far
from ...support.proxy import Proxy
from ...support.servers import binary

SECURED = pytest.mark.parametrize("secured", [False, True], ids=["plain", "TLS"])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    if binary() is None or shutil.which("openssl") is None:
        pytest.skip("no redis-server or no openssl is installed")
    return certificates.make(tmp_path_factory.mktemp("certificates"))


async def check(files: Certificates, secured: bool, distance_ms: int, *names: str) -> None:
    for name in names:
        try:
            far = Far(files if secured else None, distance_ms)
        except RuntimeError as error:
            if "tls" not in str(error).lower():
                raise
            pytest.skip("this redis-server was built without TLS")
        async with far:
            assert await EVENTS[name](far) <= 2, name


@SECURED
@pytest.mark.parametrize("distance_ms", [5, 30, 80])
async def test_a_far_redis_counts_within_2_s_of_a_start_and_of_a_loss(
    files: Certificates, distance_ms: int, secured: bool
) -> None:
    await check(files, secured, distance_ms, "cold start", "CLIENT KILL")


@pytest.mark.slow
@SECURED
@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("distance_ms", DISTANCES)
async def test_at_each_distance_redis_counts_within_2_s_of_each_event(
    files: Certificates, distance_ms: int, event: str, secured: bool
) -> None:
    await check(files, secured, distance_ms, event)


def test_connections_share_one_tls_context_until_a_file_changes(files: Certificates) -> None:
    """Making one stops the event loop for 20 ms and more, for each connection."""
    kind = prompt(redis.asyncio.SSLConnection)

    def context() -> ssl.SSLContext:
        made = kind(host="127.0.0.1", ssl_ca_certs=str(files.authority))
        shared: ssl.SSLContext = made._connection_arguments()["ssl"]
        return shared

    first = context()
    assert context() is first
    other = kind(host="127.0.0.1", ssl_ca_certs=str(files.authority), ssl_check_hostname=False)
    assert other._connection_arguments()["ssl"] is not first
    Path(files.authority).touch()
    os.utime(files.authority, ns=(0, 0))
    assert context() is not first


async def test_a_redis_that_turns_slow_keeps_its_deadline_and_a_far_one_gets_a_longer_one(
    proxy: Proxy,
) -> None:
    """Both take 150 ms now; one did so from its first reply."""
    near = RedisStore(proxy.url)
    await near.start()
    proxy.delay = 0.15
    far = RedisStore(proxy.url)
    await far.start()
    for _ in range(5):
        await far.hit(HIT)
    try:
        for _ in range(5):
            with pytest.raises(StoreError, match=r"within 0\.05 s"):
                await near.hit(HIT)
        assert near._links.get().deadline == 0.05
        assert 0.6 <= far._links.get().deadline <= 0.8
    finally:
        await near.aclose()
        await far.aclose()


async def test_a_cluster_tells_the_distance_of_its_nodes(
    redis_cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """One line for each node; the finding is of the farthest."""
    redis_cluster.flush()
    proxies = {node.port: Proxy(node.port) for node in redis_cluster.masters}
    for number, proxy in enumerate(proxies.values()):
        await proxy.__aenter__()
        proxy.delay = 0.03 * (number + 1)
    first = next(iter(proxies.values()))
    store = ClusterStore(
        f"redis+cluster://127.0.0.1:{first.port}",
        address_remap=lambda address: (
            (address[0], proxies[address[1]].port) if address[1] in proxies else address
        ),
    )
    with caplog.at_level("INFO", logger="quart_ratelimit"):
        (finding,) = await store.server_findings()
    told = [record.getMessage() for record in caplog.records if "ms away" in record.getMessage()]
    assert len(told) == len(proxies)
    assert finding.code == "QRL017"
    assert finding.seen.startswith(("Redis is 9", "Redis is 1"))
    await store.aclose()
    for proxy in proxies.values():
        await proxy.__aexit__()
