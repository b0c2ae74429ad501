"""Redis' protocol from the server's side: commands out of bytes, replies as bytes."""

from __future__ import annotations


class Status(str):
    """A reply such as OK, which is not a string of the data."""


class RedisError(Exception):
    """What a command fails with, its code first."""


class ProtocolError(Exception):
    """Bytes that are not a command."""


def commands(buffer: bytearray) -> list[list[bytes]]:
    """The complete commands at the start of the buffer, which they are taken from."""
    found: list[list[bytes]] = []
    start = 0
    while True:
        parsed = _command(buffer, start)
        if parsed is None:
            break
        parts, start = parsed
        found.append(parts)
    del buffer[:start]
    return found


def _command(buffer: bytearray, start: int) -> tuple[list[bytes], int] | None:
    end = buffer.find(b"\r\n", start)
    if end < 0:
        return None
    if buffer[start : start + 1] != b"*":
        raise ProtocolError(bytes(buffer[start : start + 20]))
    count, place = int(buffer[start + 1 : end]), end + 2
    parts: list[bytes] = []
    for _ in range(count):
        end = buffer.find(b"\r\n", place)
        if end < 0:
            return None
        if buffer[place : place + 1] != b"$":
            raise ProtocolError(bytes(buffer[place : place + 20]))
        size, place = int(buffer[place + 1 : end]), end + 2
        if len(buffer) < place + size + 2:
            return None
        parts.append(bytes(buffer[place : place + size]))
        place += size + 2
    return parts, place


def packed(reply: object) -> bytes:
    """A reply as bytes, in version 2 of the protocol."""
    if isinstance(reply, list):
        return b"*%d\r\n" % len(reply) + b"".join(map(packed, reply))
    if isinstance(reply, bool):
        raise TypeError(reply)
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, Status):
        return b"+%b\r\n" % reply.encode()
    if isinstance(reply, RedisError):
        return b"-%b\r\n" % str(reply).encode()
    if isinstance(reply, str):
        reply = reply.encode()
    if isinstance(reply, bytes):
        return b"$%d\r\n%b\r\n" % (len(reply), reply)
    raise TypeError(reply)
