"""A Cluster by TLS, by IPv6, with a password and with an ACL user: each is counted, or named."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from quart_ratelimit import Hit, StoreError
from quart_ratelimit.errors import StoreMisconfigured
from quart_ratelimit.stores import ClusterStore

from ...support import certificates
from ...support.algorithms import CLOCK, SCRIPT
from ...support.certificates import Certificates
from ...support.cluster import SLOTS, node_port, until
from ...support.servers import RedisServer, binary

PASSWORD = "p@ss/word?#"
WRITTEN = "p%40ss%2Fword%3F%23"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    if shutil.which("openssl") is None or binary() is None:
        pytest.skip("no openssl or no redis-server is installed")
    return certificates.make(tmp_path_factory.mktemp("certificates"))


def node(*args: str) -> RedisServer:
    """A Cluster of one node with all slots."""
    server = RedisServer("--cluster-enabled", "yes", *args, port=node_port())
    server.ask("CLUSTER", "ADDSLOTS", *range(SLOTS))
    until(lambda: "cluster_state:ok" in server.ask("CLUSTER", "INFO"))
    server.ask("ACL", "SETUSER", "limits", "on", f">{PASSWORD}", "~*", "&*", "+@all")
    server.ask("ACL", "SETUSER", "default", "on", f">{PASSWORD}")
    return server


@pytest.fixture(scope="module")
def secure(files: Certificates) -> Iterator[str]:
    """The host and port of a Cluster that tells its nodes' ports by TLS."""
    port = node_port()
    try:
        server = node(
            "--tls-port", str(port), "--tls-auth-clients", "no", "--tls-cluster", "yes",
            "--tls-cert-file", str(files.certificate), "--tls-key-file", str(files.key),
            "--tls-ca-cert-file", str(files.authority), "--cluster-announce-ip", "127.0.0.1",
        )  # fmt: skip
    except RuntimeError as error:
        if "tls" not in str(error).lower():
            raise
        pytest.skip("this redis-server was built without TLS")
    yield f"127.0.0.1:{port}"
    server.stop()


@pytest.fixture(scope="module", params=["127.0.0.1", "[::1]"])
def plain(request: pytest.FixtureRequest) -> Iterator[str]:
    """The host and port of a Cluster by IPv4 or IPv6."""
    host = str(request.param)
    server = node("--bind", "127.0.0.1", "::1", "--cluster-announce-ip", host.strip("[]"))
    yield f"{host}:{server.port}"
    server.stop()


async def counts(uri: str, **options: object) -> None:
    store = ClusterStore(uri, deadline=5, **options)
    await store.start()
    for client in ("ann", "bob", "cleo"):
        for quota in (CLOCK, SCRIPT):
            await store.reset([Hit(quota, client)])
            for charged in (1, 2):
                (decision,) = await store.hit([Hit(quota, client)])
                assert (decision.remaining, decision.by) == (quota.amount - charged, "store")
    await store.aclose()


@pytest.mark.parametrize("login", [f":{WRITTEN}", f"limits:{WRITTEN}"])
async def test_a_login_in_the_uri_counts(plain: str, login: str) -> None:
    await counts(f"redis+cluster://{login}@{plain}")


async def test_a_login_in_the_options_counts(plain: str) -> None:
    await counts(f"redis+cluster://{plain}", username="limits", password=PASSWORD)
    await counts(f"redis+cluster://{plain}", password=PASSWORD)


@pytest.mark.parametrize("login", [f":{WRITTEN}", f"limits:{WRITTEN}"])
async def test_tls_counts(secure: str, files: Certificates, login: str) -> None:
    for scheme in ("rediss+cluster", "valkeys+cluster"):
        await counts(f"{scheme}://{login}@{secure}?ssl_ca_certs={files.authority}")
    await counts(f"rediss+cluster://{login}@{secure}", ssl_ca_certs=str(files.authority))
    await counts(f"rediss+cluster://{login}@{secure}?ssl_cert_reqs=none")


@pytest.mark.parametrize("login", ["", "limits:horse@", ":horse@", "eve:horse@"])
async def test_a_wrong_login_or_none_is_an_error_at_start(plain: str, login: str) -> None:
    store = ClusterStore(f"redis+cluster://{login}{plain}", deadline=5)
    with pytest.raises(StoreMisconfigured) as caught:
        await store.start()
    text = str(caught.value)
    assert "check its password and ACL" in text
    assert plain in text
    assert "horse" not in text
    await store.aclose()


async def test_an_unknown_authority_is_an_error_that_names_the_host(
    secure: str, tmp_path: Path
) -> None:
    store = ClusterStore(f"rediss+cluster://:{WRITTEN}@{secure}", deadline=5)
    with pytest.raises(StoreError, match=secure) as caught:
        await store.start()
    assert PASSWORD not in str(caught.value)
    await store.aclose()
