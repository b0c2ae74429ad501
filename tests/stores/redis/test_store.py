"""The Redis store on a real Redis: what it sends and shares, what a cancelled caller leaves."""

import asyncio
import random
import traceback
from collections.abc import AsyncIterator, Sequence
from time import monotonic, sleep

import pytest
import redis.asyncio
from quart import Quart

from quart_ratelimit import (
    ConfigurationError,
    Decision,
    FixedWindow,
    Hit,
    Limiter,
    rate_limit,
)
from quart_ratelimit.errors import StoreError, StoreMisconfigured
from quart_ratelimit.quotas.fixed_window import KEPT_LONGER
from quart_ratelimit.stores import GuardedStore, MemoryStore, RedisStore, store_from_uri
from quart_ratelimit.stores.redis import wire
from quart_ratelimit.stores.redis.link import SHARE

from ...support.cluster import until
from ...support.proxy import Proxy
from ...support.servers import RedisServer, binary, major, since_7
from ...support.shifted_clock import ShiftedClock

PER_MINUTE = FixedWindow(10, 60, aligned=True)
PER_HOUR = FixedWindow(10, 3_600)


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    async with redis.asyncio.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[RedisStore]:
    # A long deadline: these tests are about counting, on machines that may be busy.
    store = RedisStore(redis_url, deadline=5)
    await store.start()
    yield store
    await store.aclose()


async def calls(client: redis.asyncio.Redis) -> dict[str, int]:
    """How often each command ran since the last CONFIG RESETSTAT."""
    stats = await client.info("commandstats")
    return {name.removeprefix("cmdstat_"): entry["calls"] for name, entry in stats.items()}


async def in_a_task(store: RedisStore, hits: Sequence[Hit]) -> list[Decision]:
    """As a request does: several in one iteration of the event loop are none of them alone."""
    return await store.hit(hits)


async def test_concurrent_callers_get_exactly_the_amount(store: RedisStore) -> None:
    answers = await asyncio.gather(
        *[in_a_task(store, [Hit(PER_MINUTE, "ann")]) for _ in range(300)]
    )
    assert sum(decision.allowed for (decision,) in answers) == 10
    assert sorted(d.remaining for (d,) in answers if d.allowed) == list(range(10))


@pytest.mark.skipif(not wire.CAN_SAY_AT_ONCE, reason="redis-py before 8 waits for a turn")
@pytest.mark.parametrize("quota", [PER_MINUTE, PER_HOUR], ids=["pipeline", "script"])
async def test_a_lone_hit_reaches_redis_before_the_event_loop_turns(
    store: RedisStore, redis_server: RedisServer, quota: FixedWindow
) -> None:
    if type(asyncio.get_running_loop()).__module__.startswith("uvloop"):
        pytest.skip("uvloop writes at the end of a loop iteration")
    await store.hit([Hit(quota, "bob")])
    await asyncio.sleep(0.001)  # nothing else is to run
    answer = store.hit([Hit(quota, "ann")])  # this very turn goes on
    until(lambda: any("ann" in key for key in redis_server.ask("KEYS", "*")))
    (decision,) = await answer
    assert decision.remaining == 9


async def test_clients_do_not_share(store: RedisStore) -> None:
    await asyncio.gather(*[in_a_task(store, [Hit(PER_MINUTE, "ann")]) for _ in range(20)])
    (decision,) = await store.hit([Hit(PER_MINUTE, "bob")])
    assert decision.allowed
    assert decision.remaining == 9


@since_7
async def test_hits_of_one_turn_are_one_incrby_and_one_expire_a_key(
    store: RedisStore, client: redis.asyncio.Redis
) -> None:
    await client.config_resetstat()
    who = ["ann", "bob"] * 50
    await asyncio.gather(*[in_a_task(store, [Hit(PER_MINUTE, name)]) for name in who])
    ran = await calls(client)
    assert (ran["incrby"], ran["expire"], ran["multi"], ran["exec"]) == (2, 2, 1, 1)
    assert "evalsha" not in ran


@since_7
async def test_a_look_at_a_window_by_the_clock_is_one_get(
    store: RedisStore, client: redis.asyncio.Redis
) -> None:
    await asyncio.gather(*[in_a_task(store, [Hit(PER_MINUTE, "ann")]) for _ in range(12)])
    await client.config_resetstat()
    who = ["ann", "ann", "bob"]
    answers = await asyncio.gather(*[in_a_task(store, [Hit(PER_MINUTE, name, 0)]) for name in who])
    told = [(decision.allowed, decision.remaining) for (decision,) in answers]
    assert told == [(False, 0), (False, 0), (True, 10)]
    ran = await calls(client)
    assert ran["get"] == 2
    assert not {"incrby", "multi", "evalsha"} & set(ran)


