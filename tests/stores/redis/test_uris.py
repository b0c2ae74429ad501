"""URIs of Sentinels and Clusters: each form is built and connects as it says, or is refused."""

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from quart import Quart
from redis.asyncio import RedisCluster

from quart_ratelimit import ConfigurationError, Hit, Limiter, StoreError
from quart_ratelimit.errors import StoreMisconfigured
from quart_ratelimit.stores import ClusterStore, RedisStore
from quart_ratelimit.stores.redis.uri import cluster_opener, opener

from ...support import certificates
from ...support.algorithms import CLOCK, SCRIPT
from ...support.certificates import Certificates
from ...support.cluster import Cluster
from ...support.sentinel import SecuredSentinel
from ...support.servers import RedisServer, binary

Start = Callable[..., RedisServer]

SERVICE = "my/m@ster"
NAME = "my%2Fm%40ster"
LOGIN, OWN = ("us:er", "p@ss/word?#"), ("watch", "s%crét")
WRITTEN = "us%3Aer:p%40ss%2Fword%3F%23"
WRITTEN_OWN = "sentinel_username=watch&sentinel_password=s%25cr%C3%A9t"
GIVEN = {"username": LOGIN[0], "password": LOGIN[1]}
GIVEN_OWN = {"username": OWN[0], "password": OWN[1]}


@pytest.fixture(scope="module")
def sentinel() -> Iterator[SecuredSentinel]:
    if binary() is None:
        pytest.skip("no redis-server is installed: ./dev test installs one")
    sentinel = SecuredSentinel(SERVICE, login=LOGIN, own=OWN)
    yield sentinel
    sentinel.stop()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl is installed")
    return certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secure(files: Certificates) -> Iterator[SecuredSentinel]:
    """By TLS alone."""
    try:
        sentinel = SecuredSentinel(SERVICE, login=LOGIN, own=OWN, files=files)
    except RuntimeError as error:
        if "tls" not in str(error).lower():
            raise
        pytest.skip("this redis-server was built without TLS")
    yield sentinel
    sentinel.stop()


async def counts(store: RedisStore | ClusterStore) -> None:
    await store.start()
    for quota in (CLOCK, SCRIPT):
        await store.reset([Hit(quota, "ann")])
        for charged in (1, 2):
            (decision,) = await store.hit([Hit(quota, "ann")])
            assert decision.remaining == quota.amount - charged
    await store.aclose()


FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "all in the URI": ("redis+sentinel://{login}@{host}:{port}/{name}?{own}", {}),
    "all in the options": (
        "redis+sentinel://{host}:{port}/{name}",
        {**GIVEN, "sentinel_kwargs": GIVEN_OWN},
    ),
    "the options by their names in the URI": (
        "redis+sentinel://{login}@{host}:{port}/{name}",
        {"sentinel_username": OWN[0], "sentinel_password": OWN[1]},
    ),
    "a login in the query": (
        "redis+sentinel://{host}:{port}/{name}?username=us%3Aer&password=p%40ss%2Fword%3F%23&{own}",
        {},
    ),
    "the URI before the options": (
        "redis+sentinel://{login}@{host}:{port}/{name}?{own}",
        {"username": "no", "password": "no", "sentinel_kwargs": {"password": "no"}},
    ),
    "the query before the options": (
        "redis+sentinel://{login}@{host}:{port}/{name}?{own}&client_name=uris",
        {"client_name": "options", "sentinel_password": "no"},
    ),
    "several hosts, one of them away": (
        "redis+sentinel://{login}@127.0.0.1:1,{host}:{port}/{name}/0?{own}",
        {},
    ),
    "another database": ("valkey+sentinel://{login}@{host}:{port}/{name}/3?{own}", {}),
    "keep-alive": (
        "redis+sentinel://{login}@{host}:{port}/{name}?{own}&socket_keepalive=true&ssl=false",
        {},
    ),
}


def written(form: str, port: int, host: str) -> str:
    return form.format(login=WRITTEN, own=WRITTEN_OWN, name=NAME, port=port, host=host)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
@pytest.mark.parametrize("form", FORMS)
async def test_each_form_of_a_sentinels_uri_counts(
    sentinel: SecuredSentinel, form: str, host: str
) -> None:
    uri, options = FORMS[form]
    await counts(RedisStore(written(uri, sentinel.port, host), deadline=5, **options))


async def test_the_uris_database_and_name_are_used(sentinel: SecuredSentinel) -> None:
    uri = written(FORMS["another database"][0], sentinel.port, "127.0.0.1")
    store = RedisStore(uri + "&client_name=limits", deadline=5)
    await store.start()
    await store.hit([Hit(CLOCK, "ann")])
    with sentinel.master.client(username=LOGIN[0], password=LOGIN[1]) as client:
        assert "db3" in client.info("keyspace")
        assert {"limits"} <= {each["name"] for each in client.client_list()}
    await store.aclose()


