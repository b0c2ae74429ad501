"""What a store's error says: host, command, the server's reason; never a key or a secret."""

from collections.abc import Callable

import pytest
from redis.exceptions import NoPermissionError, ResponseError

from quart_ratelimit import Hit, StoreError
from quart_ratelimit.errors import StoreMisconfigured, StoreTimeout
from quart_ratelimit.stores import ClusterStore, RedisStore
from quart_ratelimit.stores.redis.failures import reason

from ...support.algorithms import CLOCK, SCRIPT
from ...support.cluster import Cluster
from ...support.proxy import Proxy, answer
from ...support.servers import RedisServer, free_port, since_7

Start = Callable[..., RedisServer]
CLIENT = "203.0.113.77"


async def text_of(store: RedisStore | ClusterStore, quota: object = CLOCK) -> str:
    with pytest.raises(StoreError) as caught:
        await store.hit([Hit(quota, CLIENT)])  # type: ignore[arg-type]
    await store.aclose()
    return str(caught.value)


@since_7
@pytest.mark.parametrize(
    ("quota", "command"), [(CLOCK, "INCRBY"), (SCRIPT, "EVALSHA")], ids=["pipeline", "script"]
)
async def test_a_server_that_takes_no_writes_is_named_with_command_and_reason(
    start_redis: Start, quota: object, command: str
) -> None:
    server = start_redis()
    store = RedisStore(server.url, deadline=5)
    await store.start()
    server.ask("CONFIG", "SET", "min-replicas-to-write", 1)
    text = await text_of(store, quota)
    assert f"127.0.0.1:{server.port} ({command}: NOREPLICAS Not enough good replicas" in text
    assert CLIENT not in text


@pytest.mark.parametrize("name", ["127.0.0.1", "[::1]"])
async def test_a_server_that_is_not_there_is_named_with_the_systems_reason(name: str) -> None:
    port = free_port()
    text = await text_of(RedisStore(f"redis://:horse@{name}:{port}/0", deadline=5))
    assert f"Redis could not be called at {name}:{port} (connecting: ConnectionError: Conn" in text
    assert "horse" not in text


async def test_a_unix_socket_that_is_not_there_is_named() -> None:
    text = await text_of(RedisStore("unix:///nowhere/redis.sock", deadline=5))
    assert "at /nowhere/redis.sock (connecting: ConnectionError: No such file" in text


async def test_a_cluster_that_is_not_there_is_named() -> None:
    port = free_port()
    text = await text_of(ClusterStore(f"redis+cluster://:horse@127.0.0.1:{port}", deadline=5))
    assert f"127.0.0.1:{port} (CLUSTER SLOTS: " in text
    assert "horse" not in text


async def test_a_server_that_is_silent_is_named_with_the_command(redis_cluster: Cluster) -> None:
    server = redis_cluster.nodes[0]
    host = f"127.0.0.1:{server.port}"
    server.freeze()
    try:
        for store in (RedisStore(server.url), ClusterStore(redis_cluster.url)):
            with pytest.raises(
                StoreTimeout, match=rf"{host}.* within 0.05 s \((INCRBY|connecting)\)"
            ):
                await store.hit([Hit(CLOCK, CLIENT)])
            await store.aclose()
    finally:
        server.thaw()


async def test_a_wrong_type_is_named_and_its_key_is_not(
    redis_server: RedisServer, redis_url: str
) -> None:
    store = RedisStore(redis_url, deadline=5)
    await store.hit([Hit(CLOCK, CLIENT)])
    with redis_server.client() as client:
        (key,) = client.keys()
        client.delete(key)
        client.lpush(key, "x")
    text = await text_of(store)
    assert f"127.0.0.1:{redis_server.port} (INCRBY: WRONGTYPE Operation against a key" in text
    assert CLIENT not in text


async def test_a_wrong_password_is_named_as_what_it_is(start_redis: Start) -> None:
    server = start_redis("--requirepass", "horse")
    for login, why in (("", "Authentication required."), (":cart@", "invalid username-password")):
        store = RedisStore(server.url.replace("//", f"//{login}"), deadline=5)
        with pytest.raises(StoreMisconfigured) as caught:
            await store.start()
        await store.aclose()
        text = str(caught.value)
        assert f"127.0.0.1:{server.port}" in text
        assert why in text
        assert "password and ACL" in text
        assert "cart" not in text


@pytest.mark.parametrize(
    "echo",
    [
        b"-ERR unknown command 'INCRBY', with args beginning with: 'rate_limit:%s:60' '1' \r\n",
        b"-ERR unknown command `INCRBY`, with args beginning with: `%s`, \r\n",
        b"-ERR bad key rate_limit:%s of this user\r\n",
        b"-WRONGTYPE %s holds a list\r\n",
        b"-NOPERM User app-%s has no permissions to access the 'rate_limit:%s' key\r\n",
        b'-ERR no "%s"\r\n',
        b"-%s\r\n",
    ],
)
async def test_what_a_server_or_a_proxy_repeats_of_a_request_is_cut(
    proxy: Proxy, echo: bytes
) -> None:
    store = RedisStore(f"redis://127.0.0.1:{proxy.port}", deadline=5)
    await store.start()
    proxy.match, proxy.fault = b"INCRBY", answer(echo.replace(b"%s", CLIENT.encode()) * 5)
    text = await text_of(store)
    assert f"127.0.0.1:{proxy.port} (INCRBY: " in text
    assert CLIENT not in text


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
            "WRONGTYPE Operation against a key holding the wrong kind of value",
        ),
        (ResponseError("BUSY Redis is busy running a script."), "BUSY Redis is busy running a"),
        (
            ResponseError(
                "ERR The user can't run it script: " + "a1" * 20 + ", on @user_script:1."
            ),
            "ERR The user can't run it",
        ),
        (
            ResponseError(
                f"Error running script (call to f_{'a1' * 20}): @user_script:7: "
                "@user_script: 7: -READONLY You can't write against a read only replica."
            ),
            "READONLY You can't write against a read only replica.",
        ),
        (
            NoPermissionError("User app1 has no permissions to run the 'script|load' command"),
            "this user has no permissions to run the 'script|load' command",
        ),
        (ResponseError("ERR value is not an integer or out of range"), "ERR value is not an"),
        (ResponseError("x" * 10_000), ""),
        (AttributeError("'NoneType' object has no attribute"), ""),
    ],
)
def test_a_servers_own_words_are_kept(error: Exception, said: str) -> None:
    assert said in reason(error)
    assert len(reason(error)) < 150
    assert "app1" not in reason(error)
    assert "a1a1" not in reason(error)
