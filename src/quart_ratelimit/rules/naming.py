"""A limit's name: which one is valid, and which one a limit without a name gets."""

from __future__ import annotations

from ..clients.keys import join_key
from ..errors import ConfigurationError
from ..quotas import Concurrency, Quota
from ..quotas.quota import is_name
from ..recent import kept_for_short_texts

#: The longest name that may be given to a limit.
LONGEST_NAME = 64
#: Derived names that are kept.
REMEMBERED = 1024
#: The longest scope whose derived names are kept, in characters: a client may choose it.
LONGEST_START = 256


@kept_for_short_texts(REMEMBERED, LONGEST_START)
def derived_name(start: str, quota: Quota) -> str:
    """A name in printable ASCII that distinguishes this quota: ``index:10/minute``."""
    if isinstance(quota, Concurrency):
        return f"{join_key(start)}:{quota.amount}"
    multiples = quota.multiples if quota.multiples > 1 else ""
    return f"{join_key(start)}:{quota.amount}/{multiples}{quota.unit}"


def check_name(name: object) -> None:
    """Raise `ConfigurationError` unless a structured field's string can hold the name."""
    if name is None:
        return
    if not is_name(name) or len(name) > LONGEST_NAME:
        raise ConfigurationError(
            f"name={name!r} must be 1 to {LONGEST_NAME} printable ASCII characters, "
            "e.g. name='login'"
        )