@since_7
async def test_looks_and_hits_of_one_turn_get_their_own_answers(store: RedisStore) -> None:
    costs = [1, 0, 1, 0]
    answers = await asyncio.gather(
        *[in_a_task(store, [Hit(PER_MINUTE, "ann", cost)]) for cost in costs]
    )
    assert [decision.remaining for (decision,) in answers] == [9, 10, 8, 10]


@since_7
async def test_a_look_at_what_is_no_counter_fails_alone(
    store: RedisStore, client: redis.asyncio.Redis
) -> None:
    seconds, _ = await client.time()
    for window in (seconds // 3600, seconds // 3600 + 1):
        await client.set(f"rate_limit:ann:{window}", "no number")
        await client.lpush(f"rate_limit:eve:{window}", "a list")
    hour = FixedWindow(10, 3600, aligned=True)
    looks = [in_a_task(store, [Hit(hour, name, 0)]) for name in ("ann", "eve", "bob")]
    ann, eve, bob = await asyncio.gather(*looks, return_exceptions=True)
    assert isinstance(ann, StoreError)
    assert isinstance(eve, StoreMisconfigured)
    assert not isinstance(bob, BaseException)
    assert bob[0].remaining == 10


@since_7
async def test_a_flood_costs_redis_one_command_a_second(
    store: RedisStore, client: redis.asyncio.Redis
) -> None:
    now = [0]
    remembering = GuardedStore(store, remember_ms=1000, now_ms=lambda: now[0])
    day = FixedWindow(10, 31_104_000, aligned=True)
    for _ in range(11):
        await remembering.hit([Hit(day, "ann")])
    await client.config_resetstat()
    for _ in range(10_000):  # ten seconds
        now[0] += 1
        assert not (await remembering.hit([Hit(day, "ann")]))[0].allowed
    ran = await calls(client)
    assert ran["get"] == 10
    assert set(ran) <= {"get", "time", "config|resetstat"}


@since_7
async def test_limits_that_share_a_counter_are_decided_each_by_its_own_amount(
    store: RedisStore,
) -> None:
    amounts = [2, 2, 5, 5, 9, 5, 9]  # of one turn, on the snippet's own key
    hits = [Hit(FixedWindow(amount, 31_104_000, aligned=True), "ann") for amount in amounts]
    answers = await asyncio.gather(*[in_a_task(store, [hit]) for hit in hits])
    told = [(decision.allowed, decision.remaining) for (decision,) in answers]
    assert told == [(True, 1), (True, 0), (True, 2), (True, 1), (True, 4), (False, 0), (True, 2)]


@pytest.mark.parametrize(("requests", "scripts"), [(SHARE, 1), (SHARE + 1, 2), (8 * SHARE, 2)])
async def test_other_requests_of_one_turn_are_one_script_or_two_if_many(
    store: RedisStore, client: redis.asyncio.Redis, requests: int, scripts: int
) -> None:
    await client.config_resetstat()
    second, day = FixedWindow(1, 1), FixedWindow(100, 86_400)
    who = map(str, range(requests))
    await asyncio.gather(*[in_a_task(store, [Hit(second, n), Hit(day, n)]) for n in who])
    ran = await calls(client)
    assert ran["evalsha"] == scripts
    assert "incrby" not in ran


async def test_a_cost_beyond_all_measure_harms_no_neighbour(store: RedisStore) -> None:
    huge = 10**5_000  # Python writes no integer of more than 4,300 digits
    await store.hit([Hit(PER_HOUR, "ann", 3)])
    costs = [huge, -huge, 2]
    hits = [Hit(PER_HOUR, "ann", cost, at_ms=0) for cost in costs]
    answers = await asyncio.gather(*[in_a_task(store, [hit]) for hit in hits])
    told = [(decision.allowed, decision.retry_ms) for (decision,) in answers]
    assert told == [(False, None), (True, 0), (True, 0)]


async def test_the_key_is_the_flask_snippets_own(
    store: RedisStore, client: redis.asyncio.Redis
) -> None:
    (decision,) = await store.hit([Hit(PER_MINUTE, "203.0.113.7")])
    (key,) = await client.keys()
    seconds, _ = await client.time()
    assert key == f"rate_limit:203.0.113.7:{seconds // 60}"
    assert 0 < await client.ttl(key) <= 60 + KEPT_LONGER
    assert 0 < decision.reset_ms <= 60_000


async def test_a_lost_expiry_heals_at_the_next_hit(
    store: RedisStore, client: redis.asyncio.Redis
) -> None:
    await store.hit([Hit(PER_MINUTE, "ann")])
    (key,) = await client.keys()
    await client.persist(key)
    await store.hit([Hit(PER_MINUTE, "ann")])
    assert 0 < await client.ttl(key) <= 60 + KEPT_LONGER


async def test_a_request_of_several_quotas_is_charged_whole_or_not_at_all(
    store: RedisStore, client: redis.asyncio.Redis
) -> None:
    narrow, wide = FixedWindow(1, 60), FixedWindow(100, 3600)
    hits = [Hit(narrow, "ann"), Hit(wide, "ann")]
    assert all(await store.hit(hits))
    refused = await store.hit(hits)
    assert [d.allowed for d in refused] == [False, True]
    assert [d.remaining for d in refused] == [0, 99]
    values = {key: await client.get(key) for key in await client.keys()}
    assert {value.split(":")[0] for value in values.values()} == {"1"}


async def test_a_restarted_redis_gets_its_script_back(
    store: RedisStore, client: redis.asyncio.Redis
) -> None:
    quota = FixedWindow(10, 60)
    await store.hit([Hit(quota, "ann")])
    await client.script_flush()
    (decision,) = await store.hit([Hit(quota, "ann")])
    assert decision.remaining == 8


async def test_cancelled_callers_harm_nobody_and_leave_no_immortal_key(
    store: RedisStore, client: redis.asyncio.Redis
) -> None:
    chance = random.Random(7)
    quota = FixedWindow(1_000_000, 60, aligned=True)
    other = FixedWindow(1_000_000, 60)
    cancelled = answered = 0

    async def call(number: int) -> None:
        # What a neighbour answers would show in another key's small count.
        hit = Hit(quota if number % 2 else other, f"client-{number}")
        (decision,) = await store.hit([hit])
        assert decision.allowed
        assert decision.remaining == 999_999

    for start in range(0, 4_000, 100):
        tasks = [asyncio.create_task(call(n)) for n in range(start, start + 100)]
        for _ in range(chance.randrange(12)):
            await asyncio.sleep(0)
        for task in chance.sample(tasks, 50):
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, BaseException):
                assert isinstance(outcome, asyncio.CancelledError), outcome
                cancelled += 1
            else:
                answered += 1
    assert cancelled + answered == 4_000
    assert cancelled > 1_000
    await store.aclose()
    for key in await client.keys():
        assert (await client.get(key)).split(":")[0] == "1"
        assert 0 < await client.pttl(key) <= 60_000 + 1000 * KEPT_LONGER


