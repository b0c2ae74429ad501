"""A failover under Sentinels: the store follows their word, and counting goes on at once."""

import asyncio
import gc
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis.asyncio
from redis.asyncio.sentinel import Sentinel

from quart_ratelimit import ConfigurationError, FixedWindow, Hit
from quart_ratelimit.stores import GuardedStore, RedisStore
from quart_ratelimit.stores.redis import sentinels as following

from ...support import certificates
from ...support.proxy import Proxy
from ...support.sentinel import SecuredSentinel, Sentinels
from ...support.servers import RedisServer, binary

QUOTA = FixedWindow(1_000_000, 3_600, aligned=True)
HIT = [Hit(QUOTA, "ann")]
#: Seconds from the moment that the Sentinels have switched to the next hit that Redis counts.
OURS = 0.2


@pytest.fixture
def sentinels() -> Iterator[Sentinels]:
    if binary() is None:
        pytest.skip("no redis-server is installed: ./dev test installs one")
    sentinels = Sentinels()
    yield sentinels
    sentinels.stop()


class Switch:
    """Notes when the first Sentinel says that it switched, by connections of the test's own."""

    def __init__(self, watchers: list[redis.asyncio.Redis]) -> None:
        self._watchers = watchers
        self.at: float | None = None

    async def __aenter__(self) -> "Switch":
        self._channels = [watcher.pubsub() for watcher in self._watchers]
        for channel in self._channels:
            await channel.subscribe("+switch-master")
        self._tasks = [asyncio.create_task(self._listen(channel)) for channel in self._channels]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for channel in self._channels:
            await channel.aclose()
        for watcher in self._watchers:
            await watcher.aclose()

    async def _listen(self, channel: redis.asyncio.client.PubSub) -> None:
        async for message in channel.listen():
            if message["type"] == "message" and self.at is None:
                self.at = time.monotonic()
                return


async def counted_after(switch: Switch, store: GuardedStore, callers: int = 1) -> list[float]:
    """So many callers hit until Redis counted after the switch; each one's seconds since then."""

    async def caller() -> float:
        end = time.monotonic() + 15
        while True:
            asked_at = time.monotonic()
            (decision,) = await store.hit(HIT)
            now = time.monotonic()
            if switch.at is not None and asked_at >= switch.at and decision.by == "store":
                return now - switch.at
            assert now < end, "never counted by Redis again"
            await asyncio.sleep(0.005)

    return list(await asyncio.gather(*[caller() for _ in range(callers)]))


def plan(sentinels: Sentinels) -> None:
    sentinels.watchers[0].ask("SENTINEL", "FAILOVER", "mymaster")


def kill(sentinels: Sentinels) -> None:
    sentinels.master.kill()


def freeze(sentinels: Sentinels) -> None:
    sentinels.master.freeze()


def kill_with_a_sentinel(sentinels: Sentinels) -> None:
    """They are on one machine, and redis-py would ask that Sentinel first."""
    sentinels.watchers[0].kill()
    sentinels.master.kill()


def freeze_with_a_sentinel(sentinels: Sentinels) -> None:
    sentinels.watchers[0].freeze()
    sentinels.master.freeze()


HOW = [plan, kill, freeze, kill_with_a_sentinel, freeze_with_a_sentinel]


@pytest.mark.slow
@pytest.mark.parametrize("callers", [1, 50])
@pytest.mark.parametrize("how", HOW)
async def test_counting_resumes_as_soon_as_the_sentinels_have_switched(
    sentinels: Sentinels, how: Callable[[Sentinels], None], callers: int
) -> None:
    """Also when the breaker is open by then, and its next probe a second away."""
    tasks = asyncio.all_tasks()
    store = GuardedStore(RedisStore(sentinels.url))
    await store.start()
    for _ in range(100):
        assert (await store.hit(HIT))[0].by == "store"
    async with Switch([redis.asyncio.Redis(port=each.port) for each in sentinels.watchers]) as seen:
        await asyncio.to_thread(how, sentinels)
        took = await counted_after(seen, store, callers)
    assert max(took) <= OURS
    await store.aclose()
    assert asyncio.all_tasks() == tasks


@pytest.mark.slow
async def test_a_store_that_nobody_holds_hears_no_sentinel_any_more(sentinels: Sentinels) -> None:
    tasks = asyncio.all_tasks()
    store = RedisStore(sentinels.url)
    await store.start()
    assert len(asyncio.all_tasks() - tasks) == len(sentinels.watchers)
    del store
    gc.collect()
    until_in = time.monotonic() + 2
    while asyncio.all_tasks() != tasks:
        assert time.monotonic() < until_in, "tasks are left"
        await asyncio.sleep(0.01)


async def until_counted(store: GuardedStore, seconds: float = 2) -> float:
    began = time.monotonic()
    while (await store.hit(HIT))[0].by != "store":
        assert time.monotonic() - began < seconds, "not counted by Redis"
        await asyncio.sleep(0.01)
    return time.monotonic() - began


