"""The doctor: each finding is seen where it is, not where it is not, and documented."""

import json
import logging
import re
from collections.abc import Callable
from typing import Any

import pytest
import redis
import redis.asyncio
from hypothesis import given, settings
from hypothesis import strategies as st
from quart import Blueprint, Quart, g, request
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from quart_ratelimit import (
    GCRA,
    ConfigurationError,
    Limit,
    Limiter,
    MovingWindow,
    Quota,
    SlidingWindow,
    StoreError,
    StrictWindow,
    client_address,
    client_in,
    rate_limit,
)
from quart_ratelimit.cli import cli
from quart_ratelimit.cli.doctor import examine, refuses_first
from quart_ratelimit.clients.key_functions import get_remote_address, proxy_finding
from quart_ratelimit.clients.proxies import TrustedProxies
from quart_ratelimit.extension.binding import binding_of
from quart_ratelimit.extension.startup import startup_findings, workers
from quart_ratelimit.findings import CODES, SEVERITIES, Finding
from quart_ratelimit.quotas import FixedWindow, Hit
from quart_ratelimit.rules.limits import Provider
from quart_ratelimit.stores import MemoryStore, RedisStore
from quart_ratelimit.stores.redis.checkup import distance_findings, server_findings
from quart_ratelimit.stores.redis.deadline import Distance

from ..support.servers import RedisServer
from ..support.serving import ROOT

QUIET = {
    "retry": Retry(NoBackoff(), 0),
    "socket_timeout": None,
    "maint_notifications_config": MaintNotificationsConfig(enabled=False),
}
HITS = [Hit(FixedWindow(9, 60), "ann")]


def opener(url: str, pool: Any = redis.asyncio.BlockingConnectionPool, **options: Any) -> Any:
    settings = {"max_connections": 4, **QUIET, **options}
    return lambda: redis.asyncio.Redis.from_pool(pool.from_url(url, **settings))


def codes(found: list[Finding]) -> set[str]:
    return {finding.code for finding in found}


async def examined(limiter: Limiter, app: Quart) -> set[str]:
    async with app.test_request_context("/"):
        found = await examine(app, limiter)
    binding = binding_of(limiter, app)
    if binding is not None:
        await binding.store.aclose()
    return codes(found)


# Clients that are handed in


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"retry": Retry(NoBackoff(), 3)}, "QRL003"),
        ({"pool": redis.asyncio.ConnectionPool}, "QRL004"),
        ({"max_connections": 1}, "QRL004"),
        ({"decode_responses": True}, "QRL005"),
        ({"maint_notifications_config": MaintNotificationsConfig(enabled="auto")}, "QRL006"),
        ({"health_check_interval": 30}, "QRL007"),
        ({"socket_timeout": 5}, "QRL008"),
    ],
)
async def test_what_is_wrong_with_a_client_is_found(
    redis_url: str, options: dict[str, Any], code: str
) -> None:
    store = RedisStore(opener(redis_url, **options))
    assert codes(store.findings()) == {code}
    assert (await store.hit(HITS))[0].remaining == 8  # it works all the same
    await store.aclose()


@pytest.mark.parametrize("options", [{}, {"protocol": 2}, {"socket_timeout": 0.01}])
async def test_a_client_that_is_well_has_no_finding(
    redis_url: str, options: dict[str, Any]
) -> None:
    assert RedisStore(opener(redis_url, **options)).findings() == []
    assert RedisStore(redis_url).findings() == []


async def test_a_plain_client_is_told_all_that_is_wrong_with_it(redis_url: str) -> None:
    client = redis.asyncio.Redis(host="127.0.0.1")
    found = codes(RedisStore(lambda: client).findings())
    await client.aclose()
    assert found == {"QRL003", "QRL004", "QRL006", "QRL008"}