#: What Redis 6.2.14 replies to MULTI, SET, INCRBY, EXPIRE NX, DEL, EXEC, and how Redis 7 ends its.
OLDER = (
    b"+OK\r\n+QUEUED\r\n+QUEUED\r\n"
    b"-ERR wrong number of arguments for 'expire' command\r\n+QUEUED\r\n"
    b"-EXECABORT Transaction discarded because of previous errors.\r\n"
)


NEWER_END = b"*4\r\n+OK\r\n:0\r\n:0\r\n:1\r\n"


async def test_an_older_redis_is_served_by_the_script(
    redis_server: RedisServer, client: redis.asyncio.Redis
) -> None:
    """EXPIRE NX needs Redis 7.0; a server that refuses it counts by the script, as exactly."""
    async with Proxy(redis_server.port) as proxy:
        if major(str(binary())) >= 7:  # an older server refuses EXPIRE NX itself
            proxy.match = b"rate_limit:probe"
            proxy.fault = lambda reply: OLDER + reply.partition(NEWER_END)[2]  # and other replies
        store = RedisStore(proxy.url, deadline=5)
        await store.start()
        await client.config_resetstat()
        answers = await asyncio.gather(
            *[in_a_task(store, [Hit(PER_MINUTE, "old")]) for _ in range(30)]
        )
        assert sum(decision.allowed for (decision,) in answers) == 10
        ran = await calls(client)
        assert "incrby" not in ran
        assert ran["evalsha"] >= 1
        await store.aclose()


async def test_clear_forgets_the_own_prefix_only(
    redis_url: str, client: redis.asyncio.Redis
) -> None:
    odd = RedisStore(redis_url, prefix="odd[*]?", deadline=5)
    await asyncio.gather(*[odd.hit([Hit(PER_MINUTE, str(n))]) for n in range(1000)])
    await client.set("odd-neighbour", 1)
    assert await odd.clear() == 1000
    assert await client.keys() == ["odd-neighbour"]
    await odd.aclose()


