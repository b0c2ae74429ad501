"""Commands as bytes, for Redis' protocol. No I/O.

Format: https://redis.io/docs/latest/develop/reference/protocol-spec/, arrays of bulk strings.
"""

from __future__ import annotations

MULTI = b"*1\r\n$5\r\nMULTI\r\n"
EXEC = b"*1\r\n$4\r\nEXEC\r\n"
TIME = b"*1\r\n$4\r\nTIME\r\n"


def encoded(text: str) -> bytes:
    """UTF-8, also of a single surrogate, so that one odd key fails no other key of its batch."""
    return text.encode("utf-8", "surrogatepass")


def bulk(part: str | bytes) -> bytes:
    """One argument of a command."""
    raw = part if isinstance(part, bytes) else encoded(part)
    return b"$%d\r\n%b\r\n" % (len(raw), raw)


def command(*parts: str | int | bytes) -> bytes:
    """A command with its arguments."""
    texts = [str(part) for part in parts if not isinstance(part, bytes)]
    packed = f"*{len(texts)}\r\n" + "".join([f"${len(t)}\r\n{t}\r\n" for t in texts])
    if packed.isascii() and len(texts) == len(parts):
        return packed.encode()
    # A length is in bytes.
    raw = [part if isinstance(part, bytes) else str(part) for part in parts]
    return b"*%d\r\n" % len(raw) + b"".join(map(bulk, raw))