async def test_its_owner_closes_a_pool_that_is_shared(redis_url: str) -> None:
    client = opener(redis_url)()
    for prefix in ("first", "second"):
        store = RedisStore(
            lambda: redis.asyncio.Redis(connection_pool=client.connection_pool), prefix=prefix
        )
        assert (await store.hit(HITS))[0].remaining == 8
        await store.aclose()
    assert await client.ping()
    await client.aclose()


def test_a_pool_among_the_options_is_an_error_that_says_what_to_write() -> None:
    options = {"connection_pool": redis.asyncio.ConnectionPool()}
    words = "write store=RedisStore(lambda: redis.asyncio.Redis(connection_pool=pool))"
    with pytest.raises(ConfigurationError, match=re.escape(words)):
        Limiter(app=Quart(__name__), storage_uri="redis://127.0.0.1:1", storage_options=options)


@pytest.mark.parametrize(
    ("client", "words"),
    [
        (redis.Redis(), "redis.client.Redis blocks the event loop; write redis.asyncio.Redis"),
        (object(), "builtins.object is not a redis.asyncio.Redis"),
        (redis.asyncio.Redis(), "belongs to one event loop; write RedisStore(open_client)"),
    ],
)
def test_a_client_of_another_kind_is_an_error(client: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(words)):
        RedisStore(client)


async def test_a_function_that_opens_a_sync_client_stops_the_app_at_start() -> None:
    app = Quart(__name__)
    Limiter(app=app, store=RedisStore(redis.Redis))  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="blocks the event loop"):
        await app.startup()


async def test_a_pool_of_another_event_loop_is_an_error_that_says_what_to_write(
    redis_url: str,
) -> None:
    client = opener(redis_url)()
    store = RedisStore(lambda: client)
    import asyncio

    async def hit() -> None:
        await store.hit(HITS)

    def elsewhere() -> None:
        asyncio.run(hit())

    await store.hit(HITS)
    with pytest.raises(StoreError, match="belongs to another event loop: write RedisStore"):
        await asyncio.to_thread(elsewhere)
    await client.aclose()


# The server


@pytest.mark.parametrize(
    ("info", "code"),
    [
        ({"redis_version": "6.2.14"}, "QRL002"),
        ({"maxmemory": 100, "maxmemory_policy": "volatile-ttl"}, "QRL010"),
        ({"maxmemory": 100, "maxmemory_policy": "allkeys-lru"}, "QRL010"),
        ({"aof_enabled": 0, "rdb_saves": 0}, "QRL011"),
        ({"role": "slave"}, "QRL012"),
        ({"connected_slaves": 2}, "QRL013"),
    ],
)
def test_what_is_worth_knowing_of_a_server_is_found(info: dict[str, Any], code: str) -> None:
    healthy = {
        "redis_version": "7.0.15", "aof_enabled": 1, "role": "master", "maxmemory": 0,
        "maxmemory_policy": "allkeys-lru",
    }  # fmt: skip
    assert list(server_findings(healthy)) == []
    assert codes(list(server_findings({**healthy, **info}))) == {code}


@pytest.mark.parametrize(
    "info",
    [
        {"redis_version": "7.0.0"},
        {"redis_version": "8.2.1"},
        {"redis_version": "unstable"},
        {"maxmemory": 100, "maxmemory_policy": "noeviction"},
        {"aof_enabled": 0, "rdb_saves": 3},
        {"connected_slaves": 0},
    ],
)
def test_a_server_that_is_well_has_no_finding(info: dict[str, Any]) -> None:
    healthy = {"redis_version": "7.0.15", "aof_enabled": 1, "role": "master"}
    assert list(server_findings({**healthy, **info})) == []


@pytest.mark.parametrize(
    ("deadline", "round_trip_ms", "code", "seen"),
    [
        (None, 1, None, ""),
        (None, 80, "QRL017", "Redis is 80 ms away, and the deadline is 0.32 s"),
        (0.5, 80, "QRL017", "Redis is 80 ms away, and the deadline is 0.50 s"),
        (0.05, 80, "QRL018", "Redis is 80 ms away, and the deadline is 0.05 s"),
    ],
)
def test_a_server_far_away_is_told_with_its_distance_and_the_deadline(
    deadline: float | None, round_trip_ms: int, code: str | None, seen: str
) -> None:
    distance = Distance(deadline)
    distance.note(0, round_trip_ms)
    found = [(finding.code, finding.seen) for finding in distance_findings(distance)]
    assert found == ([(code, seen)] if code else [])


