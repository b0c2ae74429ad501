"""Rate limiting for Quart on Redis: exact under concurrency, right when Redis fails."""

from .client import client_address
from .constants import HeaderNames
from .decorator import rate_limit
from .errors import (
    ConfigurationError,
    InvalidLimit,
    LimiterUnavailable,
    RateLimitError,
    RateLimitExceeded,
    StoreError,
)
from .exemptions import ExemptionScope
from .limiter import Limiter
from .limits import ApplicationLimit, Limit, MetaLimit, RouteLimit
from .limits_file import LimitsFile
from .messages import message_bytes
from .networks import client_in
from .quotas import (
    GCRA,
    Concurrency,
    Decision,
    FixedWindow,
    Hit,
    MovingWindow,
    Penalty,
    Quota,
    SlidingWindow,
    StrictWindow,
)
from .runtime import RequestLimit

__all__ = [
    "GCRA",
    "ApplicationLimit",
    "Concurrency",
    "ConfigurationError",
    "Decision",
    "ExemptionScope",
    "FixedWindow",
    "HeaderNames",
    "Hit",
    "InvalidLimit",
    "Limit",
    "Limiter",
    "LimiterUnavailable",
    "LimitsFile",
    "MetaLimit",
    "MovingWindow",
    "Penalty",
    "Quota",
    "RateLimitError",
    "RateLimitExceeded",
    "RequestLimit",
    "RouteLimit",
    "SlidingWindow",
    "StoreError",
    "StrictWindow",
    "client_address",
    "client_in",
    "message_bytes",
    "rate_limit",
]
