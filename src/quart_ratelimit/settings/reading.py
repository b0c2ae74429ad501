"""Reads the settings once, from the constructor's keywords and the app's ``RATELIMIT_*`` variables.

One precedence for all: what the constructor was given, unless that is None or empty, then the app's
variable, then the default. Two differ, as in Flask-Limiter: ``RATELIMIT_ENABLED`` and each single
storage option of the app win over the constructor's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from ..callables import UserFunction
from ..clients.key_spaces import space_of
from ..constants import HeaderNames
from ..errors import ConfigurationError
from ..rules.limits import Limit
from ..rules.validation import check_rule
from . import kinds
from .sources import Sources
from .table import ENABLED, HEADER_VARIABLES, ROWS, VARIABLES, Settings

#: Settings by the fields of `Settings`, before it is made.
Values = dict[str, Any]
#: Where an app keeps its variables as its latest limiter read them, in its ``extensions``.
VARIABLES_READ = "quart_ratelimit/variables"
#: The fields of `Settings` that hold limits; the first two have a cost and functions of their own.
_GROUPS = ("default_limits", "application_limits")
_LIMITS = (*_GROUPS, "meta_limits", "in_memory_fallback")


def read_settings(
    given: Mapping[str, object],
    config: Mapping[str, object],
    first: UserFunction[object] | None = None,
) -> Settings:
    """Return the settings, by the constructor's keywords and the app's variables.

    ``first`` is the key function of the app's first limiter, if that is another limiter. Raises
    `ConfigurationError`; for a limit it names where it was given and its text.
    """
    _check_variables(config)
    sources = Sources(given, config)
    sources.read(ENABLED)
    values: Values = {name: sources.read(row) for name, row in ROWS.items()}
    values["key_func"] = values["key_func"] or given["default_key_func"]
    own = space_of(values["key_func"])  # kept: within a request its values would not count
    values["unnamed_space"] = own if first is None else space_of(first)
    values["storage_options"] = _storage_options(sources)
    values["storage_given"] = ", ".join(
        sources.origin(ROWS[name]) for name in ("storage_uri", "storage_options")
    )
    values["header_names"] = _header_names(values["header_names"] or {}, config)
    if values["headers_enabled"] is None:
        values["headers_enabled"] = bool(sources.raw(ROWS["header_fields"]))
    for name in _LIMITS:
        values[name] = _limits(name, values, sources.origin(ROWS[name]))
    values["on_store_error"] = _policy(values, sources)
    return Settings(**values)


def check_unchanged(read: Mapping[str, object], config: Mapping[str, object]) -> None:
    """Raise `ConfigurationError` for a variable that was set after the last limiter read them.

    It would count for nothing. ``RATELIMIT_ENABLED`` may change at any time.
    """
    _check_variables(config)
    now = variables_of(config)
    for name in sorted({*now, *read}):
        new, old = now.get(name), read.get(name)
        if new is not old and new != old:  # not a number is not equal to itself
            raise ConfigurationError(
                f"{name} was changed after the limiter met the app, which has no effect; set it "
                "before Limiter(app=app) or limiter.init_app(app)"
            )


def variables_of(config: Mapping[str, object]) -> dict[str, object]:
    """Return the app's variables that count from `Limiter.init_app` on."""
    known = {*VARIABLES.values(), *HEADER_VARIABLES.values()}
    return {name: config[name] for name in known if name in config}


def _check_variables(config: Mapping[str, object]) -> None:
    """Raise `ConfigurationError` for a variable that looks like ours and is not."""
    known = {*VARIABLES.values(), *HEADER_VARIABLES.values(), ENABLED.variable}
    for name in config:
        if not name.upper().startswith(("RATELIMIT_", "QUART_RATELIMIT_")) or name in known:
            continue
        raise ConfigurationError(f"{name} is not a variable of this package; {_meant(name, known)}")


def _meant(name: str, known: set[str]) -> str:
    own = name.upper().removeprefix("QUART_").removeprefix("RATELIMIT_")
    keyword = own.lower()
    if any(row.keyword == keyword and not row.variable for row in ROWS.values()):
        return f"write Limiter({keyword}=...)"
    if keyword in VARIABLES:
        return f"did you mean {VARIABLES[keyword]}?"
    ends = sorted(variable.removeprefix("RATELIMIT_") for variable in known)
    near = get_close_matches(own, ends, 1)
    if near:
        return f"did you mean RATELIMIT_{near[0]}?"
    return "its variables are listed in docs/reference/settings.md"


def _storage_options(sources: Sources) -> dict[str, object]:
    options: dict[str, object] = {}
    for given in reversed(sources.raw(ROWS["storage_options"])):
        options = {**given, **options}  # type: ignore[dict-item]
    return options


def _header_names(
    own: Mapping[HeaderNames, str], config: Mapping[str, object]
) -> Mapping[HeaderNames, str]:
    """Return what each response field is called."""
    found = {}
    for header, variable in HEADER_VARIABLES.items():
        given = config.get(variable) or header.value
        found[header] = own.get(header) or kinds.header_name(variable, given)
    return found


def _limits(name: str, values: Values, where: str) -> tuple[Limit, ...]:
    """Return the limits with what is given for all of the group, each checked."""
    shared: Values = {}
    if name in _GROUPS:
        shares = ("cost", "per_method", "exempt_when", "deduct_when")
        shared = {share: values[f"{name}_{share}"] for share in shares}
    limits = [
        limit if limit.finalized else replace(limit, finalized=True, **shared)
        for limit in values[name]
    ]
    for limit in limits:
        check_rule(limit, where, values["strategy"])
    return tuple(limits)


def _policy(values: Values, sources: Sources) -> str:
    """Return what our own keyword says, else what Flask-Limiter's switches mean here."""
    own: str | None = values["on_store_error"]
    if values["in_memory_fallback"]:
        if own not in (None, "raise"):
            fallback = sources.origin(ROWS["in_memory_fallback"])
            raise ConfigurationError(
                f"on_store_error={own!r} contradicts {fallback}, which replaces all limits while "
                "the store is away; leave one of them out"
            )
        return "raise"
    if own is not None:
        return own
    if values["in_memory_fallback_enabled"]:
        return "local"
    return "open" if values["swallow_errors"] else "local"
