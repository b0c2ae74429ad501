"""A Redis behind a proxy or an ACL: without HELLO, SCRIPT or EVALSHA it counts all the same."""

import asyncio
from collections.abc import Callable

import pytest
from redis.exceptions import BusyLoadingError, OutOfMemoryError, ReadOnlyError, ResponseError

from quart_ratelimit import FixedWindow, Hit
from quart_ratelimit.errors import StoreMisconfigured
from quart_ratelimit.stores import ClusterStore, RedisStore
from quart_ratelimit.stores.redis.failures import store_error

from ...support.algorithms import ALL
from ...support.cluster import Cluster
from ...support.servers import RedisServer, since_7

Start = Callable[..., RedisServer]

CLOCK = FixedWindow(10, 3_600, aligned=True)
SCRIPT = FixedWindow(10, 3_600)


async def counts(store: RedisStore | ClusterStore, client: str = "ann") -> bool:
    """Whether of 30 hits at once exactly the amount is allowed, and every algorithm answers."""
    for quota in (CLOCK, SCRIPT):
        hits = [asyncio.ensure_future(store.hit([Hit(quota, client)])) for _ in range(30)]
        decisions = await asyncio.gather(*hits)
        if sum(decision.allowed for (decision,) in decisions) != 10:
            return False
    return all([(await store.hit([Hit(q, f"{client}2", lease="one")]))[0] for q in ALL])


@pytest.mark.parametrize("login", ["", "limits:horse@"])
async def test_without_hello_it_counts_by_resp2(start_redis: Start, login: str) -> None:
    server = start_redis("--rename-command", "HELLO", "")
    with server.client(protocol=2) as client:
        client.execute_command("ACL", "SETUSER", "limits", "on", ">horse", "~*", "+@all")
    store = RedisStore(server.url.replace("//", f"//{login}"), deadline=5)
    await store.start()
    assert await counts(store)
    await store.aclose()


async def test_a_store_sends_no_hello(start_redis: Start) -> None:
    server = start_redis("--requirepass", "horse")
    store = RedisStore(server.url.replace("//", "//:horse@"), deadline=5)
    await store.start()
    await store.aclose()
    with server.client(password="horse", protocol=2) as client:
        assert "cmdstat_hello" not in client.info("commandstats")


def limited(server: RedisServer, *rights: str) -> str:
    """The URI of a user with these rights."""
    server.ask("ACL", "SETUSER", "limits", "reset", "on", ">horse", "~rate_limit:*", *rights)
    return server.url.replace("//", "//limits:horse@")


#: As docs/howto/servers.md has them.
ALL_RIGHTS = ["+@read", "+@write", "+@transaction", "+ping", "+time", "+eval", "+evalsha"]


@since_7
@pytest.mark.parametrize("lacking", ["-script", "-evalsha", "-script -evalsha"])
async def test_without_script_or_evalsha_scripts_run_by_eval(
    start_redis: Start, lacking: str
) -> None:
    server = start_redis()
    store = RedisStore(limited(server, *ALL_RIGHTS, *lacking.split()), deadline=5)
    await store.start()
    assert await counts(store)
    server.ask("SCRIPT", "FLUSH")
    assert await counts(store, "bob")
    ran = commands(server)
    assert ran["eval"] >= 1
    assert ran.get("evalsha", 0) == 0 or "evalsha" not in lacking
    await store.aclose()


@pytest.mark.parametrize("command", ["SCRIPT", "EVALSHA"])
async def test_a_proxy_that_does_not_know_a_command_is_served_by_eval(
    start_redis: Start, command: str
) -> None:
    server = start_redis("--rename-command", command, "")
    store = RedisStore(server.url, deadline=5)
    await store.start()
    assert await counts(store)
    await store.aclose()


@since_7
async def test_without_any_script_plain_windows_count_and_others_say_why(
    start_redis: Start,
) -> None:
    server = start_redis()
    uri = limited(server, *ALL_RIGHTS, "-@scripting")
    store = RedisStore(uri, deadline=5)
    await store.start()
    for remaining in (9, 8):
        (decision,) = await store.hit([Hit(CLOCK, "ann")])
        assert decision.remaining == remaining
    with pytest.raises(StoreMisconfigured, match=r"\(EVAL: .*'eval' command\): check its .* ACL"):
        await store.hit([Hit(SCRIPT, "ann")])
    assert (await store.hit([Hit(CLOCK, "ann")]))[0].remaining == 7
    await store.aclose()


@since_7
async def test_evalsha_that_is_refused_meanwhile_charges_once(start_redis: Start) -> None:
    server = start_redis()
    store = RedisStore(limited(server, *ALL_RIGHTS), deadline=5)
    await store.start()
    assert (await store.hit([Hit(SCRIPT, "ann")]))[0].remaining == 9
    server.ask("ACL", "SETUSER", "limits", "-evalsha")
    assert [(await store.hit([Hit(SCRIPT, "ann")]))[0].remaining for _ in range(3)] == [8, 7, 6]
    assert rejected(server, "evalsha") == 1
    await store.aclose()


