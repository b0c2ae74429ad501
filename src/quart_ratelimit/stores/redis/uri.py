"""What a store is opened by: URIs, clients and pools. They are checked now and opened later."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any
from urllib.parse import unquote, urlsplit
from weakref import WeakKeyDictionary

import redis
import redis.asyncio
from redis.asyncio import RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from ...errors import ConfigurationError, StoreMisconfigured
from .arguments import redacted
from .hosts import SENTINELS_OWN, options_of, read_hosts

#: The option that switches off maintenance notifications, where there are any.
NO_MAINTENANCE: dict[str, object] = {}
if "maint_notifications_config" in signature(redis.asyncio.Redis).parameters:  # redis-py 8.0
    from redis.maint_notifications import MaintNotificationsConfig

    # RESP 3, if an option selects it, would have notifications that switch off the check for a
    # stray reply at checkout, and a stray reply shifts every later reply of that connection by one.
    NO_MAINTENANCE["maint_notifications_config"] = MaintNotificationsConfig(enabled=False)

#: The pool that a client needs which counts, as errors and findings show it.
FORM = "BlockingConnectionPool.from_url(url, max_connections=4, retry=Retry(NoBackoff(), 0))"

#: Where a host listens whose URI names no port.
SENTINEL_PORT, CLUSTER_PORT = 26_379, 6_379
#: Options that are Redis' own login, which its Sentinels do not get.
_LOGIN = ("username", "password", "credential_provider")

_SENTINEL_SCHEMES = {"redis+sentinel", "valkey+sentinel", "rediss+sentinel", "valkeys+sentinel"}
_TLS = ("rediss+", "valkeys+")
_SCHEMES = {
    "redis": "redis",
    "rediss": "rediss",
    "unix": "unix",
    "valkey": "redis",
    "valkeys": "rediss",
    "redis+unix": "unix",
}
_CLUSTER_SCHEMES = {
    "redis+cluster": "redis",
    "rediss+cluster": "rediss",
    "valkey+cluster": "redis",
    "valkeys+cluster": "rediss",
    "async+redis+cluster": "redis",
}


def opener(
    uri: str, max_connections: int, options: Mapping[str, object]
) -> Callable[[], redis.asyncio.Redis]:
    """Check a URI now; open its client later."""
    if "connection_pool" in options:
        raise ConfigurationError(
            "connection_pool is not an option of a store; write "
            "store=RedisStore(lambda: redis.asyncio.Redis(connection_pool=pool))"
        )
    scheme, separator, rest = uri.partition("://")
    settings: dict[str, Any] = {
        "max_connections": max(2, max_connections),  # one is kept for the batches
        # Never sent twice: redis-py's default would count one hit up to 11 times.
        "retry": Retry(NoBackoff(), 0),
        # The batch has one deadline; a timer for each reply costs a third of its CPU.
        "socket_timeout": None,
        "socket_connect_timeout": None,
        "health_check_interval": 0,
        # RESP 2 needs no HELLO, which a proxy may refuse, and has no maintenance notifications.
        "protocol": 2,
        **NO_MAINTENANCE,
        **options,
    }
    if scheme in _SENTINEL_SCHEMES:
        return _sentinel_opener(uri, settings)
    if not separator or scheme not in _SCHEMES:
        raise ConfigurationError(
            f"{redacted(uri)!r} is not a store; write 'memory://', 'redis://localhost:6379/0', "
            "'rediss://…', 'unix:///path/to/redis.sock', 'valkey://…', 'redis+sentinel://…' or "
            "'redis+cluster://…'"
        )
    url = f"{_SCHEMES[scheme]}://{rest}"
    check_url(url, uri)

    def open_client() -> redis.asyncio.Redis:
        pool = redis.asyncio.BlockingConnectionPool.from_url(url, **settings)
        client = redis.asyncio.Redis.from_pool(pool)
        client.auto_close_connection_pool = True
        return client

    check_options(open_client, redacted(uri))
    return open_client


def _sentinel_opener(uri: str, settings: Mapping[str, object]) -> Callable[[], redis.asyncio.Redis]:
    """``redis+sentinel://[user:password@]host:port,host:port/service[/db][?option=value]``.

    The login is Redis' own. The Sentinels' is ``sentinel_kwargs``, or ``?sentinel_password=...``.
    """
    try:
        hosts = read_hosts(uri, SENTINEL_PORT)
        service, database = map(unquote, [*hosts.path, "", ""][:2])
        own, sentinels_own = options_of(hosts.query)
        number = int(str(own.pop("db", database or 0)))
    except ValueError:
        service, number = "", 0
    if not service or number < 0 or len(hosts.path) > 2:
        raise ConfigurationError(
            f"{redacted(uri)!r} names no Sentinels and service; write "
            "'redis+sentinel://host:26379,[::1]:26379/mymaster/0', and in a name or a password "
            "%2F for /, %23 for #, %3F for ?, %40 for @"
        )
    # Of two that disagree the URI counts, as it does for redis-py.
    shared: dict[str, Any] = {**settings, **own}
    # A SentinelConnectionPool has no bound; `Connections` has.
    shared.pop("max_connections", None)
    shared["ssl"] = uri.startswith(_TLS) or bool(shared.get("ssl"))
    login = {**{name: shared.pop(name) for name in _LOGIN if name in shared}, **hosts.credentials}
    given = shared.pop("sentinel_kwargs", None) or {}
    for name in [name for name in shared if name.startswith(SENTINELS_OWN)]:
        sentinels_own.setdefault(name.removeprefix(SENTINELS_OWN), shared.pop(name))

    def open_client() -> redis.asyncio.Redis:
        make: Any = Sentinel  # redis-py types none of its arguments
        watchers = {**shared, **given, **sentinels_own}
        sentinel = make(hosts.nodes, sentinel_kwargs=watchers, **login, **shared, db=number)
        client: redis.asyncio.Redis = sentinel.master_for(service)
        return client

    check_options(open_client, redacted(uri))
    return open_client


def cluster_opener(uri: str, options: Mapping[str, object]) -> Callable[[], RedisCluster]:
    """Check a URI now; open its client later."""
    scheme = uri.partition("://")[0]
    try:
        hosts = read_hosts(uri, CLUSTER_PORT)
    except ValueError:
        hosts = None
    if hosts is None or scheme not in _CLUSTER_SCHEMES:
        raise ConfigurationError(
            f"{redacted(uri)!r} is not a cluster; write 'redis+cluster://localhost:6379', or "
            "several nodes of it, 'redis+cluster://host:6379,[::1]:6379', and in a password "
            "%2F for /, %23 for #, %3F for ?, %40 for @"
        )
    (host, port), *others = hosts.nodes
    name = f"[{host}]" if ":" in host else host
    path, query = "/".join(["", *hosts.path]), hosts.query
    url = f"{_CLUSTER_SCHEMES[scheme]}://{hosts.login}@{name}:{port}{path}?{query}"
    check_url(url, uri)
    settings: dict[str, Any] = {
        # Never sent twice: what a failover loses is an error, and the policy's to answer.
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": None,
        "socket_connect_timeout": None,
        # RESP 2: no maintenance notifications, which hide a stray reply.
        "protocol": 2,
        **options,
    }

    def open_client() -> RedisCluster:
        nodes = [ClusterNode(*other) for other in others]
        return RedisCluster.from_url(url, startup_nodes=nodes, **settings)

    check_options(open_client, redacted(uri))
    return open_client


def check_url(url: str, uri: str) -> None:
    """Raise `ConfigurationError`, which names the URI, unless redis-py can read its URL.

    It does not say why: that may quote what was taken for a port and is half a password.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme != "unix" and parts.path.strip("/"):
            int(parts.path.strip("/"))  # redis-py takes database 0 for text that is not a number
        parts.port  # noqa: B018  # it raises on a bad port
        redis.asyncio.connection.parse_url(url)
    except ValueError:
        raise ConfigurationError(
            f"{redacted(uri)!r} cannot be read as a Redis URI; write "
            "'redis://user:password@localhost:6379/0', and in a password %2F for /, %23 for #, "
            "%3F for ?, %40 for @"
        ) from None


