"""Refusals as ``application/problem+json``. Sources: RFC 9457, and for the types and the member
``violated-policies`` draft-ietf-httpapi-ratelimit-headers-11.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from werkzeug.sansio.request import Request

from ..errors import LimiterUnavailable, RateLimitExceeded
from ..quotas import Penalty
from .drafts import names
from .request_limit import RequestLimit

JSON = "application/problem+json"
TYPES = "https://iana.org/assignments/http-problem-types#"

#: Types and titles of 429: a quota is used up, or a `Penalty` blocks the client.
QUOTA = (
    TYPES + "quota-exceeded",
    "Request cannot be satisfied as assigned quota has been exceeded",
)
ABUSE = (
    TYPES + "abnormal-usage-detected",
    "Request not satisfied due to detection of abnormal request pattern",
)

#: The longest ``Accept`` field that is read, in characters; browsers' fields have some 150.
LONGEST_ACCEPT = 1024
#: What may be answered with; the first for a client that takes anything.
_OFFERS = [JSON, "application/json", "text/html"]


def wants_problem(request: Request) -> bool:
    """Whether a client takes JSON no less gladly than HTML; a browser prefers HTML.

    A longer field than `LONGEST_ACCEPT` is not read, and taken for no preference: reading 60 kB
    would cost more than all else of a refusal.
    """
    if len(request.headers.get("Accept", "")) > LONGEST_ACCEPT:
        return True
    accept = request.accept_mimetypes
    return not accept or accept.best_match(_OFFERS, default="text/html") != "text/html"


def describe(
    error: RateLimitExceeded | LimiterUnavailable, limits: Sequence[RequestLimit]
) -> bytes:
    """The body: which policies were violated, by the names that the response fields have."""
    problem: dict[str, object] = {
        "type": TYPES + "temporary-reduced-capacity",
        "title": "Request cannot be satisfied at the moment",
        "status": error.code,
    }
    if isinstance(error, RateLimitExceeded):
        violated = [name for name, told in zip(names(limits), limits, strict=True) if told.breached]
        problem["type"], problem["title"] = QUOTA
        if isinstance(error.limit.limit, Penalty):
            problem["type"], problem["title"] = ABUSE
        problem["detail"] = str(error.description)
        problem["violated-policies"] = violated
    if error.retry_after is not None:
        problem["retry_after"] = error.retry_after
    return json.dumps(problem).encode()