async def test_a_real_server_is_looked_at(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    app = Quart(__name__)
    limiter = Limiter(app=app, storage_uri=server.url, default_limits=["9/day"])
    assert await examined(limiter, app) >= {"QRL010", "QRL011"}
    server.ask("ACL", "SETUSER", "default", "-info")
    assert await examined(limiter, app) >= {"QRL015"}


async def test_a_replica_is_told_from_a_server_that_is_away(
    start_redis: Callable[..., RedisServer],
) -> None:
    master = start_redis()
    replica = start_redis("--replicaof", "127.0.0.1", str(master.port))
    app = Quart(__name__)
    limiter = Limiter(app=app, storage_uri=replica.url, default_limits=["9/day"])
    found = await examined(limiter, app)
    assert "QRL012" in found
    assert "QRL014" not in found


async def test_a_server_that_decides_nothing_is_found_with_its_reason(
    start_redis: Callable[..., RedisServer],
) -> None:
    server = start_redis("--maxmemory", "1", "--maxmemory-policy", "noeviction")
    app = Quart(__name__)
    limiter = Limiter(app=app, storage_uri=server.url, default_limits=["9/day"])
    async with app.test_request_context("/"):
        found = await examine(app, limiter)
    binding = binding_of(limiter, app)
    assert binding is not None
    await binding.store.aclose()
    (away,) = [finding for finding in found if finding.code == "QRL014"]
    assert "OOM command not allowed" in away.seen
    assert "Start it" not in away.fix


async def test_a_server_that_is_away_is_found() -> None:
    app = Quart(__name__)
    limiter = Limiter(app=app, storage_uri="redis://127.0.0.1:1")
    assert "QRL014" in await examined(limiter, app)


# The limiter


def limited(*limits: Provider, **keywords: Any) -> tuple[Limiter, Quart]:
    app = Quart(__name__)
    limiter = Limiter(app=app, **{"store": MemoryStore(), **keywords})

    @app.get("/login")
    async def login() -> str:
        return ""

    for limit in limits:
        app.view_functions["login"] = limiter.limit(limit)(app.view_functions["login"])
    return limiter, app


def by_user() -> str | None:
    return request.headers.get("User")


@pytest.mark.parametrize(
    ("found", "limits", "keywords"),
    [
        (set(), ["9/minute; 90/hour"], {}),
        (set(), ["9/minute", "9/minute"], {}),
        (set(), ["1/minute; 90/hour"], {"application_limits": ["1/hour"]}),
        (set(), ["10 per 7 seconds; 10 per 10 seconds"], {}),  # windows that do not nest
        (set(), [GCRA(60, 60, burst=10), "20/minute"], {}),  # it lets 70 through in a minute
        (set(), [GCRA(100, 3600, burst=5), "50/day"], {}),  # the sixth at once
        (set(), [MovingWindow(10, 60), "10/hour"], {}),  # across the hour only it refuses
        (set(), ["10/week; 10/month"], {}),
        (set(), [lambda: g.amount, "2/second; 9/minute"], {}),
        # The shorter window may lie across the end of the longer one, and both refuse.
        (set(), ["10 per 5 seconds; 10 per 10 seconds"], {}),
        (set(), ["10/minute; 10/hour"], {}),
        ({"QRL031"}, ["20 per 5 seconds; 10 per 10 seconds"], {}),
        (
            {"QRL031"},
            [FixedWindow(10, 60, aligned=True), FixedWindow(10, 3600, aligned=True)],
            {},
        ),
        ({"QRL031"}, [GCRA(60, 60, burst=10), GCRA(30, 60, burst=10)], {}),
        (set(), [FixedWindow(9, 60, name="a"), FixedWindow(9, 60, name="b")], {}),
        ({"QRL031"}, [MovingWindow(10, 60), MovingWindow(10, 90)], {}),
        ({"QRL031"}, [MovingWindow(10, 90), "10/minute"], {}),
        ({"QRL031"}, ["100/minute; 50/hour"], {}),
        ({"QRL031"}, ["20/minute; 10/hour"], {}),
        ({"QRL031"}, ["10/hour; 20/hour"], {}),
        ({"QRL033"}, [], {}),
        ({"QRL034"}, ["9/minute"], {"enabled": False}),
        ({"QRL035"}, ["9/minute"], {"shadow": True}),
        ({"QRL035"}, [], {"default_limits": [Limit("9/minute; 9/hour", shadow=True)]}),
        (set(), ["9/minute"], {"key_func": client_address("10.0.0.0/8")}),
        ({"QRL021"}, ["9/minute"], {"key_func": lambda: "all"}),
        ({"QRL022"}, ["9/minute"], {"key_func": by_user}),
    ],
)
async def test_what_is_wrong_with_limits_and_keys_is_found(
    found: set[str], limits: list[str], keywords: dict[str, Any]
) -> None:
    limiter, app = limited(*limits, **keywords)
    assert await examined(limiter, app) == found | {"QRL001"} - (
        {"QRL001"} if "QRL034" in found else set()
    )


PROXY = "10.0.0.0/8"


@pytest.mark.parametrize("place", ["request_filter", "deny", "exempt_when", "default_limits"])
@pytest.mark.parametrize(
    ("counted", "listed", "found"),
    [
        (client_address(PROXY), client_in("192.0.2.0/24"), {"QRL023"}),
        (client_address(), client_in("192.0.2.0/24", trusted_proxies=1), {"QRL023"}),
        (client_address(PROXY), client_in("192.0.2.0/24", trusted_proxies=1), set()),
        (client_address(PROXY), lambda: False, set()),
        (client_address(), client_in("192.0.2.0/24"), set()),
        (get_remote_address, client_in("192.0.2.0/24"), set()),
        (get_remote_address, client_in("192.0.2.0/24", trusted_proxies=1), {"QRL023"}),
        (by_user, client_in("192.0.2.0/24", trusted_proxies=1), set()),
    ],
)
async def test_a_list_that_trusts_other_proxies_than_the_key_function_is_found_at_start(
    counted: Any, listed: Any, found: set[str], place: str
) -> None:
    keywords: dict[str, Any] = {}
    if place == "default_limits":
        keywords["default_limits"] = [Limit("9/minute", exempt_when=listed)]
    limiter, app = limited("9/minute", key_func=counted, **keywords)
    if place == "exempt_when":
        limit = limiter.limit("9/minute", exempt_when=listed)
        app.view_functions["login"] = limit(app.view_functions["login"])
    elif not keywords:
        getattr(limiter, place)(listed)
    binding = binding_of(limiter, app)
    assert binding is not None
    assert codes(startup_findings(app, binding)) == found | {"QRL001"}


async def test_a_limits_own_key_function_is_what_its_list_is_compared_with() -> None:
    limiter, app = limited()
    limit = limiter.limit(
        "9/minute",
        key_func=client_address(PROXY),
        exempt_when=client_in("192.0.2.0/24", trusted_proxies=PROXY),
    )
    app.view_functions["login"] = limit(app.view_functions["login"])
    assert await examined(limiter, app) == {"QRL001"}


async def test_a_limit_above_its_route_is_found() -> None:
    limiter, app = limited("9/minute")

    async def view() -> str:
        return ""

    app.add_url_rule("/late", view_func=view)
    late = limiter.limit("1/minute")(view)
    assert late is not view
    assert "QRL032" in await examined(limiter, app)


@pytest.mark.parametrize(
    ("options", "keywords", "found"),
    [
        ({}, {}, set()),
        ({"deadline": 2.0}, {}, {"QRL016"}),
        ({"deadline": 1.0}, {}, set()),
        ({}, {"on_store_error": "closed"}, set()),
        ({"health_check_interval": 0}, {}, set()),
        ({}, {"on_store_error": "open"}, {"QRL030"}),
        ({}, {"swallow_errors": True}, {"QRL030"}),
        ({"health_check_interval": 5}, {}, {"QRL007"}),
    ],
)
async def test_what_is_wrong_at_first_sight_is_found(
    redis_url: str, options: dict[str, Any], keywords: dict[str, Any], found: set[str]
) -> None:
    limiter, app = limited(storage_uri=redis_url, storage_options=options, store=None, **keywords)
    binding = binding_of(limiter, app)
    assert binding is not None
    assert codes(startup_findings(app, binding)) == found


async def test_an_open_policy_is_no_finding_where_nothing_is_guessed_at(redis_url: str) -> None:
    app = Quart(__name__)
    limiter = Limiter(app=app, storage_uri=redis_url, on_store_error="open")
    app.add_url_rule("/prices", "prices", lambda: "")
    binding = binding_of(limiter, app)
    assert binding is not None
    assert startup_findings(app, binding) == []


async def test_a_limit_that_runs_and_refuses_is_neither_above_its_route_nor_in_shadow() -> None:
    limiter, app = limited("9/minute", shadow=False)

    @app.get("/late")
    @limiter.limit("1/minute", shadow=False)
    async def view() -> str:
        return ""

    assert await examined(limiter, app) == {"QRL001"}


@pytest.mark.parametrize(
    ("arguments", "environment", "count"),
    [
        (["hypercorn", "app:app"], {}, 1),
        (["hypercorn", "-w", "4", "app:app"], {}, 4),
        (["hypercorn", "--workers=4", "app:app"], {}, 4),
        (["uvicorn", "--workers", "3", "app:app"], {"WEB_CONCURRENCY": "8"}, 3),
        (["uvicorn", "app:app"], {"WEB_CONCURRENCY": "8"}, 8),
        (["uvicorn", "app:app"], {"WEB_CONCURRENCY": "many"}, 1),
    ],
)
def test_the_workers_are_read_off_the_command_line(
    arguments: list[str], environment: dict[str, str], count: int
) -> None:
    assert workers(arguments, environment) == count


# Limits of every kind


def with_view(decorate: Callable[[Any], Any], **keywords: Any) -> tuple[Limiter, Quart]:
    limiter, app = limited(**keywords)
    app.view_functions["login"] = decorate(app.view_functions["login"])
    return limiter, app


@pytest.mark.parametrize("kind", ["rate_limit", "scope=None", "in_flight"])
async def test_there_is_a_limit_where_a_decorator_charges_by_itself(kind: str) -> None:
    limiter, app = limited()
    decorators: dict[str, Any] = {
        "rate_limit": rate_limit("9/minute"),
        "scope=None": rate_limit("9/minute", scope=None),
        "in_flight": limiter.in_flight(3),
    }
    app.view_functions["login"] = decorators[kind](app.view_functions["login"])
    assert await examined(limiter, app) == {"QRL001"}


@pytest.mark.parametrize(
    ("key_func", "found"),
    [(lambda: "all", {"QRL021"}), (by_user, {"QRL022"}), (client_address(), set())],
)
@pytest.mark.parametrize("kind", ["limit", "rate_limit"])
async def test_the_key_function_of_one_view_is_tried_as_well(
    key_func: Any, found: set[str], kind: str
) -> None:
    limiter, app = limited()
    decorator: Any = (
        limiter.limit("9/minute", key_func=key_func)
        if kind == "limit"
        else rate_limit("9/minute", key=key_func)
    )
    app.view_functions["login"] = decorator(app.view_functions["login"])
    assert await examined(limiter, app) == found | {"QRL001"}


async def test_a_blueprints_list_is_compared_with_the_key_function() -> None:
    limiter, app = limited()
    shop = Blueprint("shop", __name__)
    shop.add_url_rule("/shop", "index", lambda: "")
    listed = client_in("192.0.2.0/24", trusted_proxies=1)
    limiter.limit("9/minute", exempt_when=listed)(shop)
    app.register_blueprint(shop)
    assert await examined(limiter, app) == {"QRL001", "QRL023"}


@pytest.mark.parametrize(
    ("methods", "found"), [(["GET", "POST"], {"QRL031"}), (["POST"], set()), (None, {"QRL031"})]
)
async def test_limits_on_overlapping_methods_are_compared(methods: Any, found: set[str]) -> None:
    app = Quart(__name__)
    limiter = Limiter(app=app, store=MemoryStore())

    async def view() -> str:
        return ""

    few = limiter.limit("10/hour", methods=methods)
    many = limiter.limit("20/hour", methods=["GET"])
    app.add_url_rule("/", view_func=many(few(view)), methods=["GET", "POST"])
    assert await examined(limiter, app) == {"QRL001"} | found


async def test_quotas_of_one_rate_limit_are_compared() -> None:
    limiter, app = with_view(rate_limit("100/minute; 50/hour"))
    assert await examined(limiter, app) == {"QRL001", "QRL031"}
    limiter, app = with_view(rate_limit("10/minute; 50/hour"))
    assert await examined(limiter, app) == {"QRL001"}


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        (None, None, {"QRL036"}),
        (None, "", set()),
        ("both", "both", set()),  # that is meant
    ],
)
async def test_views_that_share_the_snippets_counter_are_found(
    first: str | None, second: str | None, found: set[str]
) -> None:
    limiter, app = with_view(rate_limit("9/minute", scope=first))

    @app.get("/other")
    @rate_limit("9/minute", scope=second)
    async def other() -> str:
        return ""

    assert await examined(limiter, app) == {"QRL001"} | found


