"""Random limits, well and badly written: read as they were meant, or refused by `InvalidLimit`.

What is well written is made from its numbers, so the answer is known; then some of its characters
are changed. Whatever is read must be written and read again as the same.
"""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from random import Random

from quart_ratelimit.errors import InvalidLimit
from quart_ratelimit.quotas import Quota
from quart_ratelimit.quotas.quota import LONGEST_PERIOD, MAX_EXACT, UNITS
from quart_ratelimit.rules.notation import STRATEGIES, parse_many

from . import main

#: Seconds of processor time for one text, at its longest about 20,000 characters.
LONGEST = 0.05

FORMS = {unit: [unit, f"{unit}s", unit.title(), unit.upper()] for unit in UNITS}
for short, unit in {"s": "second", "min": "minute", "h": "hour", "d": "day"}.items():
    FORMS[unit] += [short, short.upper()]

NUMBERS = [1, 2, 5, 10, 60, 100, 1000, 10**6, MAX_EXACT - 1, MAX_EXACT, MAX_EXACT + 1, 2**63]
SPACES = ["", " ", "  ", "\t"]

#: What may be written into a text, in place of a character or between two.
PIECES = [
    *"0123456789/;,| \t\n\r\x00.-+eExX_'\"%{}()[]*?\\",
    *("per", "burst", "minute", "per minute", "and", "nan", "inf", "0", "00", "-1", "1.5", "1e3"),
    *("١", "１", "²", "Ⅷ", "\u200b", "\ufeff", "\ud800", "é", "ſecond", "mınute", "day", "İ"),
    *("9" * 18, "9" * 19, "9" * 5000, " " * 5000, "1/s;" * 500, "/" * 500),
]


def number(random: Random) -> int:
    return random.choice([random.choice(NUMBERS), random.randrange(1, 10_000)])


def written(random: Random) -> tuple[str, int, int, int | None]:
    """One limit, and its amount, period (s) and burst."""
    amount, unit = number(random), random.choice(list(UNITS))
    multiples = random.choice([None, None, number(random)])
    per = random.choice(["/", "per"])
    gap = random.choice(SPACES[1:]) if per == "per" else random.choice(SPACES)
    text = f"{amount}{random.choice(SPACES)}{per}{gap}"
    if multiples is not None:
        text += f"{multiples}{random.choice(SPACES)}"
    text += random.choice(FORMS[unit])
    burst = number(random) if random.random() < 0.2 else None
    if burst is not None:
        text += f" {random.choice(['burst', 'BURST'])} {burst}"
    text = f"{random.choice(SPACES)}{text}{random.choice(SPACES)}"
    return text, amount, (multiples or 1) * UNITS[unit], burst


def changed(random: Random, text: str) -> str:
    for _ in range(random.randrange(1, 4)):
        start = random.randrange(len(text) + 1)
        end = min(len(text), start + random.choice([0, 0, 1, 1, 2, 8]))
        piece = random.choice(["", random.choice(PIECES), chr(random.randrange(0x110000))])
        text = text[:start] + piece + text[end:]
    return text


def check(random: Random) -> str:
    """Try one random text; what became of it."""
    name = random.choice(list(STRATEGIES))
    meant = [written(random) for _ in range(random.choice([1, 1, 2, 3]))]
    text = random.choice(";,|").join(part for part, *_ in meant)
    is_changed = random.random() < 0.6
    if is_changed:
        text = changed(random, text)
    began = time.process_time()
    try:
        quotas = parse_many(text, STRATEGIES[name])
    except InvalidLimit as error:
        if repr(text) not in str(error):
            raise AssertionError(f"{text!a} is refused without being named") from error
        if not is_changed and all(possible(*values) for _, *values in meant):
            raise AssertionError(f"{text!a} is refused: {error}") from error
        quotas = []
    took = time.process_time() - began
    if took > LONGEST and takes_long(text, STRATEGIES[name]):
        raise AssertionError(f"{text[:200]!a} takes {took:.1f} s")
    if quotas and not is_changed:
        told = [(quota.amount, quota.period, getattr(quota, "burst", None)) for quota in quotas]
        for (amount, period, burst), (_, *values) in zip(told, meant, strict=True):
            if (amount, period) != (values[0], values[1]) or (values[2] and burst != values[2]):
                raise AssertionError(f"{text!a} is read as {quotas}")
    for quota in quotas:
        if parse_many(str(quota), STRATEGIES[name]) != [quota]:
            raise AssertionError(f"{text!a} is written {str(quota)!a}, which is another limit")
    kind = "changed" if is_changed else "well written"
    return f"{kind}, {'read' if quotas else 'refused'}"


def takes_long(text: str, quota: Callable[..., Quota]) -> bool:
    """Whether a text that took long does so again: Python may have collected garbage meanwhile."""
    began = time.process_time()
    with suppress(InvalidLimit):
        parse_many(text, quota)
    return time.process_time() - began > LONGEST


def possible(amount: int, period: int, burst: int | None) -> bool:
    """Whether every algorithm can keep it: a fine rate with a great burst may be too much."""
    small = 10**6
    return amount <= small and period <= small <= LONGEST_PERIOD and (burst or 1) <= small


def run(cases: int, seed: int) -> "Counter[str]":
    """Try so many random texts; how many there were of each kind."""
    random = Random(seed)
    return Counter(check(random) for _ in range(cases))


if __name__ == "__main__":
    main(run)
