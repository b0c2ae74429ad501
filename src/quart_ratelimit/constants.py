"""The names of config variables, response fields and exemptions."""

from __future__ import annotations

import enum

__all__ = ["ConfigVars", "ExemptionScope", "HeaderNames"]


class ExemptionScope(enum.Flag):
    """From which limits a view or a blueprint is exempt."""

    NONE = 0
    #: The application's limits.
    APPLICATION = enum.auto()
    #: Meta limits.
    META = enum.auto()
    #: Default limits.
    DEFAULT = enum.auto()
    #: Blueprints nested in this one are exempt as it is.
    DESCENDENTS = enum.auto()
    #: The limits of the blueprints around this one do not apply.
    ANCESTORS = enum.auto()


class HeaderNames(enum.Enum):
    """The response fields, by their usual names; ``header_name_mapping`` gives them others."""

    #: When the limit is reset, in seconds since the epoch.
    RESET = "X-RateLimit-Reset"
    #: Units that remain in this window.
    REMAINING = "X-RateLimit-Remaining"
    #: Units allowed in one window.
    LIMIT = "X-RateLimit-Limit"
    #: How long to wait, in seconds or, as ``retry_after="http-date"``, until when.
    RETRY_AFTER = "Retry-After"


#: The IETF's drafts whose response fields can be sent.
DRAFT_NAMES = ("draft-6", "draft-7", "draft-10", "draft-11")


class ConfigVars:
    """The names of the app's variables."""

    ENABLED = "RATELIMIT_ENABLED"
    KEY_FUNC = "RATELIMIT_KEY_FUNC"
    KEY_PREFIX = "RATELIMIT_KEY_PREFIX"
    DOCTOR = "RATELIMIT_DOCTOR"
    KEY_SECRET = "RATELIMIT_KEY_SECRET"  # noqa: S105  # its name
    FAIL_ON_FIRST_BREACH = "RATELIMIT_FAIL_ON_FIRST_BREACH"
    ON_BREACH = "RATELIMIT_ON_BREACH_CALLBACK"
    SWALLOW_ERRORS = "RATELIMIT_SWALLOW_ERRORS"
    APPLICATION_LIMITS = "RATELIMIT_APPLICATION"
    APPLICATION_LIMITS_PER_METHOD = "RATELIMIT_APPLICATION_PER_METHOD"
    APPLICATION_LIMITS_EXEMPT_WHEN = "RATELIMIT_APPLICATION_EXEMPT_WHEN"
    APPLICATION_LIMITS_DEDUCT_WHEN = "RATELIMIT_APPLICATION_DEDUCT_WHEN"
    APPLICATION_LIMITS_COST = "RATELIMIT_APPLICATION_COST"
    DEFAULT_LIMITS = "RATELIMIT_DEFAULT"
    DEFAULT_LIMITS_PER_METHOD = "RATELIMIT_DEFAULTS_PER_METHOD"
    DEFAULT_LIMITS_EXEMPT_WHEN = "RATELIMIT_DEFAULTS_EXEMPT_WHEN"
    DEFAULT_LIMITS_DEDUCT_WHEN = "RATELIMIT_DEFAULTS_DEDUCT_WHEN"
    DEFAULT_LIMITS_COST = "RATELIMIT_DEFAULTS_COST"
    REQUEST_IDENTIFIER = "RATELIMIT_REQUEST_IDENTIFIER"
    STRATEGY = "RATELIMIT_STRATEGY"
    STORAGE_URI = "RATELIMIT_STORAGE_URI"
    STORAGE_OPTIONS = "RATELIMIT_STORAGE_OPTIONS"
    HEADERS_ENABLED = "RATELIMIT_HEADERS_ENABLED"
    HEADER_LIMIT = "RATELIMIT_HEADER_LIMIT"
    HEADER_REMAINING = "RATELIMIT_HEADER_REMAINING"
    HEADER_RESET = "RATELIMIT_HEADER_RESET"
    HEADER_RETRY_AFTER = "RATELIMIT_HEADER_RETRY_AFTER"
    HEADER_RETRY_AFTER_VALUE = "RATELIMIT_HEADER_RETRY_AFTER_VALUE"
    HEADER_FIELDS = "RATELIMIT_HEADER_FIELDS"
    SHADOW = "RATELIMIT_SHADOW"
    PROBLEM_DETAILS = "RATELIMIT_PROBLEM_DETAILS"
    PARTITION_SECRET = "RATELIMIT_PARTITION_SECRET"  # noqa: S105  # a variable's name
    IN_MEMORY_FALLBACK = "RATELIMIT_IN_MEMORY_FALLBACK"
    IN_MEMORY_FALLBACK_ENABLED = "RATELIMIT_IN_MEMORY_FALLBACK_ENABLED"
    META_LIMITS = "RATELIMIT_META"
    ON_META_BREACH = "RATELIMIT_ON_META_BREACH_CALLBACK"
