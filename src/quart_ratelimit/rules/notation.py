"""Reads limits as people write them: "10/minute", "100 per 5 minutes", "1/second; 1000/day".

The grammar is from the ``limits`` library, extended by the short forms ``s``, ``min``, ``h`` and
``d``, by weeks, and by a burst ("100/minute burst 20"), which makes the limit a token bucket. Other
limits given as text use the algorithm that the ``strategy`` setting names.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import ConfigurationError, InvalidLimit
from ..quotas import GCRA, FixedWindow, MovingWindow, Quota, SlidingWindow, StrictWindow
from ..quotas.quota import UNITS
from ..recent import kept_for_short_texts

#: The form that every error about a limit shows.
FORM = "write '10/minute', '5 per 10 seconds' or '1/second; 1000/day'"

#: The longest text whose limits are kept, in characters: a function may make it of a request.
LONGEST_KEPT = 256

_SHORT = {"s": "second", "min": "minute", "h": "hour", "d": "day"}
# No two runs of spaces stand side by side: a long one would be parted in every way there is.
_ONE = re.compile(
    r"\s*([0-9]{1,18})\s*(?:/|per)\s*(?:([0-9]{1,18})\s*)?([a-z]+)"
    r"(?:\s+burst\s+([0-9]{1,18}))?\s*",
    re.IGNORECASE | re.ASCII,
)
_SEPARATORS = re.compile(r"[,;|]")


#: The strategies by name, Flask-Limiter's first, and what makes a quota of each.
STRATEGIES: dict[str, Callable[..., Quota]] = {
    "fixed-window": FixedWindow,
    "moving-window": MovingWindow,
    "sliding-window-counter": SlidingWindow,
    # ours
    "strict-window": StrictWindow,
    "gcra": GCRA,
    "token-bucket": GCRA,
}


@dataclass(frozen=True, slots=True)
class ClosedWindow(FixedWindow):
    """A window of an amount of 0, which refuses everything: a function's answer "0/minute"."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "amount", 1)  # `Quota` takes no 0
        FixedWindow.__post_init__(self)
        object.__setattr__(self, "amount", 0)


#: For limits by the snippet's rule: windows by the clock, in the snippet's own keys.
aligned_window: Callable[..., Quota] = functools.partial(FixedWindow, aligned=True)


def strategy(name: str | None) -> Callable[..., Quota]:
    """What makes a quota of that strategy. Raises `ConfigurationError`."""
    try:
        return STRATEGIES[name or "fixed-window"]
    except KeyError:
        known = ", ".join(STRATEGIES)
        raise ConfigurationError(f"{name!r} is not a strategy; write one of {known}") from None


def quotas_of(
    limit: object, strategy_name: str | None = None, *, zero: bool = False
) -> Sequence[Quota]:
    """A limit given as text or as a quota; with ``zero``, "0/minute" refuses everything.

    Raises `InvalidLimit`.
    """
    return _quotas(limit, strategy(strategy_name), zero)


def read_limit(
    limit: str | Quota | None,
    requests: int | None = None,
    duration: int | None = None,
    strategy_name: str | None = None,
) -> Sequence[Quota]:
    """A limit given as text, a quota or the Flask snippet's numbers. Raises `InvalidLimit`."""
    make = aligned_window if strategy_name in (None, "fixed-window") else strategy(strategy_name)
    if limit is not None:
        if requests is not None or duration is not None:
            raise InvalidLimit("give either a limit or requests and duration, not both")
        return _quotas(limit, make)
    if requests is None and duration is None:
        raise InvalidLimit(f"no limit is given; {FORM}, or requests=10, duration=60")
    for name, value in (("requests", requests), ("duration", duration)):
        if type(value) is not int or value < 1:
            raise InvalidLimit(
                f"{name}={value!r} is not a positive whole number; write requests=10, duration=60"
            )
    return _made(make, requests, duration)


def one_per_counter(quotas: Sequence[Quota]) -> list[Quota]:
    """The quotas without those that share a counter with a smaller one, which decides alone.

    Windows by the clock of one period share a counter, and each would charge it.
    """
    least: dict[str, int] = {}
    for quota in quotas:
        least[quota.counter] = min(quota.amount, least.get(quota.counter, quota.amount))
    kept = {quota.counter: quota for quota in quotas if quota.amount == least[quota.counter]}
    return list(kept.values())


def _quotas(limit: object, make: Callable[..., Quota], zero: bool = False) -> Sequence[Quota]:
    if isinstance(limit, str):
        return _parsed(limit, make, zero)
    if isinstance(limit, Quota):
        return (limit,)
    raise InvalidLimit(f"{limit!r} is not a limit; {FORM}")


@kept_for_short_texts(1024, LONGEST_KEPT)
def _parsed(text: str, make: Callable[..., Quota], zero: bool) -> Sequence[Quota]:
    return tuple(parse_many(text, make, zero))


@functools.lru_cache(maxsize=1024)
def _made(make: Callable[..., Quota], *numbers: int | None) -> Sequence[Quota]:
    return (make(*numbers),)


def parse_many(text: str, quota: Callable[..., Quota], zero: bool = False) -> list[Quota]:
    """Every limit in the text, in its order, made by ``quota(amount, period, unit=unit)``.

    With ``zero`` an amount of 0 is a `ClosedWindow`.

    Raises `InvalidLimit`, which names the text and shows the right form.
    """
    if not isinstance(text, str):
        raise InvalidLimit(f"{text!r} is not a limit; {FORM}")
    return [_parse_one(part, text, quota, zero) for part in _SEPARATORS.split(text)]


def _parse_one(part: str, text: str, quota: Callable[..., Quota], zero: bool) -> Quota:
    match = _ONE.fullmatch(part)
    if match is None:
        raise InvalidLimit(f"{text!r} is not a limit; {FORM}")
    amount, multiples, word, burst = match.groups()
    unit = _unit(word.lower())
    if unit is None:
        units = ", ".join(UNITS)
        raise InvalidLimit(f"{text!r} is not a limit: {word!r} is none of {units}; {FORM}")
    count = 1 if multiples is None else int(multiples)
    if int(amount) == 0 and count and not burst:
        if zero:
            return ClosedWindow(0, count * UNITS[unit], unit=unit)
        raise InvalidLimit(
            f"{text!r} is not a limit: its numbers must be above 0, because 0 may mean unlimited; "
            f"to refuse clients, decorate a function with @limiter.deny; {FORM}"
        )
    if int(amount) < 1 or count < 1 or (burst and int(burst) < 1):
        raise InvalidLimit(f"{text!r} is not a limit: its numbers must be above 0; {FORM}")
    try:
        if burst:
            return GCRA(int(amount), count * UNITS[unit], unit=unit, burst=int(burst))
        return quota(int(amount), count * UNITS[unit], unit=unit)
    except InvalidLimit as error:
        raise InvalidLimit(f"{text!r} is not a limit: {error}") from error


def _unit(word: str) -> str | None:
    if word in UNITS:
        return word
    if word.endswith("s") and word[:-1] in UNITS:
        return word[:-1]
    return _SHORT.get(word)
