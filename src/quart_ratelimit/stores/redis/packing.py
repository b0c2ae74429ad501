"""Commands as bytes, for Redis' protocol. No I/O.

Format: https://redis.io/docs/latest/develop/reference/protocol-spec/, arrays of bulk strings.
"""

from __future__ import annotations

MULTI = b"*1\r\n$5\r\nMULTI\r\n"
EXEC = b"*1\r\n$4\r\nEXEC\r\n"
TIME = b"*1\r\n$4\r\nTIME\r\n"


def encoded(text: str) -> bytes:
    """UTF-8, also of a lone surrogate, so that one odd key fails no other key of its batch."""
    return text.encode("utf-8", "surrogatepass")


def bulk(text: str) -> bytes:
    """One argument of a command."""
    raw = encoded(text)
    return b"$%d\r\n%b\r\n" % (len(raw), raw)


def command(*parts: str | int) -> bytes:
    """Any command with its arguments."""
    texts = list(map(str, parts))
    packed = f"*{len(texts)}\r\n" + "".join([f"${len(t)}\r\n{t}\r\n" for t in texts])
    if packed.isascii():
        return packed.encode()
    # A length is in bytes.
    return b"*%d\r\n" % len(texts) + b"".join(map(bulk, texts))
