"""Parts of keys: short, printable, and never to be mistaken for others."""

from __future__ import annotations

import re
from hashlib import blake2b

#: Bytes. A longer part is replaced by its digest: a client must not choose the size of our keys.
LONGEST_PART = 64

#: Printable ASCII but what we use ourselves: "|" between parts, "%" to encode, braces for slots.
_SAFE = re.compile(r"[ -~]+", re.ASCII)
_OURS = re.compile(r"[|%{}]")


def join_key(*parts: str) -> str:
    """The parts with "|" between them, so that no other parts ever give the same key.

    A single address or name stays as it is, as in the Flask snippet's keys. What could be
    mistaken is percent-encoded, and a long part becomes its BLAKE2b digest.
    """
    return "|".join(map(_part, parts))


def slot_key(*parts: str) -> str:
    """``{who}|scope``, before it a prefix: the last part but one, the client, in braces.

    So all keys of a client lie in one slot of a Redis Cluster and one script may decide them. No
    other parts ever give the same key, and none of `join_key`'s is like it.
    """
    *before, who, scope = parts if len(parts) > 1 else (*parts, "")
    return "|".join([*map(_part, before), f"{{{_part(who)}}}", _part(scope)])


def _part(part: str) -> str:
    if len(part) <= LONGEST_PART and _SAFE.fullmatch(part) and not _OURS.search(part):
        return part
    raw = part.encode("utf-8", "surrogatepass")
    if len(raw) > LONGEST_PART:
        return "%%" + blake2b(raw, digest_size=16).hexdigest()
    return "".join(map(_encoded, raw))


def _encoded(byte: int) -> str:
    char = chr(byte)
    return char if _SAFE.fullmatch(char) and not _OURS.match(char) else f"%{byte:02X}"
