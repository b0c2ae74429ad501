"""The headers in which proxies name the client, read from the right. Trusts no proxy by itself.

The right end is what the nearest proxy wrote. An element that cannot be read is given as it is, or
as "", never left out: else what is left of it would move up to a place that a proxy confirms.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

#: Takes a header's lines; gives what they say of a hop's peer, the nearest proxy's first.
Reader = Callable[[Sequence[str]], Iterator[str]]

#: Elements of one line that are looked at; what is left of them is given as one.
LONGEST_CHAIN = 32

#: Source: RFC 9110, section 5.6.2; RFC 7239, section 4.
TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105
_PAIR = rf'[ \t]*+({TOKEN})=({TOKEN}|"(?:[^"\\]|\\.)*+")[ \t]*+'
_PAIRS = re.compile(_PAIR)
_ELEMENT = re.compile(rf"{_PAIR}(?:;{_PAIR})*+")


def reader(header: str) -> Reader:
    """How this header is read: as a chain, or as one address (``CF-Connecting-IP``)."""
    return {"x-forwarded-for": _listed, "forwarded": _forwarded}.get(header.lower(), _single)


def _listed(lines: Sequence[str]) -> Iterator[str]:
    for line in reversed(lines):
        yield from reversed(line.rsplit(",", LONGEST_CHAIN))


def _forwarded(lines: Sequence[str]) -> Iterator[str]:
    """Each element's ``for``; "" where an element has none, or two, or is malformed.

    A comma may stand in a quoted string. But no tail of an element that begins inside one is
    itself an element, because its quotes do not pair: the shortest that is one, is the last.
    """
    for line in reversed(lines):
        tail = None
        for part in reversed(line.rsplit(",", LONGEST_CHAIN)):
            tail = part if tail is None else f"{part},{tail}"
            if _ELEMENT.fullmatch(tail):
                values = [value for name, value in _PAIRS.findall(tail) if name.lower() == "for"]
                yield values[0] if len(values) == 1 else ""
                tail = None
        if tail is not None:
            yield ""


def _single(lines: Sequence[str]) -> Iterator[str]:
    """Nothing if there are several: one may be the proxy's, and which one is unknown."""
    yield from lines if len(lines) == 1 else ()