@pytest.mark.parametrize(("count", "code"), [("1", "QRL001"), ("4", "QRL009")])
async def test_several_workers_in_memory_are_an_error(
    monkeypatch: pytest.MonkeyPatch, count: str, code: str
) -> None:
    monkeypatch.setattr("sys.argv", ["hypercorn", "app:app"])
    monkeypatch.setenv("WEB_CONCURRENCY", count)
    limiter, app = limited("9/minute")
    assert await examined(limiter, app) == {code}


async def test_a_set_up_that_is_well_has_no_finding(
    start_redis: Callable[..., RedisServer],
) -> None:
    server = start_redis("--appendonly", "yes")
    app = Quart(__name__)
    options = {"deadline": 1.0}  # for a machine that is busy
    limits = ["9/minute; 90/hour"]
    limiter = Limiter(
        app=app, storage_uri=server.url, storage_options=options, default_limits=limits
    )
    app.add_url_rule("/login", "login", lambda: "")
    assert await examined(limiter, app) == set()


SMALL: list[Quota] = [
    make(amount, period)
    for make in (
        FixedWindow,
        lambda amount, period: FixedWindow(amount, period, aligned=True),
        MovingWindow,
        SlidingWindow,
        StrictWindow,
        lambda amount, period: GCRA(amount, period, burst=2),
    )
    for amount in (1, 2, 3, 4)
    for period in (1, 2, 3, 4, 6)
]
NEVER_REACHED = [(a, b) for a in SMALL for b in SMALL if a != b and refuses_first(a, b)]


