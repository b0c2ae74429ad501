"""Everything that this package raises, as one tree.

::

    RateLimitError
    ├── ConfigurationError (also a ValueError)   the developer's mistake, raised as the app is built
    │   └── InvalidLimit                         a limit that cannot be read
    │       └── MissingParentheses (a TypeError) a decorator without its limit
    └── StoreError                               the store could not decide
        ├── StoreTimeout                         no answer within the deadline; the hit may count
        ├── StoreAway                            a circuit breaker is open; Redis was not called
        ├── StoreOverloaded                      our own queue is full; Redis was not called
        └── StoreMisconfigured                   it answers, but can never decide as it is set up
    werkzeug.exceptions.TooManyRequests
    └── RateLimitExceeded                        HTTP 429: a refused request, no error of ours
    werkzeug.exceptions.ServiceUnavailable
    └── LimiterUnavailable                       HTTP 503: the store is away, the limit is "closed"
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from werkzeug.exceptions import HTTPException, ServiceUnavailable, TooManyRequests

if TYPE_CHECKING:
    from werkzeug.sansio.response import Response


class RateLimitError(Exception):
    """The root of all errors of this package that are not HTTP responses."""


class ConfigurationError(RateLimitError, ValueError):
    """A setting that can never work; raised while the app is built or started."""


class InvalidLimit(ConfigurationError):
    """A limit that cannot be read or can never be kept."""


class MissingParentheses(InvalidLimit, TypeError):
    """A decorator on a function without its parentheses, and so without a limit."""


class StoreError(RateLimitError):
    """The store could not decide. Whether the hit counts is unknown; it is never sent again."""

    #: For how long the circuit breaker stops further calls, in ms; 0 if it is closed.
    wait_ms: int = 0
    #: Whether the store may have carried the hit out.
    was_sent: bool = True
    #: Whether the store works, and one key holds what cannot be counted.
    concerns_key: bool = False


class StoreTimeout(StoreError):
    """The store did not answer within its deadline."""


class StoreAway(StoreError):
    """A circuit breaker is open, so the store was not called."""

    was_sent = False

    def __init__(self, wait_ms: int) -> None:
        super().__init__("the rate limit store is away")
        self.wait_ms = wait_ms


class StoreOverloaded(StoreError):
    """Too many hits wait in the store's queue. Redis was not called; the hit is not admitted."""

    was_sent = False


class StoreMisconfigured(StoreError):
    """The store replies, but cannot decide until its set-up is changed."""


class _Refusal(HTTPException):
    """A response that no cache may keep (RFC 6585), as HTML or as a problem in JSON."""

    #: The body in JSON, for a client that takes it; see `quart_ratelimit.responses.problems`.
    problem: bytes | None = None

    def forget_frames(self) -> None:
        """Drop the traceback, now that this is an answer.

        Its frames know the error as it knows them: all that a refused request was would stay until
        the garbage collector comes, which a flood would make expensive.
        """
        self.with_traceback(None)

    def get_response(self, environ: Any = None, scope: Any = None) -> Any:
        """werkzeug's."""
        self.forget_frames()
        return super().get_response(environ, scope)

    def get_body(self, environ: Any = None, scope: Any = None) -> Any:
        """The problem, or werkzeug's page."""
        return super().get_body(environ, scope) if self.problem is None else self.problem

    def get_headers(self, environ: Any = None, scope: Any = None) -> list[tuple[str, str]]:
        """werkzeug's, and that no cache may store the response."""
        headers = [*super().get_headers(environ, scope), ("Cache-Control", "no-store")]
        if self.problem is None:
            return headers
        kind = ("Content-Type", "application/problem+json")
        return [kind if name == "Content-Type" else (name, value) for name, value in headers]


class RateLimitExceeded(_Refusal, TooManyRequests):
    """A request that a limit refuses: HTTP 429, for ``@app.errorhandler(429)`` and similar.

    ``retry_after`` is in whole seconds; None: the request can never be allowed.
    """

    #: The limit that refused, with ``.limit`` (its quota), ``.scope``, ``.error_message`` and more.
    limit: Any
    #: All limits that this request was checked by, each a `RequestLimit`, as far as they are known.
    limits: Sequence[Any] = ()
    retry_after: int | None

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


class LimiterUnavailable(_Refusal, ServiceUnavailable):
    """The store cannot decide and the limit's policy is "closed": 503 with ``Retry-After``."""

    retry_after: int | None
