"""Parts of keys: short, printable, and never to be mistaken for others."""

from __future__ import annotations

import functools
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from types import FunctionType, ModuleType
from typing import NamedTuple
from urllib.parse import unquote

from ..errors import ConfigurationError

#: Bytes of a part in a key. What would be longer is replaced by its digest: a client must not
#: choose the size of our keys.
LONGEST_PART = 64

#: Characters of a client or a scope that are kept as they are beyond the call that made its key.
LONGEST_KEPT = 256

#: Bytes of a digest, which is written in hex: two clients in 2**64 may share one.
DIGEST = 16

#: How a digest begins in a key. No encoded part does: there, two hex digits follow a "%".
DIGESTED = "%%"

#: Printable ASCII but what we use ourselves: "%" to encode, "|" between parts, braces for slots.
_PLAIN = re.compile(rf"[ -$&-z~]{{0,{LONGEST_PART}}}")
_PLAIN_BYTES = frozenset(byte for byte in range(128) if _PLAIN.fullmatch(chr(byte)))


class Digest(str):
    """A part of a key that stands for a longer text: another text is never taken for it."""

    __slots__ = ()


def bounded(text: str) -> str:
    """The text or, if it is longer than `LONGEST_KEPT`, its `Digest`: both make the same keys.

    A client may choose the text, so nothing that outlives a request may keep it whole.
    """
    return text if len(text) <= LONGEST_KEPT else Digest(_digest(_raw(text)))


def join_key(*parts: str) -> str:
    """The parts with "|" between them, so that no other parts ever give the same key.

    A single address or name stays as it is, as in the Flask snippet's keys. What could be
    mistaken is percent-encoded, and a long part becomes its BLAKE2b digest.
    """
    return "|".join(map(_part, parts))


def key_parts(
    prefix: str, space: str, who: str, scope: str, *, kind: str = "", place: str = ""
) -> list[str]:
    """The parts of the key of every charge: of a view's rule, or of a ``kind`` of other charge.

    A view's rule has prefix and space, each if there is one, client, scope. A key with a space
    always has a prefix, if only an empty one: no prefix is taken for a space. A block or a check
    in code has prefix, space, kind, place, client and scope: six parts, where the other has four
    at most. Client and scope are `bounded`.
    """
    who, scope = bounded(who), bounded(scope)
    if kind:
        return [prefix, space, kind, place, who, scope]
    before = [prefix, space] if space else [prefix] if prefix else []
    return [*before, who, scope]


def owned_by(prefix: str) -> Callable[[str], bool]:
    """Return the test for keys of limiters with this prefix, as opposed to all others.

    Without a prefix a key begins with its client or an empty part, or is the snippet's own, which
    has one part alone. No prefix contains "|" or a brace as it is.
    """
    if prefix:
        start = f"{_part(prefix)}|"
        return lambda key: key.startswith(start)
    return lambda key: key.startswith(("{", "|")) or "|" not in key


def client_text(answer: object) -> str:
    """What a key function answered, as text; "" if it names no client.

    None, empty text and empty bytes name no client. Nor does an object without a text of its own:
    it would be another client in each request. Raises `ConfigurationError` for a function.
    """
    if answer is None or (isinstance(answer, bytes) and not answer):
        return ""
    if callable(answer):  # another one in each request: no client would be limited
        raise ConfigurationError(
            "the key function returned a function; write its parentheses, as in "
            "key_func=client_address()"
        )
    return str(answer) if has_text(answer) else ""


def has_text(value: object) -> bool:
    """Return whether its text says what it is, and not where it lies in memory.

    The text of any other object differs in each worker, often in each request.
    """
    kind = type(value)
    own_text = kind.__str__ is not object.__str__ or kind.__repr__ is not object.__repr__
    return own_text and not isinstance(value, (Awaitable, FunctionType, ModuleType, type))


def slot_key(*parts: str) -> str:
    """``{who}|scope``, before it a prefix: the last part but one, the client, in braces.

    So all keys of a client lie in one slot of a Redis Cluster and one script may decide them. No
    other parts ever give the same key (no part at all is the same as one empty part), and none of
    `join_key`'s is like it.
    """
    if len(parts) < 2:
        return f"{{{join_key(*parts)}}}"
    *before, who, scope = parts
    return "|".join([*map(_part, before), f"{{{_part(who)}}}", _part(scope)])


