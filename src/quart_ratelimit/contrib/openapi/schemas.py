"""Refusals and response fields as OpenAPI has them: settings in, objects out.

Source: OpenAPI 3.1.0, "Response Object", "Media Type Object" and "Header Object".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...constants import HeaderNames
from ...quotas import Quota
from ...responses.drafts import DRAFTS
from ...responses.problems import JSON
from ...responses.request_limit import RequestLimit
from ...rules.registry import OwnLimit
from ...settings.table import Settings

#: An object of OpenAPI, or of JSON Schema.
Object = dict[str, object]

MEANINGS = {
    HeaderNames.LIMIT: "Units allowed in one window.",
    HeaderNames.REMAINING: "Units that remain in this window.",
    HeaderNames.RESET: "When the window ends, in seconds since the epoch.",
    HeaderNames.RETRY_AFTER: "How long to wait.",
}
DRAFT = "Rate limits as structured fields: draft-ietf-httpapi-ratelimit-headers."
PROBLEM: Object = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "violated-policies": {"type": "array", "items": {"type": "string"}},
        "retry_after": {"type": "integer"},
    },
    "required": ["type", "title", "status"],
}
MESSAGE: Object = {
    "type": "object",
    "properties": {"message": {"type": "string"}},
    "required": ["message"],
}


def described(quotas: Iterable[Quota]) -> str:
    """A refusal's description."""
    return f"Too many requests. Limits: {', '.join(dict.fromkeys(map(str, quotas)))}."


def bodies(by_rules: bool, own: Sequence[OwnLimit], settings: Settings) -> Object:
    """The schemas of a refusal's body, by its type."""
    found: Object = {}
    if any(one.says_json for one in own):
        found["application/json"] = {"schema": MESSAGE}
    if by_rules or not all(one.says_json for one in own):
        if settings.problem_details:
            found[JSON] = {"schema": PROBLEM}
        found["text/html"] = {"schema": {"type": "string"}}
    return found


def retry_after(settings: Settings) -> Object:
    """The field of every refusal."""
    date = settings.retry_after == "http-date"
    return {"Retry-After": _field(MEANINGS[HeaderNames.RETRY_AFTER], integer=not date)}


def fields(quota: Quota, settings: Settings) -> Object:
    """The fields of every answer."""
    found: Object = {}
    if not settings.headers_enabled:
        return found
    if settings.x_ratelimit:
        date = settings.retry_after == "http-date"
        for header, name in settings.header_names.items():
            integer = not (date and header is HeaderNames.RETRY_AFTER)
            found[name] = _field(MEANINGS[header], integer=integer)
    if settings.draft is not None:
        told = RequestLimit(None, quota, ["", ""], False, False)
        for name, _ in DRAFTS[settings.draft]([told], told, None):
            found[name] = _field(DRAFT, integer=False)
    return found


def _field(meaning: str, *, integer: bool) -> Object:
    return {"description": meaning, "schema": {"type": "integer" if integer else "string"}}
