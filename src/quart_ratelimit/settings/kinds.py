"""The kinds of values that settings alone take; see `quart_ratelimit.rules.kinds`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..clients.forwarded import TOKEN
from ..clients.keys import Keys, keys_with, pseudonyms
from ..constants import DRAFT_NAMES, HeaderNames
from ..errors import ConfigurationError
from ..rules.kinds import Kind, function, kind_of
from ..rules.limits import Limit, MetaLimit
from ..rules.notation import strategy

#: How long a refusal may be remembered, in seconds. A reset by another worker is unseen so long.
LONGEST_MEMORY = 60


def key_function(name: str, value: object) -> object:
    """Check for a function that returns the client that is counted."""
    if not callable(value):
        raise ConfigurationError(f"{name}={value!r} is not a function; write get_remote_address")
    return function(name, value)


def strategy_name(name: str, value: object) -> str:
    """Check for the name of a strategy."""
    if not isinstance(value, str):
        raise ConfigurationError(f"{name}: {kind_of(value)} is not text")
    strategy(value)
    return value


def workers(name: str, value: object) -> int:
    """Check for a number of workers."""
    if type(value) is not int or value < 1:
        raise ConfigurationError(f"{name}={value!r} is not a whole number above 0; write {name}=4")
    return value


def secret(name: str, value: object) -> str | bytes:
    """Check for text or bytes. Another value is not shown."""
    if not isinstance(value, (str, bytes)):
        raise ConfigurationError(f"{name}: {kind_of(value)} is neither text nor bytes")
    return value


def keys(name: str, value: object) -> Keys:
    """Convert a secret to what makes keys with it."""
    return keys_with(secret(name, value))


def pseudonym(name: str, value: object) -> Callable[[str], str]:
    """Convert a secret to what makes pseudonyms with it."""
    return pseudonyms(secret(name, value))


def limits(kind: type[Limit]) -> Kind[object]:
    """Return the kind of one limit, or a list of them, each given as it is or as a text.

    Raises `ConfigurationError` for a limit of another kind, which would count elsewhere.
    """

    def convert(name: str, value: Any) -> tuple[Limit, ...]:
        values = value if isinstance(value, (list, tuple)) else [value]
        return tuple(checked(name, one) for one in values)

    def checked(name: str, one: Any) -> Limit:
        if not isinstance(one, Limit):
            return kind(one, finalized=False)
        if not isinstance(one, kind) or (isinstance(one, MetaLimit) and kind is not MetaLimit):
            raise ConfigurationError(
                f"{name} has a {type(one).__name__}, which does not belong there; "
                f"write {kind.__name__}(...)"
            )
        return one

    return convert


def retry_after(name: str, value: object) -> object:
    """Check for one of the two forms of ``Retry-After``."""
    if value not in ("delta-seconds", "http-date"):
        raise ConfigurationError(f"{name}={value!r} is neither 'delta-seconds' nor 'http-date'")
    return value


def header_names(name: str, value: object) -> Mapping[HeaderNames, str]:
    """Check for other names of response fields, by their `HeaderNames`."""
    if not isinstance(value, Mapping) or not all(isinstance(one, HeaderNames) for one in value):
        raise ConfigurationError(f"{name}={value!r}: write {{HeaderNames.LIMIT: 'X-Limit'}}")
    return {header: header_name(name, own) for header, own in value.items() if own}


def header_name(name: str, value: object) -> str:
    """Check for a response field's name."""
    if not isinstance(value, str) or not re.fullmatch(TOKEN, value):
        raise ConfigurationError(f"{name}: {value!r} is not the name of a header; write 'X-Limit'")
    return value


def header_fields(_: str, value: object) -> Sequence[str]:
    """Check for "x-ratelimit", one of the IETF's drafts, or a list of the two."""
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, (list, tuple)) or not all(isinstance(one, str) for one in given):
        raise ConfigurationError(f"header_fields={value!r}: write ['x-ratelimit', 'draft-10']")
    if len(set(given).intersection(DRAFT_NAMES)) > 1:
        raise ConfigurationError(
            f"header_fields={value!r} names several drafts, whose fields have the same names; "
            "write one, e.g. ['x-ratelimit', 'draft-10']"
        )
    for one in given:
        if one != "x-ratelimit" and one not in DRAFT_NAMES:
            known = ", ".join(["x-ratelimit", *DRAFT_NAMES])
            same = "; draft-10 has its fields" if one in ("draft-8", "draft-9") else ""
            raise ConfigurationError(f"header_fields={value!r}: {one!r} is none of {known}{same}")
    return tuple(given)


def memory_ms(name: str, value: object) -> int:
    """Convert seconds, at most `LONGEST_MEMORY`, to ms."""
    if not isinstance(value, (int, float)) or not 0 <= value <= LONGEST_MEMORY:
        raise ConfigurationError(
            f"{name}={value!r} must be 0 to {LONGEST_MEMORY} seconds, e.g. 1.0"
        )
    return round(value * 1000)


def number_of_bytes(name: str, value: object) -> int:
    """Check for a whole number from 0 on."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ConfigurationError(
            f"{name}={value!r} must be a number of bytes, e.g. 1_048_576, or 0 to switch it off"
        )
    return value


def share(name: str, value: object) -> float:
    """Check for a number from 0 to 1."""
    if not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ConfigurationError(f"{name}={value!r} must be 0 to 1, e.g. 0.1")
    return value
