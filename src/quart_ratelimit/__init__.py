"""Rate limiting for Quart on Redis: exact under concurrency, right when Redis fails."""

from .decorator import rate_limit
from .errors import (
    ConfigurationError,
    InvalidLimit,
    LimiterUnavailable,
    RateLimitError,
    RateLimitExceeded,
    StoreError,
)
from .limiter import Limiter
from .quotas import Decision, FixedWindow, Hit, Quota

__all__ = [
    "ConfigurationError",
    "Decision",
    "FixedWindow",
    "Hit",
    "InvalidLimit",
    "Limiter",
    "LimiterUnavailable",
    "Quota",
    "RateLimitError",
    "RateLimitExceeded",
    "StoreError",
    "rate_limit",
]
