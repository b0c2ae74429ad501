"""What a simulated Redis holds: values with expiries, by its own clock."""

from __future__ import annotations

from dataclasses import dataclass, field

from .resp import RedisError

WRONGTYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"


@dataclass
class Entry:
    """One key's value: bytes, a twin's state, or a container that commands fill."""

    #: "string", "hash", "zset", or the type that the twin's Lua keeps its state in.
    kind: str
    value: object
    #: When it expires, in ms of the server's clock; None: never.
    until: int | None = None
    #: The algorithm whose state it is.
    algorithm: str = ""


@dataclass
class Keyspace:
    """The keys of one server."""

    entries: dict[str, Entry] = field(default_factory=dict)

    def get(self, key: str, now: int, kind: str | None = None) -> Entry | None:
        """The living entry of a key; raises if it is of another kind."""
        entry = self.entries.get(key)
        if entry is None:
            return None
        if entry.until is not None and now > entry.until:
            del self.entries[key]
            return None
        if kind is not None and entry.kind != kind:
            raise RedisError(WRONGTYPE)
        return entry

    def copy(self) -> Keyspace:
        """As a replica has it. States are never changed in place."""
        return Keyspace(
            {
                key: Entry(entry.kind, _copied(entry.value), entry.until, entry.algorithm)
                for key, entry in self.entries.items()
            }
        )

    def keys(self, now: int) -> list[str]:
        """The living keys."""
        return [key for key in list(self.entries) if self.get(key, now)]

    def without_expiry(self, now: int) -> list[str]:
        """Keys that would stay forever."""
        return [key for key in self.keys(now) if self.entries[key].until is None]


def _copied(value: object) -> object:
    return dict(value) if isinstance(value, dict) else value
