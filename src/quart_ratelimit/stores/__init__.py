"""The stores, and which one a URI names."""

from __future__ import annotations

from typing import Any

from ..errors import ConfigurationError
from .breaker import Breaker
from .fleet import Fleet
from .guard import GuardedStore
from .memory import MemoryStore
from .redis import ClusterStore, RedisStore, redacted
from .store import Store

__all__ = [
    "Breaker",
    "ClusterStore",
    "Fleet",
    "GuardedStore",
    "MemoryStore",
    "RedisStore",
    "Store",
    "redacted",
    "store_from_uri",
]


def store_from_uri(uri: str, /, **options: Any) -> Store:
    """Make the store that a URI names; opens no connection. Raises `ConfigurationError`."""
    if uri == "memory://" or uri.startswith("memory://?"):
        return MemoryStore()
    for name in options.keys() & {"self", "source"}:
        raise ConfigurationError(f"{name!r} is not an option of a store: the URI says where it is")
    if uri.partition("://")[0].endswith("+cluster"):
        return ClusterStore(uri, **options)
    return RedisStore(uri, **options)
