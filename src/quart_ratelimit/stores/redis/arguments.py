"""What a store's own arguments may be, and how a URI is shown. Known before redis is imported."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from ...errors import ConfigurationError


class Client(Protocol):
    """A ``redis.asyncio.Redis``, by what distinguishes it for a type checker."""

    connection_pool: Any

    def aclose(self) -> Awaitable[object]:
        """Close the connections."""


class ClusterClient(Protocol):
    """A ``redis.asyncio.RedisCluster``, by what distinguishes it for a type checker."""

    nodes_manager: Any

    def aclose(self) -> Awaitable[object]:
        """Close the connections."""


#: What opens a client: called in the event loop that will use it.
Opener = Callable[[], Client]
ClusterOpener = Callable[[], ClusterClient]


def redacted(uri: str) -> str:
    """A URI without its user, its password and its query, for messages."""
    scheme, separator, rest = uri.partition("://")
    before, _, host = rest.rpartition("@")
    # What follows the @ may be the end of a password in the query.
    return f"{scheme}{separator}{'…' if '?' in before else host.partition('?')[0]}"


def check_own(prefix: object, deadline: object) -> None:
    """Raise `ConfigurationError` for a prefix or a deadline, in seconds, that no store can have."""
    if not isinstance(prefix, str):
        raise ConfigurationError(f"prefix={prefix!r} is not text; write prefix='rate_limit'")
    if deadline is None:  # it follows the distance
        return
    if not isinstance(deadline, (int, float)) or not 0 < deadline < math.inf:
        raise ConfigurationError(f"deadline={deadline!r} must be above 0 seconds, e.g. 0.05")


def checked_connections(count: int) -> int:
    """The count. Raises `ConfigurationError` unless it is a whole number above 0."""
    if not isinstance(count, int) or count < 1:
        raise ConfigurationError(f"max_connections={count!r} is not a whole number above 0, e.g. 4")
    return count
