"""Random parts of keys, near misses above all: no two lists of parts ever give one key."""

from collections import Counter
from collections.abc import Callable
from random import Random

from quart_ratelimit.clients.keys import LONGEST_PART, join_key, slot_key

from . import main

#: What separates, encodes or marks something in keys, in Redis' protocol or in Unicode.
PIECES = [
    *"ab|%{}: /.,~\x00\r\n\t\x7f",
    "25",
    "7C",
    "%7C",
    "%25",
    "%%",
    "||",
    "{}",
    "$4\r\nPING\r\n",
    "é",
    "e\u0301",
    "\ud800",
    "\udc00",
    "\U00010000",
    "203.0.113.7",
    "a" * LONGEST_PART,
    "b" * 1000,
]

BUILDERS: list[Callable[..., str]] = [join_key, slot_key]


def part(random: Random) -> str:
    return "".join(random.choices(PIECES, k=random.randrange(4)))


def run(cases: int, seed: int) -> "Counter[str]":
    """Build so many keys; how many were of each kind."""
    random = Random(seed)
    seen: dict[str, tuple[str, ...]] = {}
    counts: Counter[str] = Counter()
    for _ in range(cases):
        parts = tuple(part(random) for _ in range(random.randrange(1, 4)))
        build = random.choice(BUILDERS)
        key = build(*parts)
        source = (build.__name__, *parts)
        if seen.setdefault(key, source) != source:
            raise AssertionError(f"{seen[key]!a} and {source!a} share {key!a}")
        if not key.isascii() or (key and not key.isprintable()):
            raise AssertionError(f"{source!a} gives {key!a}")
        if len(key) > len(parts) * (LONGEST_PART + 3):
            raise AssertionError(f"{source!a} gives {len(key)} bytes")
        counts[f"{build.__name__}, {len(parts)} parts"] += 1
    counts["again"] = cases - len(seen)
    return counts


if __name__ == "__main__":
    main(run)