@pytest.mark.parametrize(
    ("uri", "options"),
    [
        ("rediss+sentinel://{login}@{host}:{port}/{name}?{own}&ssl_ca_certs={ca}", {}),
        ("valkeys+sentinel://{login}@{host}:{port}/{name}?{own}", {"ssl_ca_certs": "{ca}"}),
        (
            "redis+sentinel://{login}@{host}:{port}/{name}?{own}",
            {"ssl": True, "ssl_ca_certs": "{ca}"},
        ),
        ("redis+sentinel://{login}@{host}:{port}/{name}?{own}&ssl=true&ssl_ca_certs={ca}", {}),
        ("rediss+sentinel://{login}@{host}:{port}/{name}?{own}&ssl_cert_reqs=none", {"ssl": False}),
    ],
)
async def test_sentinels_and_their_master_are_reached_by_tls(
    secure: SecuredSentinel, files: Certificates, uri: str, options: dict[str, Any]
) -> None:
    uri = written(uri.replace("{ca}", str(files.authority)), secure.port, "127.0.0.1")
    options = {
        name: value.replace("{ca}", str(files.authority)) if isinstance(value, str) else value
        for name, value in options.items()
    }
    await counts(RedisStore(uri, deadline=5, **options))


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("redis+sentinel://{login}@{host}:{port}/{name}", "check sentinel_kwargs"),
        (
            "redis+sentinel://{login}@{host}:{port}/{name}?sentinel_password=no",
            "check sentinel_kwargs",
        ),
        ("redis+sentinel://us%3Aer:no@{host}:{port}/{name}?{own}", "check its password and ACL"),
        ("redis+sentinel://{host}:{port}/{name}?{own}", "check its password and ACL"),
    ],
)
async def test_a_wrong_login_says_whose_it_is(
    sentinel: SecuredSentinel, uri: str, said: str
) -> None:
    store = RedisStore(written(uri, sentinel.port, "127.0.0.1"), deadline=5)
    with pytest.raises(StoreMisconfigured) as caught:
        await store.start()
    assert said in str(caught.value)
    assert f"the Sentinels 127.0.0.1:{sentinel.port} " in str(caught.value)
    for secret in (*LOGIN, OWN[1]):
        assert secret not in str(caught.value)
    await store.aclose()


async def test_a_service_that_no_sentinel_watches_is_named(sentinel: SecuredSentinel) -> None:
    uri = written("redis+sentinel://{login}@{host}:{port}/other?{own}", sentinel.port, "127.0.0.1")
    store = RedisStore(uri, deadline=5)
    with pytest.raises(StoreError, match=r"the master 'other' of .*not a master that it watches"):
        await store.start()
    await store.aclose()


async def test_sentinels_that_speak_no_tls_are_an_error(sentinel: SecuredSentinel) -> None:
    uri = written("rediss+sentinel://{login}@{host}:{port}/{name}?{own}", sentinel.port, "[::1]")
    store = RedisStore(uri)
    with pytest.raises(StoreError, match=rf"of the Sentinels \[::1\]:{sentinel.port} "):
        await store.start()
    await store.aclose()


@pytest.mark.parametrize(
    ("uri", "options"),
    [
        ("redis+sentinel://[::1]:26379/mymaster", {}),
        ("redis+sentinel://user:p%40ss@localhost:26379/mymaster", {}),
        ("redis+sentinel://localhost:26379/master%70w", {}),
        ("redis+sentinel://localhost:26379/mymaster", {"sentinel_kwargs": {"password": "s"}}),
        ("redis+sentinel://u:p@localhost:26379/mymaster", {"password": "q"}),
        ("redis+sentinel://localhost:26379/mymaster?socket_keepalive=true", {}),
        ("redis+sentinel://localhost/mymaster", {}),
        ("redis+sentinel://h1,[::1],h3:1/mymaster", {}),
    ],
)
async def test_what_people_write_is_built_as_it_says(uri: str, options: dict[str, Any]) -> None:
    Limiter(app=Quart(__name__), storage_uri=uri, storage_options=options)
    pool = opener(uri, 4, options)().connection_pool
    manager: Any = pool.sentinel_manager  # type: ignore[attr-defined]
    known = [watcher.connection_pool.connection_kwargs for watcher in manager.sentinels]
    hosts = [(each["host"], each["port"]) for each in known]
    assert hosts == (
        [("h1", 26379), ("::1", 26379), ("h3", 1)]
        if "h1" in uri
        else [("::1" if "[" in uri else "localhost", 26379)]
    )
    assert pool.service_name == ("masterpw" if "%70" in uri else "mymaster")  # type: ignore[attr-defined]
    password = {"user:": "p@ss", "u:": "p"}
    expected = next((own for login, own in password.items() if f"//{login}" in uri), None)
    assert pool.connection_kwargs.get("password") == expected
    assert known[0].get("password") == ("s" if "sentinel_kwargs" in options else None)
    assert pool.connection_kwargs.get("socket_keepalive", False) is ("keepalive" in uri)