def checked_client(client: object) -> redis.asyncio.Redis:
    """The client. Raises `ConfigurationError` unless it is an asynchronous one."""
    if isinstance(client, redis.asyncio.Redis):
        return client
    name = f"{type(client).__module__}.{type(client).__name__}"
    if isinstance(client, (redis.Redis, redis.RedisCluster)):
        raise ConfigurationError(f"{name} blocks the event loop; write redis.asyncio.Redis")
    if isinstance(client, redis.asyncio.RedisCluster):
        raise ConfigurationError(
            f"{name} is a client of a Cluster; write ClusterStore(lambda: client)"
        )
    raise ConfigurationError(f"{name} is not a redis.asyncio.Redis")


def check_options(open_client: Callable[[], object], uri: str) -> None:
    """Raise `ConfigurationError` for options that redis-py refuses for a client or a connection.

    Both are made, and nothing is opened. ``uri`` is shown: it has no password in it.
    """
    try:
        pool = getattr(open_client(), "connection_pool", None)
        manager = getattr(pool, "sentinel_manager", None)
        sentinels = manager.sentinels if manager else ()
        if pool is not None:  # a cluster's client has none
            for each in (pool, *[sentinel.connection_pool for sentinel in sentinels]):
                each.make_connection()
    except Exception as error:  # redis-py has no one kind for them
        raise ConfigurationError(
            f"storage_options, or what stands behind ? in {uri!r}: {error}; write deadline, "
            "max_connections, prefix, or an option of redis-py's connections"
        ) from error


def checked_opener(open_client: object) -> Callable[[], redis.asyncio.Redis]:
    """Opens clients by a function of the app. Raises `ConfigurationError` for anything else.

    Raises `StoreMisconfigured` later if the function shares a pool between event loops.
    """
    if not callable(open_client):
        checked_client(open_client)  # a sync client is a mistake of another kind
        raise ConfigurationError(
            "a client belongs to one event loop; write RedisStore(open_client), where open_client "
            "is a function that returns a client: def open_client(): return redis.asyncio.Redis()"
        )
    homes: WeakKeyDictionary[object, asyncio.AbstractEventLoop] = WeakKeyDictionary()

    def opened() -> redis.asyncio.Redis:
        client, loop = checked_client(open_client()), asyncio.get_running_loop()
        if homes.setdefault(client.connection_pool, loop) is not loop:
            raise StoreMisconfigured(
                "the function of RedisStore returned a connection pool that belongs to another "
                "event loop: write RedisStore(lambda: redis.asyncio.Redis.from_pool(...)), which "
                "opens one in each"
            )
        return client

    return opened
