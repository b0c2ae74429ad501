"""These modules count in Redis; no others import redis."""

from .cluster import ClusterStore
from .store import RedisStore
from .uri import redacted

__all__ = ["ClusterStore", "RedisStore", "redacted"]
