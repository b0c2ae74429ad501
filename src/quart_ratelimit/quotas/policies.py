"""What decides a hit while the store is away: the names of the policies."""

from __future__ import annotations

from ..errors import ConfigurationError

#: "open" admits, "closed" refuses with 503, "local" counts in this worker's memory, "raise" raises
#: `StoreError`: the caller has an answer of its own.
POLICIES = ("open", "closed", "local", "raise")


def check_policy(policy: object) -> None:
    """Raise `ConfigurationError` unless the policy is one of `POLICIES`."""
    if policy not in POLICIES:
        raise ConfigurationError(f"{policy!r} is not a policy; write one of {', '.join(POLICIES)}")
