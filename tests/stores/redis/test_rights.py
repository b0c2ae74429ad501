"""A Redis behind a proxy or an ACL: without HELLO, SCRIPT or EVALSHA it counts all the same."""

import asyncio
from collections.abc import Callable

import pytest

from quart_ratelimit import FixedWindow, Hit
from quart_ratelimit.errors import StoreMisconfigured
from quart_ratelimit.stores import ClusterStore, RedisStore

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
    server.ask("ACL", "SETUSER", "limits", "on", ">horse", "~*", "+@all")
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
