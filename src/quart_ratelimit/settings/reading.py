"""What the limiter was told, by its constructor and by ``RATELIMIT_*`` variables, read once.

Source of the names and defaults: Flask-Limiter 4.1.1. One precedence for all: what the constructor
was given, unless that is None or empty, then the app's variable, then the default. Two differ, as
there: ``RATELIMIT_ENABLED`` and each single storage option of the app win over the constructor's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..callables import UserFunction, check_user_function
from ..clients.forwarded import TOKEN
from ..clients.keys import Keys, key_parts, keys_with, pseudonyms, space_of
from ..constants import ConfigVars, HeaderNames
from ..errors import ConfigurationError
from ..responses.drafts import DRAFTS, Draft, Pseudonym
from ..rules.limits import ApplicationLimit, Limit, MetaLimit, check_cost
from ..rules.notation import strategy
from ..rules.validation import check_rule
from ..stores import check_policy
from .sources import Kind, Sources, asked, options, secret, switch, switch_or_function, text, told

#: The constructor's keyword -> the app's variable.
VARIABLES = {
    "key_func": ConfigVars.KEY_FUNC,
    "key_prefix": ConfigVars.KEY_PREFIX,
    "key_secret": ConfigVars.KEY_SECRET,
    "doctor": ConfigVars.DOCTOR,
    "default_limits": ConfigVars.DEFAULT_LIMITS,
    "default_limits_per_method": ConfigVars.DEFAULT_LIMITS_PER_METHOD,
    "default_limits_exempt_when": ConfigVars.DEFAULT_LIMITS_EXEMPT_WHEN,
    "default_limits_deduct_when": ConfigVars.DEFAULT_LIMITS_DEDUCT_WHEN,
    "default_limits_cost": ConfigVars.DEFAULT_LIMITS_COST,
    "application_limits": ConfigVars.APPLICATION_LIMITS,
    "application_limits_per_method": ConfigVars.APPLICATION_LIMITS_PER_METHOD,
    "application_limits_exempt_when": ConfigVars.APPLICATION_LIMITS_EXEMPT_WHEN,
    "application_limits_deduct_when": ConfigVars.APPLICATION_LIMITS_DEDUCT_WHEN,
    "application_limits_cost": ConfigVars.APPLICATION_LIMITS_COST,
    "meta_limits": ConfigVars.META_LIMITS,
    "on_breach": ConfigVars.ON_BREACH,
    "on_meta_breach": ConfigVars.ON_META_BREACH,
    "storage_uri": ConfigVars.STORAGE_URI,
    "strategy": ConfigVars.STRATEGY,
    "headers_enabled": ConfigVars.HEADERS_ENABLED,
    "header_fields": ConfigVars.HEADER_FIELDS,
    "problem_details": ConfigVars.PROBLEM_DETAILS,
    "partition_secret": ConfigVars.PARTITION_SECRET,
    "retry_after": ConfigVars.HEADER_RETRY_AFTER_VALUE,
    "swallow_errors": ConfigVars.SWALLOW_ERRORS,
    "fail_on_first_breach": ConfigVars.FAIL_ON_FIRST_BREACH,
    "in_memory_fallback": ConfigVars.IN_MEMORY_FALLBACK,
    "request_identifier": ConfigVars.REQUEST_IDENTIFIER,
    "shadow": ConfigVars.SHADOW,
}

#: Seconds that a refusal may be remembered: so long may a reset by another worker go unseen.
LONGEST_MEMORY = 60

#: The settings that are on or off, with their variables.
_SWITCHES = {
    "enabled": ConfigVars.ENABLED,
    "in_memory_fallback_enabled": ConfigVars.IN_MEMORY_FALLBACK_ENABLED,
    **{
        name: VARIABLES[name]
        for name in (
            "shadow",
            "doctor",
            "headers_enabled",
            "problem_details",
            "swallow_errors",
            "fail_on_first_breach",
            "default_limits_per_method",
            "application_limits_per_method",
        )
    },
}

#: What kind of value a setting has.
_KINDS: dict[str, Kind] = {
    **dict.fromkeys(_SWITCHES, switch),
    "limit_unmatched": switch,
    "shadow": switch_or_function,
    "storage_uri": text,
    "storage_options": options,
    "strategy": text,
    "on_store_error": text,
    "key_secret": secret,
    "partition_secret": secret,
    "request_identifier": asked,
    "default_limits_exempt_when": asked,
    "default_limits_deduct_when": told,
    "application_limits_exempt_when": asked,
    "application_limits_deduct_when": told,
    "on_breach": told,
    "on_meta_breach": told,
}

_HEADER_VARIABLES = {
    HeaderNames.LIMIT: ConfigVars.HEADER_LIMIT,
    HeaderNames.REMAINING: ConfigVars.HEADER_REMAINING,
    HeaderNames.RESET: ConfigVars.HEADER_RESET,
    HeaderNames.RETRY_AFTER: ConfigVars.HEADER_RETRY_AFTER,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that one app told its limiter."""

    key_func: UserFunction[Any]
    key_prefix: str
    #: How keys are made, by the ``key_secret``.
    keys: Keys
    strategy: str
    storage_uri: str | None
    storage_options: Mapping[str, Any]
    #: The arguments or the variables that gave them, for messages.
    storage_given: str
    default_limits: tuple[Limit, ...]
    application_limits: tuple[Limit, ...]
    meta_limits: tuple[Limit, ...]
    in_memory_fallback: tuple[Limit, ...]
    on_breach: UserFunction[Any] | None
    on_meta_breach: UserFunction[Any] | None
    headers_enabled: bool
    header_names: Mapping[HeaderNames, str]
    #: Whether ``X-RateLimit-*`` is among the fields.
    x_ratelimit: bool
    #: The IETF draft whose fields are among them.
    draft: Draft | None
    #: Makes the partition keys in a draft's fields; None: there are none.
    pseudonym: Pseudonym | None
    retry_after: str | None
    #: The share of a period by which ``Retry-After`` is lengthened at random; 0: not at all.
    retry_jitter: float
    swallow_errors: bool
    fail_on_first_breach: bool
    request_identifier: UserFunction[str] | None
    #: What to do while the store is away: one of the store's policies, or "raise".
    on_store_error: str
    limit_unmatched: bool
    #: Whether limits that do not say so themselves are in shadow.
    shadow: bool | UserFunction[bool]
    #: Refusals in JSON for clients that take it.
    problem_details: bool
    #: Whether what looks wrong is logged at start.
    doctor: bool
    #: Milliseconds that a refusal is remembered, and not asked again; 0: not at all.
    remember_refusals: int

    def key_parts(self, key_func: UserFunction[Any], who: str, scope: str) -> list[str]:
        """The parts of the key that a rule counts a client under.

        Clients that another function names than the limiter's own are in a space of their own:
        who chooses an account's name must not choose another client's address.
        """
        space = "" if key_func == self.key_func else space_of(key_func)
        return key_parts(self.key_prefix, space, who, scope)


