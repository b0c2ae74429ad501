"""Decisions as the IETF's rate limit fields, by the draft: decisions in, field lines out.

Source: draft-ietf-httpapi-ratelimit-headers, whose fields changed with the drafts. 6 has three
``RateLimit-*`` fields of one limit, 7 makes one of them, 8 to 11 list every limit by its name:
``RateLimit-Policy: "login";q=10;w=60`` and ``RateLimit: "login";r=9;t=60``. Strings, byte sequences
and integers are as in RFC 9651. Seconds are whole and rounded up.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence

from ..quotas import Concurrency, Quota
from ..recent import kept_for_short_texts
from ..rules.naming import derived_name
from .request_limit import RequestLimit

#: A field's name and its value.
Line = tuple[str, str]
#: Makes a client's partition key, in hex.
Pseudonym = Callable[[str], str]
#: The lines of all limits of a request; the second one is the limit to show if only one can be.
Draft = Callable[[Sequence[RequestLimit], RequestLimit, Pseudonym | None], list[Line]]

#: The largest integer that a structured field may hold: 15 digits.
LARGEST = 999_999_999_999_999
#: Limits whose names and policies are kept as text.
REMEMBERED = 1024
#: The longest name whose policy is kept as text, in characters.
LONGEST_NAME = 256


def draft_6(
    limits: Sequence[RequestLimit], current: RequestLimit, _: Pseudonym | None = None
) -> list[Line]:
    """``RateLimit-Limit``, ``-Remaining`` and ``-Reset`` (seconds), and the policies."""
    return [
        ("RateLimit-Limit", str(_integer(current.limit.amount))),
        ("RateLimit-Remaining", str(_integer(current.remaining))),
        ("RateLimit-Reset", str(_reset(current))),
        ("RateLimit-Policy", _unnamed(limits)),
    ]


def draft_7(
    limits: Sequence[RequestLimit], current: RequestLimit, _: Pseudonym | None = None
) -> list[Line]:
    """One ``RateLimit`` of one limit, and the policies."""
    amount, remaining = _integer(current.limit.amount), _integer(current.remaining)
    return [
        ("RateLimit", f"limit={amount}, remaining={remaining}, reset={_reset(current)}"),
        ("RateLimit-Policy", _unnamed(limits)),
    ]


def draft_10(
    limits: Sequence[RequestLimit], _: RequestLimit, pseudonym: Pseudonym | None = None
) -> list[Line]:
    """``RateLimit-Policy`` and ``RateLimit`` of all limits, by name."""
    policies, states = [], []
    for name, told in zip(names(limits), limits, strict=True):
        quoted, policy = _policy_of(name, told.limit, told.quota_unit)
        wait = seconds_until_more(told)
        state = f"{quoted};r={_integer(told.remaining)}"
        if wait is not None:
            state += f";t={wait}"
        if pseudonym is not None:
            key = f";pk=:{b64encode(bytes.fromhex(pseudonym(told.request_args[-2]))).decode()}:"
            policy, state = policy + key, state + key
        policies.append(policy)
        states.append(state)
    return [("RateLimit-Policy", ", ".join(policies)), ("RateLimit", ", ".join(states))]


#: The drafts by name. A response has the fields of one: they share their names, not their form.
DRAFTS: dict[str, Draft] = {
    "draft-6": draft_6,
    "draft-7": draft_7,
    "draft-10": draft_10,
    "draft-11": draft_10,  # 11 calls ``t`` the effective window: no more than ``r`` until its end
}


def names(limits: Iterable[RequestLimit]) -> list[str]:
    """Each limit's name: the given one, else its scope and quota; never one name twice."""
    found: dict[str, None] = {}
    for told in limits:
        name = told.limit.name or derived_name(told.request_args[-1], told.limit)
        unique, number = name, 2
        while unique in found:
            unique, number = f"{name}#{number}", number + 1
        found[unique] = None
    return list(found)


def quote(text: str) -> str:
    """Printable ASCII as a structured field's string."""
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def seconds_until_more(told: RequestLimit) -> int | None:
    """Until more units are there than remain; None: that is not known."""
    more_ms = told.limit.more_ms(told.decision)
    return None if more_ms is None else _seconds(more_ms - told.age_ms)


def _reset(told: RequestLimit) -> int:
    wait = seconds_until_more(told)
    return _seconds(told.decision.reset_ms - told.age_ms) if wait is None else wait


def _seconds(ms: int) -> int:
    return _integer(-(-ms // 1000)) if ms > 0 else 0


@kept_for_short_texts(REMEMBERED, LONGEST_NAME)
def _policy_of(name: str, quota: Quota, unit: str = "") -> tuple[str, str]:
    """The name as a string, and the quota by that name: in every response the same."""
    quoted = quote(name)
    return quoted, quoted + _policy(quota, unit)


def _policy(quota: Quota, unit: str) -> str:
    amount = f";q={_integer(quota.amount)}"
    if isinstance(quota, Concurrency):  # its period is a lease's, and no window
        return f'{amount};qu="concurrent-requests"'
    told = f';qu="{unit}"' if unit else ""
    return f"{amount}{told};w={quota.period}"


def _unnamed(limits: Iterable[RequestLimit]) -> str:
    return ", ".join(f"{_integer(told.limit.amount)};w={told.limit.period}" for told in limits)


def _integer(number: int) -> int:
    return number if number < LARGEST else LARGEST
