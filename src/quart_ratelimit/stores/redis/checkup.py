"""What of a Redis client and its server makes counts wrong or hits slow. Sends nothing.

The reasons are in `findings.CODES`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import redis.asyncio

from ...findings import Finding
from .deadline import ROUND_TRIPS, SHORTEST, Distance
from .uri import FORM

#: Seconds. A longer deadline holds up more requests than it saves decisions.
SANE_DEADLINE = 1.0


def deadline_findings(deadline: float) -> Iterator[Finding]:
    """Whether a deadline, in seconds, is longer than a request can wait."""
    if deadline > SANE_DEADLINE:
        seen = f"the store's deadline is {deadline} s"
        yield Finding("QRL016", seen, "Write storage_options={'deadline': 0.05}.")


def distance_findings(distance: Distance) -> Iterator[Finding]:
    """Whether the server is so far away that the deadline follows the distance, or should."""
    trip_ms = distance.round_trip_ms or 0
    seen = f"Redis is {trip_ms:.0f} ms away, and the deadline is {distance.deadline:.2f} s"
    if distance.deadline * 1000 < 2 * trip_ms:
        yield Finding(
            "QRL018", seen, "Remove the option deadline, so that it follows the distance."
        )
    elif ROUND_TRIPS * trip_ms / 1000 > SHORTEST:
        yield Finding("QRL017", seen, "Use a Redis in the app's own region if that is too slow.")


def client_findings(client: redis.asyncio.Redis, *, deadline: float) -> Iterator[Finding]:
    """What of a client should be otherwise; ``deadline`` in seconds."""
    pool = client.connection_pool
    # Not opened: it shows also the defaults of missing options.
    connection: Any = pool.connection_class(**pool.connection_kwargs)
    retries = getattr(connection.retry, "_retries", 0)
    if retries:
        yield Finding(
            "QRL003",
            f"the Redis client retries {retries} times",
            "Give it retry=Retry(NoBackoff(), 0).",
        )
    small = pool.max_connections < 2
    if type(pool) is redis.asyncio.ConnectionPool or small:
        seen = f"its pool is a {type(pool).__name__} of {pool.max_connections}"
        yield Finding("QRL004", f"the Redis client: {seen}", f"Write {FORM}.")
    if connection.encoder.decode_responses:
        yield Finding(
            "QRL005", "the Redis client has decode_responses=True", "Leave decode_responses out."
        )
    if _is_notified(connection, pool.connection_kwargs):
        yield Finding(
            "QRL006",
            "the Redis client speaks protocol 3 with maintenance notifications",
            "Give it maint_notifications_config=MaintNotificationsConfig(enabled=False), or "
            "protocol=2.",
        )
    if connection.health_check_interval:
        seen = f"the Redis client has health_check_interval={connection.health_check_interval}"
        yield Finding("QRL007", seen, "Write health_check_interval=0.")
    if connection.socket_timeout is not None and connection.socket_timeout > deadline:
        seen = f"the Redis client has socket_timeout={connection.socket_timeout}"
        fix = f"Write socket_timeout=None; the deadline of {deadline} s bounds the wait."
        yield Finding("QRL008", seen, fix)


def _is_notified(connection: Any, given: Mapping[str, object]) -> bool:
    """Whether its connections subscribe to maintenance notifications: TCP ones with RESP3 can."""
    config = given.get("maint_notifications_config")
    enabled = bool(getattr(config, "enabled", False))  # or "auto"
    return enabled and "host" in given and int(connection.protocol) > 2


def server_findings(info: Mapping[str, Any]) -> Iterator[Finding]:
    """What a server's INFO says that should be known."""
    version = str(info.get("redis_version", ""))
    if version.partition(".")[0].isdigit() and int(version.partition(".")[0]) < 7:
        yield Finding("QRL002", f"the server is Redis {version}", "Update it to 7.0 or later.")
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if int(info.get("maxmemory", 0)) and policy != "noeviction":
        yield Finding(
            "QRL010",
            f"maxmemory-policy is {policy}",
            "Run CONFIG SET maxmemory-policy noeviction, or give the limiter a Redis of its own.",
        )
    if info.get("role") == "slave":
        yield Finding(
            "QRL012",
            "the server is a replica",
            "Write the master's address, or redis+sentinel://host:26379/service.",
        )
    elif int(info.get("connected_slaves", 0)):
        count = info["connected_slaves"]
        yield Finding(
            "QRL013",
            f"the server has {count} replicas, which follow it with a delay",
            "Set min-replicas-to-write if a failover must not reset any count.",
        )
    if not int(info.get("aof_enabled", 0)) and not int(info.get("rdb_saves", 0)):
        yield Finding(
            "QRL011",
            "the server has no append-only file and has saved nothing yet",
            "Set appendonly yes if a restart must not reset any count.",
        )