@given(st.sampled_from(NEVER_REACHED), st.lists(st.integers(0, 2500), max_size=40))
@settings(max_examples=2000, deadline=None)
def test_a_limit_that_is_never_reached_refuses_nothing_that_the_other_allows(
    pair: tuple[Quota, Quota], gaps: list[int]
) -> None:
    first, quota = pair
    now, states = 1_800_000_000_000, {first: None, quota: None}
    for gap in gaps:
        now += gap
        decided = {one: one.advance(states[one], now, Hit(one, "ann")) for one in states}
        allows = {one: decision.allowed for one, (_, decision) in decided.items()}
        assert allows[quota] or not allows[first]
        if all(allows.values()):
            states = {one: state for one, (state, _) in decided.items()}


# The proxy in front, which only a request shows


async def test_a_proxy_that_is_not_trusted_is_warned_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    _, app = limited("9/minute")
    for _ in range(3):
        await app.test_client().get(
            "/login",
            scope_base={"client": ("10.0.0.1", 1)},
            headers={"X-Forwarded-For": "203.0.113.7"},
        )
    (line,) = [text for text in caplog.messages if "QRL020" in text]
    assert "203.0.113.7" not in line
    assert "10.0.0.1" not in line


@pytest.mark.parametrize(
    ("peer", "header"),
    [("203.0.113.7", "X-Forwarded-For"), ("10.0.0.1", "Accept"), (None, "X-Forwarded-For")],
)
def test_no_proxy_is_seen_where_none_is(peer: str | None, header: str) -> None:
    assert proxy_finding(peer, {header: "1.1.1.1"}) is None


