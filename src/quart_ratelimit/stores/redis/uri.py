"""What a store is opened by: URIs, clients and pools. They are checked now and opened later."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from inspect import signature
from typing import Any
from urllib.parse import urlsplit

import redis
import redis.asyncio
from redis.asyncio import RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from ...errors import ConfigurationError, StoreMisconfigured

_NO_MAINTENANCE: dict[str, Any] = {}
if "maint_notifications_config" in signature(redis.asyncio.Redis).parameters:  # redis-py 8.0
    from redis.maint_notifications import MaintNotificationsConfig

    # They switch off the check for a stray reply at checkout, which would shift every later
    # reply of that connection by one.
    _NO_MAINTENANCE["maint_notifications_config"] = MaintNotificationsConfig(enabled=False)

#: The pool that a client needs which counts, as errors and findings show it.
FORM = "BlockingConnectionPool.from_url(url, max_connections=4, retry=Retry(NoBackoff(), 0))"

#: What opens a client: called in the event loop that will use it.
Opener = Callable[[], "redis.asyncio.Redis"]
ClusterOpener = Callable[[], RedisCluster]

_SENTINEL_SCHEMES = {"redis+sentinel", "valkey+sentinel"}
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
    "async+redis+cluster": "redis",
}


def opener(uri: str, max_connections: int, options: dict[str, Any]) -> Opener:
    """Check a URI now; open its client later."""
    scheme, separator, rest = uri.partition("://")
    settings: dict[str, Any] = {
        "max_connections": max(2, max_connections),  # one is kept for the batches
        # Never sent twice: redis-py's default would count one hit up to 11 times.
        "retry": Retry(NoBackoff(), 0),
        # The batch has one deadline; a timer for each reply costs a third of its CPU.
        "socket_timeout": None,
        "socket_connect_timeout": None,
        "health_check_interval": 0,
        **_NO_MAINTENANCE,
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


def _sentinel_opener(uri: str, settings: dict[str, Any]) -> Opener:
    """``redis+sentinel://[user:password@]host:port,host:port/service[/db]``."""
    rest = uri.partition("://")[2]
    login, _, place = rest.rpartition("@")
    hosts, _, path = place.partition("/")
    service, _, database = path.partition("/")
    try:
        pairs = [host.rpartition(":") for host in hosts.split(",")]
        nodes = [(host, int(port)) for host, _, port in pairs]
        number = int(database or 0)
    except ValueError:
        nodes, number = [], 0
    if not nodes or not all(host for host, _ in nodes) or not service:
        raise ConfigurationError(
            f"{redacted(uri)!r} names no Sentinels and service; write "
            "'redis+sentinel://host:26379,host:26379/mymaster/0'"
        )
    user, _, password = login.partition(":")
    own = {name: value for name, value in (("username", user), ("password", password)) if value}
    # SentinelConnectionPool asks the Sentinels anew whenever a connection is lost or read-only.
    kept = {name: value for name, value in settings.items() if name != "max_connections"}

    def open_client() -> redis.asyncio.Redis:
        make: Any = Sentinel  # redis-py types none of its arguments
        sentinel = make(nodes, sentinel_kwargs=dict(kept), **own, **kept, db=number)
        client: redis.asyncio.Redis = sentinel.master_for(service)
        return client

    check_options(open_client, redacted(uri))
    return open_client


def cluster_opener(uri: str, options: dict[str, Any]) -> ClusterOpener:
    """Check a URI now; open its client later."""
    scheme, separator, rest = uri.partition("://")
    url = f"{_CLUSTER_SCHEMES.get(scheme, scheme)}://{rest}"
    if scheme in _CLUSTER_SCHEMES:
        check_url(url, uri)
    if not separator or scheme not in _CLUSTER_SCHEMES or not urlsplit(url).hostname:
        raise ConfigurationError(
            f"{redacted(uri)!r} is no cluster; write 'redis+cluster://localhost:6379'"
        )
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
        return RedisCluster.from_url(url, **settings)

    check_options(open_client, redacted(uri))
    return open_client


