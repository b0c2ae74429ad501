"""The commands of a simulated Redis, but for its connections and its faults."""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Callable

from quart_ratelimit.stores.redis import script

from .keyspace import Entry, Keyspace
from .resp import RedisError, Status
from .script_twin import Charge, Run
from .sorted_sets import SortedSets

OK = Status("OK")
NO_SCRIPT = "NOSCRIPT No matching script. Please use EVAL."
NOT_AN_INTEGER = "ERR value is not an integer or out of range"

#: The commands that write, which a replica and a server without memory refuse.
WRITES = {"SET", "INCRBY", "EXPIRE", "PEXPIRE", "DEL", "UNLINK", "EVAL", "EVALSHA", "HSET"} | {
    "ZADD",
    "ZREM",
    "ZREMRANGEBYSCORE",
}
#: Of them, those that a server without memory still carries out.
SPARES = {"EXPIRE", "PEXPIRE", "DEL", "UNLINK"}


def text(part: bytes) -> str:
    return part.decode("utf-8", "surrogateescape")


def number(part: bytes) -> int:
    try:
        return int(part)
    except ValueError:
        raise RedisError(NOT_AN_INTEGER) from None


class Commands(SortedSets):
    """Carries commands out on a keyspace, at a moment of the server's clock."""

    def __init__(self, keyspace: Keyspace) -> None:
        self.keyspace = keyspace
        #: Digests of the scripts that are known.
        self.scripts: set[str] = set()
        #: Milliseconds and microseconds since the epoch, while a command runs.
        self.now_ms = 0
        self.now_us = 0
        #: What the hits of the last command were decided to, and the counts that it raised.
        self.charges: list[Charge] = []
        self.counts: list[tuple[str, int, int]] = []
        self._table: dict[str, Callable[[list[bytes]], object]] = {
            name.removeprefix("do_").upper(): getattr(self, name)
            for name in dir(self)
            if name.startswith("do_")
        }

    def run(self, parts: list[bytes]) -> object:
        """The reply to one command. Raises `RedisError`."""
        name = text(parts[0]).upper()
        command = self._table.get(name)
        if command is None:
            arguments = "".join(f"'{text(part)}' " for part in parts[1:3])
            raise RedisError(
                f"ERR unknown command '{text(parts[0])}', with args beginning with: {arguments}"
            )
        return command(parts[1:])

    def do_ping(self, parts: list[bytes]) -> object:
        return parts[0] if parts else Status("PONG")

    def do_select(self, parts: list[bytes]) -> object:
        return OK

    def do_auth(self, parts: list[bytes]) -> object:
        return OK

    def do_client(self, parts: list[bytes]) -> object:
        return OK

    def do_time(self, parts: list[bytes]) -> object:
        seconds, micros = divmod(self.now_us, 1_000_000)
        return [str(seconds), str(micros)]

    def do_get(self, parts: list[bytes]) -> object:
        entry = self.keyspace.get(text(parts[0]), self.now_ms, "string")
        if entry is None:
            return None
        value = entry.value
        if isinstance(value, int):
            self.counts.append((text(parts[0]), 0, value))
        return value if isinstance(value, bytes) else str(value)

    def do_set(self, parts: list[bytes]) -> object:
        key, value, *options = parts
        until: int | None = None
        names = [text(option).upper() for option in options]
        for unit, milliseconds in (("PX", 1), ("EX", 1000)):
            if unit in names:
                until = self.now_ms + number(options[names.index(unit) + 1]) * milliseconds
        if "NX" in names and self.keyspace.get(text(key), self.now_ms):
            return None
        held: object = int(value) if value.isdigit() else value
        self.keyspace.entries[text(key)] = Entry("string", held, until)
        return OK

    def do_hset(self, parts: list[bytes]) -> object:
        entry = self.keyspace.get(text(parts[0]), self.now_ms, "hash") or Entry("hash", {})
        self.keyspace.entries[text(parts[0])] = entry
        assert isinstance(entry.value, dict)
        pairs = dict(zip(parts[1::2], parts[2::2], strict=True))
        added = len(pairs.keys() - entry.value.keys())
        entry.value.update(pairs)
        return added

    def do_hlen(self, parts: list[bytes]) -> object:
        return len(self._hash(parts[0]))

    def do_hget(self, parts: list[bytes]) -> object:
        return self._hash(parts[0]).get(parts[1])

    def do_hgetall(self, parts: list[bytes]) -> object:
        return [part for pair in self._hash(parts[0]).items() for part in pair]

    def _hash(self, key: bytes) -> dict[bytes, bytes]:
        entry = self.keyspace.get(text(key), self.now_ms, "hash")
        held: dict[bytes, bytes] = {} if entry is None else entry.value  # type: ignore[assignment]
        return held

    def do_incrby(self, parts: list[bytes]) -> object:
        key, by = text(parts[0]), number(parts[1])
        entry = self.keyspace.get(key, self.now_ms, "string")
        value = entry.value if entry else 0
        if not isinstance(value, int) or (entry and entry.algorithm not in ("", "counter")):
            raise RedisError(NOT_AN_INTEGER)
        if value + by >= 2**63:
            raise RedisError("ERR increment or decrement would overflow")
        until = entry.until if entry else None
        self.keyspace.entries[key] = Entry("string", value + by, until, "counter")
        self.counts.append((key, by, value + by))
        return value + by

    def do_expire(self, parts: list[bytes], unit: int = 1000) -> object:
        key, amount, *options = parts
        entry = self.keyspace.get(text(key), self.now_ms)
        if entry is None:
            return 0
        only = text(options[0]).upper() if options else ""
        if (only == "NX" and entry.until is not None) or (only == "XX" and entry.until is None):
            return 0
        entry.until = self.now_ms + number(amount) * unit
        return 1

    def do_pexpire(self, parts: list[bytes]) -> object:
        return self.do_expire(parts, 1)

    def do_pttl(self, parts: list[bytes]) -> object:
        entry = self.keyspace.get(text(parts[0]), self.now_ms)
        if entry is None:
            return -2
        return -1 if entry.until is None else entry.until - self.now_ms

    def do_ttl(self, parts: list[bytes]) -> object:
        left = self.do_pttl(parts)
        assert isinstance(left, int)
        return left if left < 0 else (left + 500) // 1000

    def do_del(self, parts: list[bytes]) -> object:
        living = [key for key in map(text, parts) if self.keyspace.get(key, self.now_ms)]
        for key in set(living):
            del self.keyspace.entries[key]
        return len(set(living))

    do_unlink = do_del

    def do_exists(self, parts: list[bytes]) -> object:
        return sum(self.keyspace.get(text(key), self.now_ms) is not None for key in parts)

    def do_dbsize(self, parts: list[bytes]) -> object:
        return len(self.keyspace.keys(self.now_ms))

    def do_scan(self, parts: list[bytes]) -> object:
        names = [text(part).upper() for part in parts]
        pattern = text(parts[names.index("MATCH") + 1]) if "MATCH" in names else "*"
        pattern = pattern.replace("\\", "")  # the prefixes here have nothing to quote
        keys = sorted(self.keyspace.keys(self.now_ms))
        return ["0", [key for key in keys if fnmatch.fnmatchcase(key, pattern)]]

    def do_flushall(self, parts: list[bytes]) -> object:
        self.keyspace.entries.clear()
        return OK

    def do_info(self, parts: list[bytes]) -> object:
        return "# Server\r\nredis_version:7.0.15\r\nmaxmemory_policy:noeviction\r\n"

    def do_role(self, parts: list[bytes]) -> object:
        return ["master", 0, []]

    def do_script(self, parts: list[bytes]) -> object:
        action = text(parts[0]).upper()
        if action == "FLUSH":
            self.scripts.clear()
            return OK
        if action == "LOAD":
            return self._learn(parts[1])
        return [int(text(sha) in self.scripts) for sha in parts[1:]]

    def do_eval(self, parts: list[bytes]) -> object:
        return self._run_script(self._learn(parts[0]), parts[1:])

    def do_evalsha(self, parts: list[bytes]) -> object:
        sha = text(parts[0]).lower()
        if sha not in self.scripts:
            raise RedisError(NO_SCRIPT)
        return self._run_script(sha, parts[1:])

    def _learn(self, source: bytes) -> str:
        if source == _source():
            sha = script.sha()
        else:
            sha = hashlib.sha1(source, usedforsecurity=False).hexdigest()
        self.scripts.add(sha)
        return sha

    def _run_script(self, sha: str, parts: list[bytes]) -> object:
        if sha != script.sha():
            raise RedisError("ERR the simulation has no twin of this script")
        count = number(parts[0])
        keys, arguments = [text(key) for key in parts[1 : 1 + count]], parts[1 + count :]
        run = Run(self.keyspace, int(arguments[0]) or self.now_ms, self.charges)
        if len(arguments) > 2:
            name, *numbers = arguments[1:]
            return run.single(keys[0], (text(name), *map(int, numbers)))
        return run.plan(keys, arguments[1])


_packed_source: bytes = b""


def _source() -> bytes:
    global _packed_source  # noqa: PLW0603  # 20 kB, encoded once
    if not _packed_source:
        _packed_source = script.script().encode()
    return _packed_source