def read_settings(given: Mapping[str, Any], config: Mapping[str, Any]) -> Settings:
    """The settings, by the constructor's keywords and the app's variables.

    Raises `ConfigurationError`; for a limit it names where it was given and its text.
    """
    variables = {**VARIABLES, **_SWITCHES, "storage_options": ConfigVars.STORAGE_OPTIONS}
    chosen = Sources(given, config, variables)
    for name, kind in _KINDS.items():
        chosen.check(name, kind)

    def group(name: str, kind: type[Limit]) -> tuple[Limit, ...]:
        shares = {
            "cost": chosen(f"{name}_cost", 1),
            "per_method": bool(chosen(f"{name}_per_method", False)),
            "exempt_when": chosen(f"{name}_exempt_when"),
            "deduct_when": chosen(f"{name}_deduct_when"),
        }
        if callable(shares["cost"]):
            check_user_function(shares["cost"], chosen.origin(f"{name}_cost"))
        else:
            with chosen.naming(f"{name}_cost"):
                check_cost(shares["cost"])
        limits = [
            limit if limit.finalized else replace(limit, finalized=True, **shares)
            for limit in _limits(chosen(name), kind, finalized=False)
        ]
        return _checked(limits, chosen.origin(name), strategy_name)

    def listed(name: str, kind: type[Limit]) -> tuple[Limit, ...]:
        return _checked(_limits(chosen(name), kind), chosen.origin(name), strategy_name)

    strategy_name = chosen("strategy", "fixed-window")
    with chosen.naming("strategy"):
        strategy(strategy_name)
    retry_after = chosen("retry_after")
    if retry_after not in (None, "delta-seconds", "http-date"):
        raise ConfigurationError(
            f"{chosen.origin('retry_after')}={retry_after!r} is neither 'delta-seconds' nor "
            "'http-date'"
        )
    fallback = listed("in_memory_fallback", Limit)
    with chosen.naming("header_fields"):
        x_ratelimit, draft = _header_fields(chosen("header_fields", "x-ratelimit"))
    partition_secret = chosen("partition_secret")
    with chosen.naming("partition_secret"):
        pseudonym = None if partition_secret is None else pseudonyms(partition_secret)
    with chosen.naming("key_secret"):
        keys = keys_with(chosen("key_secret"))
    swallow = bool(chosen("swallow_errors", False))
    with chosen.naming("on_store_error"):
        policy = _policy(given, config, bool(fallback), swallow)
    key_func = chosen("key_func", given["default_key_func"])
    if not callable(key_func):
        raise ConfigurationError(
            f"{chosen.origin('key_func')}={key_func!r} is no function; write get_remote_address"
        )
    check_user_function(key_func, chosen.origin("key_func"))
    return Settings(
        key_func=key_func,
        key_prefix=str(chosen("key_prefix", "")),
        keys=keys,
        strategy=strategy_name,
        storage_uri=chosen("storage_uri"),
        storage_options={
            **(given.get("storage_options") or {}),
            **(config.get(ConfigVars.STORAGE_OPTIONS) or {}),
        },
        storage_given=f"{chosen.origin('storage_uri')}, {chosen.origin('storage_options')}",
        default_limits=group("default_limits", Limit),
        application_limits=group("application_limits", ApplicationLimit),
        meta_limits=listed("meta_limits", MetaLimit),
        in_memory_fallback=fallback,
        on_breach=chosen("on_breach"),
        on_meta_breach=chosen("on_meta_breach"),
        headers_enabled=bool(chosen("headers_enabled", chosen("header_fields") is not None)),
        x_ratelimit=x_ratelimit,
        draft=draft,
        pseudonym=pseudonym,
        header_names=_header_names(given.get("header_name_mapping") or {}, config),
        retry_after=retry_after,
        retry_jitter=_share("retry_jitter", given.get("retry_jitter", 0)),
        swallow_errors=swallow,
        fail_on_first_breach=bool(chosen("fail_on_first_breach", True)),
        request_identifier=chosen("request_identifier"),
        on_store_error=policy,
        limit_unmatched=bool(given.get("limit_unmatched")),
        shadow=chosen("shadow", False),
        problem_details=bool(chosen("problem_details", False)),
        doctor=bool(chosen("doctor", True)),
        remember_refusals=_remembered_ms(given.get("remember_refusals", 1.0)),
    )