@pytest.mark.parametrize(
    ("peer", "trusted", "code"),
    [
        ("10.0.0.1", None, "QRL020"),
        ("10.0.0.1", "172.16.0.0/12", "QRL024"),
        ("172.16.0.9", "172.16.0.0/12", None),
        ("203.0.113.7", "172.16.0.0/12", None),  # a client, whose word is not believed
        ("10.0.0.1", 1, None),
    ],
)
def test_a_header_of_a_peer_that_is_not_trusted_is_found(
    peer: str, trusted: Any, code: str | None
) -> None:
    found = proxy_finding(peer, {"X-Forwarded-For": "1.1.1.1"}, TrustedProxies(trusted))
    assert (found and found.code) == code


async def test_a_second_proxy_that_was_forgotten_is_warned_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    _, app = limited("9/minute", key_func=client_address("172.16.0.0/12"))
    for _ in range(3):
        await app.test_client().get(
            "/login",
            scope_base={"client": ("10.0.0.1", 1)},
            headers={"X-Forwarded-For": "203.0.113.7"},
        )
    assert sum("QRL024" in text for text in caplog.messages) == 1


# How it is told


@pytest.mark.parametrize("told", [True, False])
async def test_findings_are_logged_once_at_start_unless_switched_off(
    caplog: pytest.LogCaptureFixture, told: bool
) -> None:
    _, app = limited("9/minute", doctor=told)
    async with app.test_app():
        await app.test_client().get("/login")
    assert sum("QRL001" in text for text in caplog.messages) == told
    levels = {record.levelno for record in caplog.records if "QRL001" in record.getMessage()}
    assert levels == ({logging.WARNING} if told else set())


