"""Rate limiting for Quart on Redis: exact under concurrency, right when Redis fails."""

from .clients.key_functions import client_address
from .clients.keys import pseudonyms
from .clients.networks import client_in
from .constants import ExemptionScope, HeaderNames
from .direct.messages import message_bytes
from .direct.reservation import Reservation
from .errors import (
    ConfigurationError,
    InvalidLimit,
    LimiterUnavailable,
    RateLimitError,
    RateLimitExceeded,
    StoreError,
)
from .extension.limiter import Limiter
from .extension.snippet import rate_limit
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
from .responses.request_limit import RequestLimit
from .rules.costs import content_bytes
from .rules.limits import ApplicationLimit, Limit, MetaLimit, RouteLimit
from .rules.limits_file import LimitsFile

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
    "Reservation",
    "RouteLimit",
    "SlidingWindow",
    "StoreError",
    "StrictWindow",
    "client_address",
    "client_in",
    "content_bytes",
    "message_bytes",
    "pseudonyms",
    "rate_limit",
]
