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
from .quotas import (
    GCRA,
    Concurrency,
    Decision,
    FixedWindow,
    Hit,
    MovingWindow,
    Quota,
    SlidingWindow,
    StrictWindow,
)

__all__ = [
    "GCRA",
    "Concurrency",
    "ConfigurationError",
    "Decision",
    "FixedWindow",
    "Hit",
    "InvalidLimit",
    "Limiter",
    "LimiterUnavailable",
    "MovingWindow",
    "Quota",
    "RateLimitError",
    "RateLimitExceeded",
    "SlidingWindow",
    "StoreError",
    "StrictWindow",
    "rate_limit",
]