@pytest.mark.parametrize("secured", [False, True], ids=["plain", "TLS"])
async def test_sentinels_with_a_login_of_their_own_are_followed(
    tmp_path: Path, secured: bool
) -> None:
    """They are told to watch another master, which a Sentinel says as it says a failover."""
    if binary() is None or shutil.which("openssl") is None:
        pytest.skip("no redis-server or no openssl is installed")
    login, own = ("app", "secret"), ("watch", "other")
    files = certificates.make(tmp_path) if secured else None
    try:
        old, new = [SecuredSentinel("m", login=login, own=own, files=files) for _ in range(2)]
    except RuntimeError as error:
        if "tls" not in str(error).lower():
            raise
        pytest.skip("this redis-server was built without TLS")
    query = "sentinel_username=watch&sentinel_password=other"
    query += f"&ssl_ca_certs={files.authority}" if files else ""
    scheme = "rediss" if secured else "redis"
    uri = f"{scheme}+sentinel://app:secret@127.0.0.1:1,127.0.0.1:{old.port}/m?{query}"
    store = GuardedStore(RedisStore(uri))
    await until_counted(store)
    with old.watcher.client(username=own[0], password=own[1]) as watcher:
        watcher.execute_command("SENTINEL", "REMOVE", "m")
        watcher.execute_command("SENTINEL", "MONITOR", "m", "127.0.0.1", new.master_port, 1)
    old.master.freeze()
    assert await until_counted(store) <= OURS
    with new.master.client(username=login[0], password=login[1]) as client:
        assert client.dbsize() > 0
    await store.aclose()
    for each in (old, new):
        each.stop()


class Lone:
    """One Sentinel, and masters that it can be told to watch."""

    def __init__(self, start: Callable[..., RedisServer]) -> None:
        self.masters = [start(), start()]
        self.watcher = start("--sentinel", config="")
        self.watch(0)

    def watch(self, number: int) -> None:
        if number:
            self.watcher.ask("SENTINEL", "REMOVE", "m")
        port = self.masters[number].port
        self.watcher.ask("SENTINEL", "MONITOR", "m", "127.0.0.1", port, 1)


async def test_a_sentinel_that_is_silent_at_the_start_holds_up_nobody(
    start_redis: Callable[..., RedisServer],
) -> None:
    lone, frozen = Lone(start_redis), start_redis("--sentinel", config="")
    frozen.freeze()
    uri = f"redis+sentinel://127.0.0.1:{frozen.port},127.0.0.1:{lone.watcher.port}/m"
    store = GuardedStore(RedisStore(uri))
    assert await until_counted(store) < 1
    lone.watch(1)
    lone.masters[0].freeze()
    assert await until_counted(store) <= OURS
    await store.aclose()


async def test_sentinels_that_are_all_away_do_not_keep_a_store_from_its_master(
    start_redis: Callable[..., RedisServer],
) -> None:
    lone = Lone(start_redis)
    store = GuardedStore(RedisStore(f"redis+sentinel://127.0.0.1:{lone.watcher.port}/m"))
    await until_counted(store)
    lone.watcher.kill()
    lone.masters[0].ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    await until_counted(store)
    await store.aclose()


async def test_sentinels_that_come_later_are_found(start_redis: Callable[..., RedisServer]) -> None:
    lone = Lone(start_redis)
    lone.watcher.kill()
    store = GuardedStore(RedisStore(f"redis+sentinel://127.0.0.1:{lone.watcher.port}/m"))
    assert (await store.hit(HIT))[0].by != "store"
    await asyncio.to_thread(lone.watcher.start)
    lone.watch(0)
    await until_counted(store, 3)
    await store.aclose()


async def test_a_sentinel_whose_host_is_gone_without_a_word_is_called_again(
    start_redis: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "BEAT", 0.1)
    lone = Lone(start_redis)
    async with Proxy(lone.watcher.port) as proxy:
        store = GuardedStore(RedisStore(f"redis+sentinel://127.0.0.1:{proxy.port}/m"))
        await until_counted(store)
        proxy.silent = True  # the PING is lost, and so is what follows on this connection
        await asyncio.sleep(0.3)
        proxy.silent = False
        lone.watch(1)
        lone.masters[0].freeze()
        await until_counted(store, 3)
        await store.aclose()


async def test_a_sentinel_that_forbids_subscriptions_is_asked_again(
    start_redis: Callable[..., RedisServer],
) -> None:
    lone = Lone(start_redis)
    lone.watcher.ask("ACL", "SETUSER", "default", "-subscribe")
    store = GuardedStore(RedisStore(f"redis+sentinel://127.0.0.1:{lone.watcher.port}/m"))
    await until_counted(store)
    lone.watch(1)
    lone.masters[0].freeze()
    await until_counted(store, 3)
    await store.aclose()


async def test_a_client_of_the_apps_own_follows_too(
    start_redis: Callable[..., RedisServer],
) -> None:
    lone = Lone(start_redis)
    managers: list[Sentinel] = []

    def open_client() -> redis.asyncio.Redis:
        managers.append(Sentinel([("127.0.0.1", lone.watcher.port)]))
        client: redis.asyncio.Redis = managers[0].master_for("m")
        return client

    store = GuardedStore(RedisStore(open_client))
    await until_counted(store)
    lone.watch(1)
    lone.masters[0].freeze()
    assert await until_counted(store) <= OURS
    await store.aclose()


@pytest.mark.parametrize(
    "uri", ["redis+sentinel://", "redis+sentinel://h:1", "redis+sentinel://h:x/mymaster"]
)
def test_a_uri_without_sentinels_or_service_is_named(uri: str) -> None:
    with pytest.raises(ConfigurationError, match="names no Sentinels and service"):
        RedisStore(uri)
