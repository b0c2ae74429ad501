"""Everything that this package raises, as one tree.

::

    RateLimitError
    ├── ConfigurationError (also a ValueError)   the developer's mistake, raised as the app is built
    │   └── InvalidLimit                         a limit that cannot be read
    └── StoreError                               the store could not decide
        ├── StoreTimeout                         no answer within the deadline; the hit may count
        ├── StoreOverloaded                      our own queue is full; Redis was not asked
        └── StoreMisconfigured                   it answers, but can never decide as it is set up
    werkzeug.exceptions.TooManyRequests
    └── RateLimitExceeded                        HTTP 429: a refused request, no error of ours
    werkzeug.exceptions.ServiceUnavailable
    └── LimiterUnavailable                       HTTP 503: the store is away, the limit is "closed"
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from werkzeug.exceptions import ServiceUnavailable, TooManyRequests

if TYPE_CHECKING:
    from werkzeug.sansio.response import Response


class RateLimitError(Exception):
    """The root of all errors of this package that are not HTTP answers."""


class ConfigurationError(RateLimitError, ValueError):
    """A setting that can never work; raised while the app is built or started."""


class InvalidLimit(ConfigurationError):
    """A limit that cannot be read or can never be kept."""


class StoreError(RateLimitError):
    """The store could not decide. Whether the hit counts is unknown; it is never sent again."""


class StoreTimeout(StoreError):
    """The store did not answer within its deadline."""


class StoreOverloaded(StoreError):
    """More hits wait than the store's own queue holds; Redis was not asked. Never a free pass."""


class StoreMisconfigured(StoreError):
    """The store answers but can never decide until somebody changes its set-up."""


class RateLimitExceeded(TooManyRequests):
    """A request that a limit refuses: HTTP 429, for ``@app.errorhandler(429)`` and its like."""

    #: The limit that refused, with ``.limit`` (its quota), ``.scope``, ``.error_message`` and more.
    limit: Any

    def __init__(
        self,
        limit: Any,
        response: Response | None = None,
        *,
        description: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        if description is None:
            message = getattr(limit, "error_message", None)
            description = (message() if callable(message) else message) or str(limit.limit)
        super().__init__(
            description=description,
            response=response,
            retry_after=retry_after,
        )
        self.limit = limit


class LimiterUnavailable(ServiceUnavailable):
    """The store cannot decide and the limit's policy is "closed": 503 with ``Retry-After``."""
