"""Commands that go along with a batch: packed behind it, and their replies read apart. No I/O."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ..piggyback import Piggyback
from .packing import command, encoded

_log = logging.getLogger("quart_ratelimit")


class Load:
    """The commands of some piggybacks, as they go out with one batch."""

    def __init__(self, piggybacks: Sequence[Piggyback], prefix: str, now_ms: int) -> None:
        self._now_ms = now_ms
        self._parts: list[tuple[Piggyback, int]] = []
        packed: list[bytes] = []
        for piggyback in piggybacks:
            commands = piggyback.commands(own_key(prefix, piggyback), now_ms)
            packed += [command(*parts) for parts in commands]
            self._parts.append((piggyback, len(commands)))
        self.packed: bytes = b"".join(packed)
        #: How many replies belong to it.
        self.replies: int = len(packed)

    def read(self, replies: list[object]) -> None:
        """Take the replies to the commands off the end, and give each piggyback its own."""
        start = len(replies) - self.replies
        own, replies[start:] = replies[start:], []
        for piggyback, count in self._parts:
            mine, own = own[:count], own[count:]
            try:
                piggyback.read(mine, self._now_ms)
            except Exception:  # the batch's callers have their answers
                _log.exception("the replies to a piggyback's commands could not be read")


def due(piggybacks: Sequence[Piggyback]) -> list[Piggyback]:
    """Those whose commands go out with the next batch."""
    return [piggyback for piggyback in piggybacks if piggyback.is_due()]


def own_keys(prefix: str, piggybacks: Sequence[Piggyback]) -> set[object]:
    """The keys of all piggybacks, as text and as bytes: no reset forgets them."""
    keys = [own_key(prefix, piggyback) for piggyback in piggybacks]
    return {*keys, *map(encoded, keys)}


def own_key(prefix: str, piggyback: Piggyback) -> str:
    """The key of a piggyback's commands. Every client's key has a counter after its last colon."""
    return f"{prefix}:{piggyback.key_name}"
