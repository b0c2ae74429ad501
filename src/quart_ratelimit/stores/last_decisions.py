"""What a store last said of each key, for when it can no longer be asked.

Without it a client whose budget is spent would get a fresh one from every worker the moment the
store is away for one call.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

from ..clock import Clock, wall_ms
from ..quotas import Decision, Hit
from ..recent import Recent
from .memory import MemoryStore

#: Keys remembered at least; twice as many at most.
REMEMBERED = 20_000
#: Characters of the longest name that is remembered.
LONGEST_NAME = 2048

#: Requests that are noted at a time: a loop costs each less than a call.
TOGETHER = 64

#: When a key was decided, how long until it is as good as never hit (both ms), what remained.
_NOTE = Struct("3q")


class LastDecisions:
    """The last decision of each of the keys hit last.

    Kept as text and bytes, which the garbage collector passes by: a key that was not hit lately
    costs no more than one that was.
    """

    def __init__(self, *, size: int = REMEMBERED, now_ms: Clock = wall_ms) -> None:
        self._now_ms = now_ms
        #: What was said of late, and when.
        self._fresh: list[tuple[int, Sequence[Hit], Sequence[Decision]]] = []
        self._notes: Recent[str, bytes] = Recent(size, longest=LONGEST_NAME)

    def note(self, hits: Sequence[Hit], decisions: Sequence[Decision]) -> None:
        """Remember what the store said."""
        self._fresh.append((self._now_ms(), hits, decisions))
        if len(self._fresh) >= TOGETHER:
            self._keep()

    def _keep(self) -> None:
        fresh, self._fresh = self._fresh, []
        notes: dict[str, bytes] = {}
        pack = _NOTE.pack
        for now, hits, decisions in fresh:
            for hit, decision in zip(hits, decisions, strict=True):
                notes[_name(hit)] = pack(now, decision.reset_ms, decision.remaining)
        self._notes.update(notes)

    def hand_over(self, hits: Sequence[Hit], store: MemoryStore) -> None:
        """Let another store go on from there, where it does not count already."""
        self._keep()
        for hit in hits:
            note = self._notes.pop(_name(hit))
            if note is None:
                continue
            at, reset, remaining = _NOTE.unpack(note)
            if reset:
                state = hit.quota.resume(Decision(remaining > 0, remaining, reset, 0), at)
                store.adopt(hit, state, at)


def _name(hit: Hit) -> str:
    # A limit's name is printable: with a line break between them this is no other hit's.
    return f"{hit.quota.tag}\n{hit.key}"