def check_url(url: str, uri: str) -> None:
    """Raise `ConfigurationError`, which names the URI, unless redis-py can read its URL.

    It does not say why: that may quote what was taken for a port and is half a password.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme != "unix" and parts.path.strip("/"):
            int(parts.path.strip("/"))  # redis-py takes database 0 for one that is no number
        parts.port  # noqa: B018  # it raises on a bad port
        redis.asyncio.connection.parse_url(url)
    except ValueError:
        raise ConfigurationError(
            f"{redacted(uri)!r} cannot be read as a Redis URI; write "
            "'redis://user:password@localhost:6379/0', and in a password %2F for /, %23 for #, "
            "%3F for ?, %40 for @"
        ) from None


def redacted(uri: str) -> str:
    """A URI without its user, its password and its query, for messages."""
    scheme, separator, rest = uri.partition("://")
    before, _, host = rest.rpartition("@")
    # What follows the @ may be the end of a password in the query.
    return f"{scheme}{separator}{'…' if '?' in before else host.partition('?')[0]}"


def checked_client(client: object) -> redis.asyncio.Redis:
    """The client. Raises `ConfigurationError` unless it is an asynchronous one."""
    if isinstance(client, redis.asyncio.Redis):
        return client
    name = f"{type(client).__module__}.{type(client).__name__}"
    if isinstance(client, (redis.Redis, redis.RedisCluster)):
        raise ConfigurationError(f"{name} blocks the event loop; write redis.asyncio.Redis")
    if isinstance(client, redis.asyncio.RedisCluster):
        raise ConfigurationError(f"{name} is a cluster's; write ClusterStore(lambda: client)")
    raise ConfigurationError(f"{name} is no redis.asyncio.Redis")


def check_own(prefix: object, deadline: object) -> None:
    """Raise `ConfigurationError` for a prefix or a deadline, in seconds, that no store can have."""
    if not isinstance(prefix, str):
        raise ConfigurationError(f"prefix={prefix!r} is no text; write prefix='rate_limit'")
    if deadline is None:  # it follows the distance
        return
    if not isinstance(deadline, (int, float)) or not 0 < deadline < math.inf:
        raise ConfigurationError(f"deadline={deadline!r} must be above 0 seconds, e.g. 0.05")


def checked_connections(count: int) -> int:
    """The count. Raises `ConfigurationError` unless it is a whole number above 0."""
    if not isinstance(count, int) or count < 1:
        raise ConfigurationError(f"max_connections={count!r} is not a whole number above 0, e.g. 4")
    return count


def check_options(open_client: Callable[[], Any], uri: str) -> None:
    """Raise `ConfigurationError` for options of which redis-py makes no client or no connection.

    Both are made, and nothing is opened. ``uri`` is shown: it bears no password.
    """
    try:
        pool = getattr(open_client(), "connection_pool", None)
        if pool is not None:  # a cluster's client has none
            pool.make_connection()
    except Exception as error:  # redis-py has no one kind for them
        raise ConfigurationError(
            f"storage_options, or what stands behind ? in {uri!r}: {error}; write deadline, "
            "max_connections, prefix, or an option of redis-py's connections"
        ) from error


def opener_of(pool: object) -> Callable[[], redis.asyncio.Redis]:
    """Opens clients of a pool that its owner closes. Raises `ConfigurationError`.

    They raise `StoreMisconfigured` in any event loop but the first that asks.
    """
    if not isinstance(pool, redis.asyncio.ConnectionPool):
        name = f"{type(pool).__module__}.{type(pool).__name__}"
        raise ConfigurationError(f"{name} is no pool of redis.asyncio; write redis.asyncio.{FORM}")
    home: list[asyncio.AbstractEventLoop] = []

    def open_client() -> redis.asyncio.Redis:
        loop = asyncio.get_running_loop()
        home[:] = home or [loop]
        if home[0] is not loop:
            raise StoreMisconfigured(
                "this connection pool belongs to another event loop: write "
                "RedisStore(lambda: redis.asyncio.Redis.from_pool(...)), which opens one in each"
            )
        return redis.asyncio.Redis(connection_pool=pool)

    return open_client
