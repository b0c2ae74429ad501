"""Limits as people write them: "10/minute", "100 per 5 minutes", "1/second; 1000/day".

The grammar of the ``limits`` library, and beyond it the short forms ``s``, ``min``, ``h`` and
``d``, weeks, and a burst ("100/minute burst 20"), which makes it a token bucket.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ..errors import InvalidLimit
from ..quotas import GCRA, Quota
from ..quotas.quota import UNITS

#: The form that every error about a limit shows.
FORM = "write '10/minute', '5 per 10 seconds' or '1/second; 1000/day'"

_SHORT = {"s": "second", "min": "minute", "h": "hour", "d": "day"}
# No two runs of spaces stand side by side: a long one would be parted in every way there is.
_ONE = re.compile(
    r"\s*([0-9]{1,18})\s*(?:/|per)\s*(?:([0-9]{1,18})\s*)?([a-z]+)"
    r"(?:\s+burst\s+([0-9]{1,18}))?\s*",
    re.IGNORECASE | re.ASCII,
)
_SEPARATORS = re.compile(r"[,;|]")


def parse_many(text: str, quota: Callable[..., Quota]) -> list[Quota]:
    """Every limit in the text, in its order, made by ``quota(amount, period, unit=unit)``.

    Raises `InvalidLimit`, which names the text and shows the right form.
    """
    if not isinstance(text, str):
        raise InvalidLimit(f"{text!r} is not a limit; {FORM}")
    return [_parse_one(part, text, quota) for part in _SEPARATORS.split(text)]


def _parse_one(part: str, text: str, quota: Callable[..., Quota]) -> Quota:
    match = _ONE.fullmatch(part)
    if match is None:
        raise InvalidLimit(f"{text!r} is not a limit; {FORM}")
    amount, multiples, word, burst = match.groups()
    unit = _unit(word.lower())
    if unit is None:
        units = ", ".join(UNITS)
        raise InvalidLimit(f"{text!r} is not a limit: {word!r} is none of {units}; {FORM}")
    count = 1 if multiples is None else int(multiples)
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