def _header_names(
    mapping: Mapping[HeaderNames, str], config: Mapping[str, Any]
) -> dict[HeaderNames, str]:
    """What each field is called."""
    if not isinstance(mapping, Mapping) or not all(one in _HEADER_VARIABLES for one in mapping):
        raise ConfigurationError(
            f"header_name_mapping={mapping!r}: write {{HeaderNames.LIMIT: 'X-Limit'}}"
        )
    found = {}
    for header, variable in _HEADER_VARIABLES.items():
        own = mapping.get(header)
        name = own or config.get(variable) or header.value
        if not isinstance(name, str) or not re.fullmatch(TOKEN, name):
            place = "header_name_mapping" if own else variable
            raise ConfigurationError(f"{place}: {name!r} is no header's name; write 'X-Limit'")
        found[header] = name
    return found


def _remembered_ms(seconds: Any) -> int:
    if not isinstance(seconds, (int, float)) or not 0 <= seconds <= LONGEST_MEMORY:
        raise ConfigurationError(
            f"remember_refusals={seconds!r} must be 0 to {LONGEST_MEMORY} seconds, e.g. 1.0"
        )
    return round(seconds * 1000)


def _share(name: str, value: Any) -> float:
    if not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ConfigurationError(f"{name}={value!r} must be 0 to 1, e.g. 0.1")
    return value


def _header_fields(value: Any) -> tuple[bool, Draft | None]:
    """Whether ``X-RateLimit-*`` is among the named fields, and which draft is."""
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, (list, tuple)) or not all(isinstance(name, str) for name in given):
        raise ConfigurationError(f"header_fields={value!r}: write ['x-ratelimit', 'draft-10']")
    drafts = [name for name in given if name in DRAFTS]
    if len(drafts) > 1:
        raise ConfigurationError(
            f"header_fields={value!r} names several drafts, whose fields have the same names; "
            "write one, e.g. ['x-ratelimit', 'draft-10']"
        )
    for name in given:
        if name not in DRAFTS and name != "x-ratelimit":
            known = ", ".join(["x-ratelimit", *DRAFTS])
            raise ConfigurationError(f"header_fields={value!r}: {name!r} is none of {known}")
    return "x-ratelimit" in given, DRAFTS[drafts[0]] if drafts else None


def _limits(value: Any, kind: type[Limit], **shared: Any) -> list[Limit]:
    """One limit or a list of them, as the constructor or a variable gave it."""
    values = value if isinstance(value, (list, tuple)) else [] if value is None else [value]
    return [one if isinstance(one, Limit) else kind(one, **shared) for one in values]


def _checked(limits: Sequence[Limit], where: str, strategy_name: str) -> tuple[Limit, ...]:
    for limit in limits:
        check_rule(limit, where, strategy_name)
    return tuple(limits)


def _policy(
    given: Mapping[str, Any], config: Mapping[str, Any], fallback: bool, swallow: bool
) -> str:
    """What our own keyword says, else what Flask-Limiter's switches mean here."""
    if fallback:
        return "raise"
    if given.get("on_store_error") is not None:
        check_policy(given["on_store_error"])
        return str(given["on_store_error"])
    if given.get("in_memory_fallback_enabled") or config.get(ConfigVars.IN_MEMORY_FALLBACK_ENABLED):
        return "local"
    return "open" if swallow else "local"