@since_7
async def test_a_script_that_failed_half_way_is_not_run_again(start_redis: Start) -> None:
    """What it wrote before counts once: a refusal from within a script is not one of EVALSHA."""
    server = start_redis()
    store = RedisStore(limited(server, *ALL_RIGHTS), deadline=5)
    await store.start()
    ran = commands(server)["evalsha"], commands(server)["eval"]
    server.ask("ACL", "SETUSER", "limits", "-pexpire", "-expire", "-set", "-hset")
    with pytest.raises(StoreMisconfigured):
        await store.hit([Hit(SCRIPT, "ann")])
    assert (commands(server)["evalsha"] - ran[0], commands(server)["eval"] - ran[1]) == (1, 0)
    await store.aclose()


async def test_a_clusters_nodes_without_script_and_evalsha_run_eval(
    redis_cluster: Cluster,
) -> None:
    redis_cluster.flush()
    lacking = ["-script", "-evalsha"]
    for node in redis_cluster.nodes:
        limited(node, *ALL_RIGHTS, "+@connection", "+cluster", "+command", *lacking)
        node.ask("SCRIPT", "FLUSH")
    uri = redis_cluster.url.replace("//", "//limits:horse@")
    store = ClusterStore(uri, deadline=5)
    await store.start()
    for client in ("ann", "bob", "cleo", "dan"):
        assert await counts(store, client)
    await store.aclose()
    for node in redis_cluster.nodes:
        node.ask("ACL", "DELUSER", "limits")


@since_7
@pytest.mark.parametrize("command", ["EXPIRE", "INCRBY", "TIME", "SET", "DEL", "MULTI", "EXEC"])
@pytest.mark.parametrize("how", ["refused by an ACL", "unknown"])
async def test_without_a_command_that_is_needed_the_start_is_an_error(
    start_redis: Start, command: str, how: str
) -> None:
    if how == "unknown":
        server = start_redis("--rename-command", command, "")
        uri = server.url
    else:
        server = start_redis()
        uri = limited(server, *ALL_RIGHTS, f"-{command.lower()}")
    store = RedisStore(uri, deadline=5)
    with pytest.raises(StoreMisconfigured, match=f"(?i)127.0.0.1:{server.port} .*{command}") as one:
        await store.start()
    with pytest.raises(StoreMisconfigured, match=f"(?i)127.0.0.1:{server.port} .*{command}") as two:
        await store.hit([Hit(CLOCK, "203.0.113.77")])
    for caught in (one, two):
        assert "horse" not in str(caught.value)
        assert "203.0.113.77" not in str(caught.value)
    await store.aclose()


@since_7
@pytest.mark.parametrize(
    "command", ["PTTL", "TTL", "PING", "INFO", "CLIENT", "SELECT", "UNLINK", "SCAN"]
)
async def test_commands_that_are_not_needed_may_be_refused(
    start_redis: Start, command: str
) -> None:
    server = start_redis()
    store = RedisStore(limited(server, "+@all", f"-{command.lower()}"), deadline=5)
    await store.start()
    assert await counts(store)
    await store.aclose()


@pytest.mark.parametrize(
    "said",
    [
        "unknown command `MULTI`, with args beginning with: ",
        "unsupported command 'multi'",
        "invalid command",
        "command is not supported by this proxy",
        "command 'MULTI' is not allowed",
        "this command has been disabled",
    ],
)
def test_a_proxys_own_words_for_a_command_that_it_lacks_are_a_mistake(said: str) -> None:
    error = store_error(ResponseError(said), None, "MULTI")
    assert isinstance(error, StoreMisconfigured)
    assert "lacks a command that is needed" in str(error)


@pytest.mark.parametrize(
    "error",
    [
        ResponseError(
            "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to "
            "persist to disk. Commands that may modify the data set are disabled, because this "
            "instance is configured to report errors during writes"
        ),
        OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
        BusyLoadingError("Redis is loading the dataset in memory"),
        ReadOnlyError("You can't write against a read only replica."),
        ResponseError("NOREPLICAS Not enough good replicas to write."),
    ],
)
def test_what_passes_is_no_mistake(error: Exception) -> None:
    assert not isinstance(store_error(error, None, "MULTI"), StoreMisconfigured)


def commands(server: RedisServer) -> dict[str, int]:
    """How often each command ran."""
    with server.client() as client:
        stats = client.info("commandstats")
    return {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in stats.items()}


def rejected(server: RedisServer, command: str) -> int:
    """How often a command was refused before it ran."""
    with server.client() as client:
        return int(client.info("commandstats")[f"cmdstat_{command}"]["rejected_calls"])