@pytest.mark.parametrize(
    "uri",
    [
        "redis+sentinel://::1:26379/mymaster",
        "redis+sentinel://[::1:26379/mymaster",
        "redis+sentinel://h:99999/mymaster",
        "redis+sentinel://h:1,/mymaster",
        "redis+sentinel://h:1/mymaster/x",
        "redis+sentinel://h:1/mymaster/-1",
        "redis+sentinel://h:1/mymaster/0/1",
        "redis+sentinel://h:1/mymaster?db=x",
        "redis+sentinel://u:hunter2/x@h:1/mymaster",
        "redis+sentinel://u:hunter2#x@h:1/mymaster",
        "redis+sentinel://u:hunter2?x@h:1/mymaster",
        "redis+sentinel://h:1/mymaster?socket_timeout=hunter2",
    ],
)
def test_a_sentinels_uri_that_cannot_be_read_is_refused(uri: str) -> None:
    with pytest.raises(ConfigurationError, match=r"names no Sentinels and service") as caught:
        RedisStore(uri)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [{"sentinel_kwargs": {"dead_line": 1}}, {"sentinel_kwargs": "x"}, {"sentinel_dead_line": 1}],
)
def test_an_option_that_the_sentinels_do_not_have_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"storage_options, or what stands behind"):
        RedisStore("redis+sentinel://h:1/mymaster", **options)


# Clusters


async def test_a_clusters_uri_names_several_nodes_of_which_one_is_enough(
    redis_cluster: Cluster,
) -> None:
    redis_cluster.flush()
    port = redis_cluster.nodes[1].port
    for hosts in (
        f"127.0.0.1:1,127.0.0.1:{port}",
        f"127.0.0.1:{port},[::1]:1",
        f"localhost:{port}",
    ):
        await counts(ClusterStore(f"redis+cluster://{hosts}/0?socket_keepalive=yes", deadline=5))


@pytest.mark.parametrize(
    ("uri", "nodes", "known"),
    [
        ("redis+cluster://[::1]:7000", {("::1", 7000)}, {}),
        ("redis+cluster://h", {("h", 6379)}, {}),
        ("valkey+cluster://h:1,[::1]:2,h3", {("h", 1), ("::1", 2), ("h3", 6379)}, {}),
        (
            "redis+cluster://u%40:p%2F@h:1,h:2?client_name=limits",
            {("h", 1), ("h", 2)},
            {"username": "u@", "password": "p/", "client_name": "limits"},
        ),
        ("rediss+cluster://h:1?ssl_cert_reqs=none", {("h", 1)}, {"ssl_cert_reqs": "none"}),
        ("valkeys+cluster://h:1,h:2", {("h", 1), ("h", 2)}, {}),
    ],
)
async def test_a_clusters_uri_is_built_as_it_says(
    uri: str, nodes: set[tuple[str, int]], known: dict[str, Any]
) -> None:
    options = {"password": "no", "client_name": "no"}  # the URI's count
    client = cluster_opener(uri, options if known.get("username") else {})()
    assert isinstance(client, RedisCluster)
    found = list(client.nodes_manager.startup_nodes.values())
    assert {(node.host, node.port) for node in found} == nodes
    for node in found:
        assert known.items() <= node.connection_kwargs.items()
        assert (node.connection_class.__name__ == "SSLConnection") is uri.startswith(
            ("rediss", "valkeys")
        )


@pytest.mark.parametrize(
    "uri",
    [
        "redis+cluster://h:1,",
        "redis+cluster://[::1:1",
        "redis+cluster://::1:1",
        "redis+cluster://h:99999",
        "redis+cluster://u:hunter2/x@h:1",
        "redis+cluster://u:hunter2#@h:1",
        "redis+cluster://u:hunter2?@h:1",
        "redis+cluster://h:1/abc",
    ],
)
def test_a_clusters_uri_that_cannot_be_read_is_refused(uri: str) -> None:
    with pytest.raises(ConfigurationError, match=r"is not a cluster|cannot be read") as caught:
        ClusterStore(uri)
    assert "hunter2" not in str(caught.value)