async def test_reset_forgets_one_key(store: RedisStore) -> None:
    for who in ("ann", "bob"):
        await asyncio.gather(*[in_a_task(store, [Hit(PER_MINUTE, who)]) for _ in range(11)])
    assert await store.reset([Hit(PER_MINUTE, "ann")]) == 1
    (ann,) = await store.hit([Hit(PER_MINUTE, "ann")])
    (bob,) = await store.hit([Hit(PER_MINUTE, "bob")])
    assert (ann.allowed, bob.allowed) == (True, False)


def test_one_store_serves_one_event_loop_after_another(redis_url: str) -> None:
    store = RedisStore(redis_url, deadline=5)

    async def visit() -> int:
        (decision,) = await store.hit([Hit(PER_MINUTE, "ann")])
        await store.aclose()
        return decision.remaining

    assert [asyncio.run(visit()) for _ in range(3)] == [9, 8, 7]


@pytest.mark.parametrize(
    "uri",
    ["foo://x", "localhost:6379", "", "redis://localhost:port", "redis://localhost/db-name"],
)
def test_a_uri_that_is_no_store_is_named_with_the_right_form(uri: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        store_from_uri(uri)
    assert repr(uri) in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        "redus://admin:hunter2@localhost",
        "redus://localhost?password=hunter2",
        "redis://:hunter2#1@localhost",
        "redis://:half/hunter2@localhost",
        "redis+cluster://:hunter2#1@localhost",
        "redis+cluster://:half/hunter2@localhost",
        "redis+cluster://:hunter2@",
    ],
)
def test_an_error_about_a_uri_bears_no_password(uri: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        store_from_uri(uri)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "uri",
    ["redis://h:1/0", "rediss://h", "unix:///run/redis.sock", "valkey://h", "valkeys://h"],
)
def test_every_documented_uri_is_a_redis_store_and_opens_nothing(uri: str) -> None:
    assert isinstance(store_from_uri(uri), RedisStore)


def test_memory_is_a_store() -> None:
    assert isinstance(store_from_uri("memory://"), MemoryStore)


@since_7
async def test_a_flood_from_one_client_costs_redis_two_commands_a_second(
    redis_server: RedisServer, redis_url: str
) -> None:
    app = Quart(__name__)
    limiter = Limiter(app=app, storage_uri=redis_url, storage_options={"deadline": 5})

    @app.get("/")
    @rate_limit(requests=10, duration=3600)
    async def index() -> str:
        return "OK"

    async with app.test_app():
        client = app.test_client()
        while (await client.get("/")).status_code == 200:
            pass
        await limiter.reset()
        redis_server.ask("CONFIG", "RESETSTAT")
        started = monotonic()
        for _ in range(300):
            await client.get("/")
        seconds = monotonic() - started
    stats = redis_server.ask("INFO", "commandstats")
    counts, expiries = (stats[f"cmdstat_{name}"]["calls"] for name in ("incrby", "expire"))
    assert 11 <= counts <= 11 + seconds + 1
    assert expiries == counts


@pytest.mark.slow
def test_a_crowd_of_200_000_is_bounded_in_memory_and_gone_a_window_later() -> None:  # S-05
    """150 MB for a million; with the clock of Redis under the test's control."""
    if binary() is None:
        pytest.skip("no redis-server is installed: ./dev test installs one")
    with ShiftedClock() as clock:
        server = RedisServer(env=clock.env)
        try:
            before = server.ask("INFO", "memory")["used_memory"]
            asyncio.run(_hit_each(server.url, 200_000))
            with server.client() as client:
                assert client.dbsize() == 200_000
                assert (client.info("memory")["used_memory"] - before) / 200_000 <= 150
                clock.shift_ms(86_400_000 + 1000 * KEPT_LONGER + 1000)
                end = monotonic() + 60
                while client.dbsize():
                    assert monotonic() < end, "keys outlived their window"
                    sleep(0.1)
        finally:
            server.stop()


async def _hit_each(url: str, clients: int) -> None:
    store = RedisStore(url, deadline=30)
    quota = FixedWindow(10, 86_400, aligned=True)
    for start in range(0, clients, 2_000):
        hits = [Hit(quota, f"203.0.113.{number:08}") for number in range(start, start + 2_000)]
        await asyncio.gather(*[in_a_task(store, [hit]) for hit in hits])
    await store.aclose()