def test_the_command_prints_findings_and_fails_on_errors() -> None:
    _, app = limited("9/minute")
    well = app.test_cli_runner().invoke(cli, ["doctor"])
    assert well.exit_code == 0
    assert "QRL001 warning: rate limits are kept in memory\n" in well.output
    _, app = limited("9/minute", key_func=by_user)
    ill = app.test_cli_runner().invoke(cli, ["doctor", "--json"])
    assert ill.exit_code == 1
    first = json.loads(ill.output)[0]
    assert first["code"] == "QRL022"
    assert set(first) == {"code", "severity", "seen", "why", "fix"}


def test_every_code_is_documented_with_its_severity_and_its_reason() -> None:
    page = (ROOT / "docs" / "reference" / "doctor.md").read_text("utf-8")
    entries = re.findall(r"^\| (QRL\d+) \| (\w+) \| .+ \| (.+) \| .+ \|$", page, re.M)
    assert entries == [(code, CODES[code].severity, CODES[code].why) for code in CODES]


def test_every_code_has_a_test_here() -> None:
    text = (ROOT / "tests" / "cli" / "test_doctor.py").read_text("utf-8")
    assert {code for code in CODES if f'"{code}"' not in text and code != "QRL020"} == set()
    assert {code.severity for code in CODES.values()} == set(SEVERITIES)
