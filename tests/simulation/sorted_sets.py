"""The commands on sorted sets of a simulated Redis, as far as workers register by them."""

from __future__ import annotations

import math

from .keyspace import Entry, Keyspace


class SortedSets:
    """Scores by member; a set without members is no key."""

    keyspace: Keyspace
    now_ms: int

    def do_zadd(self, parts: list[bytes]) -> object:
        key, *pairs = parts
        scores = self._scores(key)
        new = 0
        for score, member in zip(pairs[::2], pairs[1::2], strict=True):
            new += member not in scores
            scores[member] = float(score)
        self._keep(key, scores)
        return new

    def do_zrem(self, parts: list[bytes]) -> object:
        scores = self._scores(parts[0])
        gone = [member for member in parts[1:] if scores.pop(member, None) is not None]
        self._keep(parts[0], scores)
        return len(gone)

    def do_zremrangebyscore(self, parts: list[bytes]) -> object:
        scores = self._scores(parts[0])
        low, high = map(_bound, parts[1:])
        gone = [member for member, score in scores.items() if _is_within(score, low, high)]
        for member in gone:
            del scores[member]
        self._keep(parts[0], scores)
        return len(gone)

    def do_zcard(self, parts: list[bytes]) -> object:
        return len(self._scores(parts[0]))

    def do_zrange(self, parts: list[bytes]) -> object:
        scores = self._scores(parts[0])
        pairs = sorted(scores.items(), key=lambda pair: (pair[1], pair[0]))
        first, last = int(parts[1]), int(parts[2])
        chosen = pairs[first:] if last == -1 else pairs[first : last + 1]
        if len(parts) < 4:
            return [member for member, _ in chosen]
        return [part for member, score in chosen for part in (member, f"{score:.17g}")]

    def _scores(self, key: bytes) -> dict[bytes, float]:
        entry = self.keyspace.get(key.decode(), self.now_ms, "zset")
        if entry is None:
            return {}
        assert isinstance(entry.value, dict)
        return dict(entry.value)

    def _keep(self, key: bytes, scores: dict[bytes, float]) -> None:
        name = key.decode()
        entry = self.keyspace.get(name, self.now_ms)
        if not scores:
            self.keyspace.entries.pop(name, None)
        else:
            until = entry.until if entry else None
            self.keyspace.entries[name] = Entry("zset", scores, until)


def _bound(text: bytes) -> tuple[float, bool]:
    """A score, and whether it belongs to the range itself."""
    number = text.decode().removeprefix("(")
    return (math.inf if number == "+inf" else float(number)), not text.startswith(b"(")


def _is_within(score: float, low: tuple[float, bool], high: tuple[float, bool]) -> bool:
    above = score > low[0] or (low[1] and score == low[0])
    return above and (score < high[0] or (high[1] and score == high[0]))
