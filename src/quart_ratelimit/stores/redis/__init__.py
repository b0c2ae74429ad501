"""These modules count in Redis; no others import redis."""

from .arguments import redacted
from .cluster import ClusterStore
from .store import RedisStore

__all__ = ["ClusterStore", "RedisStore", "redacted"]