def pseudonyms(secret: str | bytes) -> Callable[[str], str]:
    """Gives each client a pseudonym, so that keys in Redis show no address or name.

    A pseudonym is a keyed BLAKE2b hash. Without the secret, a reader cannot find the pseudonym of a
    client, or a client by trying all addresses. Processes that share limits must share the secret.
    With a new secret, every count starts at zero. Raises `ConfigurationError` for a secret of fewer
    than 16 bytes.
    """
    raw = _raw(secret) if isinstance(secret, str) else secret
    if len(raw) < 16:
        raise ConfigurationError(
            f"a secret of {len(raw)} bytes can be guessed; write 16 or more, such as the result of "
            "secrets.token_hex(16)"
        )
    # Hashed first, as BLAKE2b takes a key of no more than 64 bytes.
    start = blake2b(key=blake2b(raw).digest(), digest_size=DIGEST)

    def pseudonym(who: str) -> str:
        digest = start.copy()
        digest.update(_raw(bounded(who)))
        return digest.hexdigest()

    return pseudonym


@dataclass(frozen=True, slots=True)
class Keys:
    """How one limiter makes its keys, with its clients in clear or by their pseudonyms."""

    #: See `join_key`; the client is the last part.
    join: Callable[..., str] = join_key
    #: See `slot_key`.
    slot: Callable[..., str] = slot_key


class KeyForm(NamedTuple):
    """The keys of one limit's counters, without the client."""

    #: The parts before the client.
    before: tuple[str, ...]
    #: The last part; None: the client ends the key, as in the Flask snippet's keys.
    scope: str | None
    #: The only client that is counted so; None: any.
    who: str | None = None

    @classmethod
    def of_parts(cls, parts: Sequence[str]) -> KeyForm:
        """The form of a key that has these parts, of whatever client."""
        *before, _, scope = parts
        return cls(tuple(before), scope)

    def of(self, keys: Keys, who: str) -> str:
        """The key of this client."""
        if self.scope is None:
            return keys.join(*self.before, who)
        return keys.slot(*self.before, who, self.scope)

    def fits(self, key: str) -> bool:
        """Whether a key has this form, of whatever client."""
        if self.scope is None:
            return key.startswith(join_key(*self.before, "")) and key.count("|") == len(self.before)
        head, _, tail = slot_key(*self.before, "", self.scope).partition("{}")
        return key.startswith(f"{head}{{") and key.endswith(f"}}{tail}")

    def __str__(self) -> str:
        return self.of(Keys(), "client" if self.who is None else self.who)


def client_of(key: str) -> str:
    """The client of a key, as far as the key shows it."""
    head, brace, rest = key.partition("{")
    part = rest.partition("}")[0] if brace else head.rpartition("|")[2]
    return part if part.startswith(DIGESTED) else unquote(part)


def keys_with(secret: str | bytes | None) -> Keys:
    """Keys with pseudonyms by this secret; without one, as they are. See `pseudonyms`."""
    if not secret:
        return Keys()
    pseudonym = pseudonyms(secret)

    def join(*parts: str) -> str:
        *before, who = parts
        return join_key(*before, pseudonym(who))

    def slot(*parts: str) -> str:
        if len(parts) < 2:
            return slot_key(*map(pseudonym, parts))
        *before, who, scope = parts
        return slot_key(*before, pseudonym(who), scope)

    return Keys(join, slot)


def _part(part: str) -> str:
    if type(part) is Digest:
        return part
    # A client chooses its name, and must not choose how much memory a cache keeps for it.
    return _short_part(part) if len(part) <= LONGEST_PART else _digest(_raw(part))


@functools.lru_cache(maxsize=4096)
def _short_part(part: str) -> str:
    if _PLAIN.fullmatch(part):
        return part
    raw = _raw(part)
    if len(raw) <= LONGEST_PART:
        encoded = "".join(map(_encoded, raw))
        if len(encoded) <= LONGEST_PART:
            return encoded
    return _digest(raw)


def _digest(raw: bytes) -> str:
    return DIGESTED + blake2b(raw, digest_size=DIGEST).hexdigest()


def _raw(text: str) -> bytes:
    """UTF-8, also of a single surrogate, which a client can send.

    A `Digest` begins with a byte that UTF-8 has not, so it is not taken for an equal text.
    """
    raw = text.encode("utf-8", "surrogatepass")
    return b"\xff" + raw if type(text) is Digest else raw


def _encoded(byte: int) -> str:
    return chr(byte) if byte in _PLAIN_BYTES else f"%{byte:02X}"
