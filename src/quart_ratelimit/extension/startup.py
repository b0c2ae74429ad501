"""What can be seen of a limiter as its app starts, without calling a server: a second's work."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence

from quart import Quart

from ..callables import UserFunction
from ..clients.key_functions import trusts_proxies
from ..findings import Finding
from ..rules.varying import Uncalled
from ..stores import RedisStore
from .binding import Binding
from .enumeration import Enumeration

#: Words in an endpoint or a path behind which passwords and codes are guessed.
_AUTH = re.compile(r"(?:^|[/._-])(?:log-?in|sign-?in|password|token|otp|2fa|mfa|auth)(?:$|[/._-])")


def startup_findings(app: Quart, binding: Binding) -> list[Finding]:
    """What is wrong at first sight; needs an event loop."""
    found = list(_of_workers(binding))
    if isinstance(binding.backend, RedisStore):
        found += binding.backend.findings()
    found += _of_policy(app, binding)
    found += _of_proxies(app, binding)
    if binding.settings.shadow is True:
        seen = "the whole limiter is in shadow, by shadow=True or RATELIMIT_SHADOW"
        found.append(Finding("QRL035", seen, "Remove it once you know enough."))
    return found


def workers(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """How many workers the command line or ``WEB_CONCURRENCY`` names; 1 if neither does."""
    told = re.search(r"(?:^|\0)(?:-w|--workers)[=\0]?([0-9]+)", "\0".join(arguments))
    text = told[1] if told else environment.get("WEB_CONCURRENCY", "")
    return int(text) if text.isdecimal() else 1


def _of_workers(binding: Binding) -> Iterator[Finding]:
    if not binding.in_memory:
        return
    count, fix = workers(sys.argv, os.environ), "Write storage_uri='redis://localhost:6379/0'."
    if count > 1:
        yield Finding("QRL009", f"rate limits are kept in memory, by {count} workers", fix)
    else:
        yield Finding("QRL001", "rate limits are kept in memory", fix)


def _of_policy(app: Quart, binding: Binding) -> Iterator[Finding]:
    if binding.in_memory or binding.settings.on_store_error != "open":
        return
    for rule in app.url_map.iter_rules():
        if _AUTH.search(rule.rule.lower()) or _AUTH.search(rule.endpoint.lower()):
            yield Finding(
                "QRL030",
                f"the policy is 'open', and {rule.rule} looks like a route for passwords",
                "Write on_store_error='local', or 'closed'.",
            )
            return


def _of_proxies(app: Quart, binding: Binding) -> Iterator[Finding]:
    """`client_in` and `client_address`, if only one of the two trusts proxies."""
    for key, function in pass_and_deny_functions(app, binding):
        counted, listed = trusts_proxies(key), trusts_proxies(function)
        if counted is None or listed is None or counted is listed:
            continue
        one, other = ("key_func", "client_in") if counted else ("client_in", "key_func")
        seen = f"{one} trusts proxies, and {other} does not"
        fix = "Give client_in and client_address the same trusted_proxies=[...]."
        yield Finding("QRL023", seen, fix)
        return


def pass_and_deny_functions(
    app: Quart, binding: Binding
) -> Iterator[tuple[UserFunction[object], UserFunction[object]]]:
    """The functions that exempt or deny clients, each after its key function."""
    settings = binding.settings
    for function in (*binding.filters, *binding.denials):
        yield settings.key_func, function
    for rule in Enumeration(app, binding, Uncalled()).declared():
        if rule.exempt_when is not None:
            yield rule.key_function or settings.key_func, rule.exempt_when
