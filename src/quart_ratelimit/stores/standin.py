"""Counts in this worker while the store is away: its share of each limit, and what it owes.

Each worker has a share of what the store's last word left of a key, and the same share of what
comes back, so that the fleet together admits what the store would have admitted. What a worker
admitted is charged in the store when that is back. A hit that was sent and whose reply was lost is
counted here and never charged again: the store may have counted it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import islice
from struct import Struct
from typing import Any, NamedTuple
from zlib import crc32

from ..quotas import Concurrency, Decision, Hit, Penalty, Quota
from ..quotas.concurrency import Leases
from ..quotas.quota import share_of
from .fleet import Fleet
from .memory import MemoryStore

#: Keys whose admissions are remembered for the store; of more, the oldest are forgotten.
MOST_OWED = 200_000
#: Characters of the longest name of such a key.
LONGEST_NAME = 1024
#: What a worker that has no unit of a limit says of the wait: another worker may have one, and the
#: store is called again within this time.
RETRY_MS = 1000

#: When the store decided, how long until the key is as good as never hit (both ms), the units that
#: were used then; and the units that were sent since and must not be charged again, less those
#: that are owed in addition to the count.
_BASE = Struct("4q")


class Word(NamedTuple):
    """The store's last word on a key; times in ms."""

    at_ms: int
    #: Until the key is as good as never hit.
    reset_ms: int
    #: Units used, of the quota's capacity.
    used: int


class _Part(NamedTuple):
    """One hit, and its twin on this worker's share of the limit."""

    hit: Hit
    own: Hit
    #: Whether this worker has a unit of the limit. Else ``own`` is on the whole limit: what was
    #: spent already is counted all the same.
    has_units: bool
    #: How many workers share the limit, and the place of this one for the hit's key.
    workers: int
    place: int

    @property
    def lacks_units(self) -> bool:
        """Whether the hit is refused because this worker has no unit."""
        return not self.has_units and self.hit.cost >= 0 and not self.hit.forced

    def resumed(self, word: Word) -> Any:
        """The state of the key as the store's word leaves it to this worker."""
        if not word.reset_ms:
            return None
        quota = self.own.quota
        left = quota.capacity - share_of(word.used, self.workers, self.place)
        return quota.resume(Decision(left > 0, left, word.reset_ms, 0), word.at_ms)


class Owed(NamedTuple):
    """What this worker admitted of one key, taken out to be charged late."""

    #: A late hit of 1 on the key.
    hit: Hit
    hits: Sequence[Hit]
    #: What is known of the key until the store decides on it: as if these hits were charged, and
    #: every other worker had admitted as much.
    word: Word
    #: How the key was counted here, for a charge that is not sent.
    base: bytes
    state: object
    view: tuple[int, int]
    #: The store's word since the key was counted here; None: it said nothing.
    newest: Word | None


class StandIn:
    """Decides for one worker of a fleet.

    ``memory``: where it counts. Nothing else may count there.
    """

    def __init__(self, memory: MemoryStore, fleet: Fleet) -> None:
        self._memory = memory
        self._fleet = fleet
        #: What each key here was counted on from; see `_BASE`.
        self.bases: dict[str, bytes] = {}
        #: How many workers there are and the place of this one, while anything is owed.
        self._view = (1, 0)
        #: Of each counter, the quota of the largest amount: it has most room for a late hit.
        self._quotas: dict[str, Quota] = {}

    def __len__(self) -> int:
        """How many keys were counted here and not yet charged in the store."""
        return len(self.bases)

    def counts(self, hit: Hit) -> bool:
        """Whether this hit's key was counted here, and what was admitted is still owed."""
        return name_of(hit) in self.bases

    def decide(
        self, hits: Sequence[Hit], words: Sequence[Word | None], now_ms: int, *, sent: bool
    ) -> list[Decision]:
        """Decide one request, on from the store's words that are newer than what is known here.

        ``sent``: whether the store may have counted these hits.
        """
        if not self.bases:
            self._view = self._fleet.view()
        parts = [self._part(hit) for hit in hits]
        for part, word in zip(parts, words, strict=True):
            if part.hit.cost >= 0 or self.counts(part.hit):
                self._count_on(part, word, now_ms)
        own = [part.own for part in parts]
        lacking = [n for n, part in enumerate(parts) if part.lacks_units]
        if lacking:  # the others have the decision of a look
            own = [hit._replace(cost=0) if hit.cost > 0 else hit for hit in own]
        decisions = self._memory.decide(own, now_ms)
        for place in lacking:
            decisions[place] = Decision(False, 0, RETRY_MS, RETRY_MS, now_ms)
        if sent and all(decisions):
            self._note_sent(hits)
        return list(map(_by_local, hits, decisions))

    def oldest(self, most: int) -> list[Hit]:
        """Late hits on at most ``most`` of the oldest keys."""
        return [self._largest(name).hit for name in islice(self.bases, most)]

    def look(self) -> Hit:
        """A look at the oldest key that owes something."""
        return self._largest(next(iter(self.bases))).hit._replace(cost=0, late=False)

    def take(self, hit: Hit, newest: Word | None, now_ms: int) -> Owed:
        """Take the hit's key out. ``newest``: the store's word since the key was counted here."""
        name = name_of(hit)
        part, base = self._largest(name), self.bases.pop(name)
        own = part.own
        owing = self._owing(name, base, now_ms)
        if newest is None:
            units = self._admitted(part, base, now_ms)
        else:  # this word knows of what the store was sent before it
            units = sum(owed.cost for owed in owing)
        (look,) = self._memory.decide([own._replace(cost=0, late=False)], now_ms)
        state = self._memory.state(own)
        self._memory.adopt(own, None, now_ms)
        at, reset, used, _ = _BASE.unpack(base) if newest is None else (*newest, 0)
        lasts = at + reset - now_ms
        used = (used if lasts > 0 else 0) + units * self._view[0]
        word = Word(now_ms, max(look.reset_ms, lasts), min(part.hit.quota.capacity, used))
        return Owed(part.hit, owing, word, base, state, self._view, newest)

    def put_back(self, owed: Owed, now_ms: int) -> bool:
        """Count a key as before it was taken out; False: its shares have changed since."""
        if owed.view != self._view:
            return False
        part = self._part(owed.hit)
        if owed.newest is None:
            self.bases[name_of(owed.hit)] = owed.base
            self._memory.adopt(part.own, owed.state, now_ms)
        else:
            self._count_on(part, owed.newest, now_ms)
            self._add(part, owed.hits, now_ms)
        return True

    def owe(self, owed: Owed, word: Word | None, now_ms: int) -> None:
        """Owe what was taken out, of a key that is counted as if it had been charged."""
        self._count_on(self._part(owed.hit), word, now_ms)
        name = name_of(owed.hit)
        for hit in owed.hits:
            if hit.lease:
                own = self._part(hit).own
                self._memory.decide([own._replace(late=False, forced=True)], now_ms)
            elif name in self.bases:
                *base, sent = _BASE.unpack(self.bases[name])
                self.bases[name] = _BASE.pack(*base, sent - hit.cost)

    def forget(self, hit: Hit) -> None:
        """Forget the hit's key, and what it owes."""
        self.bases.pop(name_of(hit), None)
        self._memory.adopt(hit, None, 0)

    async def clear(self) -> None:
        """Forget all keys."""
        self.bases.clear()
        self._quotas.clear()
        await self._memory.clear()

    def _part(self, hit: Hit) -> _Part:
        """The hit as this worker's share decides it.

        Each key has another order of workers, so that the odd units belong to all of them equally.
        """
        quota, (workers, place) = hit.quota, self._view
        if workers > 1:
            place = (place + crc32(name_of(hit).encode("utf-8", "surrogatepass"))) % workers
            if hit.of_breaches or isinstance(quota, Penalty):
                # Without a unit a worker would refuse clients that never offended.
                workers = min(workers, quota.capacity)
                place %= workers
        share = _share(quota, workers, place)
        return _Part(hit, hit._replace(quota=share or quota), share is not None, workers, place)

    def _count_on(self, part: _Part, word: Word | None, now_ms: int) -> None:
        """Have the key counted here, from the store's word if that is new."""
        name, quota = name_of(part.hit), part.hit.quota
        base = self.bases.get(name)
        largest = self._quotas.get(quota.counter)
        if largest is None or largest.amount < quota.amount:
            self._quotas[quota.counter] = quota
        if base is not None and word is None:
            return
        owed = [] if word is None or base is None else self._owing(name, base, now_ms)
        if word is not None:
            self._memory.adopt(part.own, part.resumed(word), word.at_ms)
        if base is not None or (len(self.bases) < MOST_OWED and len(name) <= LONGEST_NAME):
            self.bases[name] = _BASE.pack(*(word or Word(now_ms, 0, 0)), 0)
        if owed:
            self._add(part, owed, now_ms)

    def _add(self, part: _Part, hits: Sequence[Hit], now_ms: int) -> None:
        """Count late hits in addition: the store decided on their key, and does not know of them.

        All are owed, also those that are beyond this worker's share, which the count does not show.
        """
        name = name_of(part.hit)
        base = self.bases.get(name)
        owing = 0 if base is None else self._owed(self._largest(name), base, now_ms)
        for hit in hits:
            own = self._part(hit).own
            self._memory.decide([own._replace(late=False, forced=True)], now_ms)
        if base is not None and not isinstance(part.hit.quota, Concurrency):
            owing += sum(hit.cost for hit in hits)
            admitted = self._admitted(self._largest(name), base, now_ms)
            *word, _ = _BASE.unpack(base)
            self.bases[name] = _BASE.pack(*word, admitted - owing)

    def _owing(self, name: str, base: bytes, now_ms: int) -> list[Hit]:
        """The late hits that charge what this key owes: one for each lease, or one for all units.

        A lease has a name, by which it is given back.
        """
        part = self._largest(name)
        if isinstance(part.hit.quota, Concurrency):
            state: Leases = self._memory.state(part.own) or {}
            leases = [lease for lease, end in state.items() if end > now_ms]
            return [part.hit._replace(lease=one) for one in leases if not one.startswith("?")]
        units = self._owed(part, base, now_ms)
        return [part.hit._replace(cost=units)] if units else []

    def _largest(self, name: str) -> _Part:
        """A late hit of 1 on a key, by the limit that has most room for it."""
        counter, _, key = name.partition("\n")
        return self._part(Hit(self._quotas[counter], key, late=True))

    def _owed(self, part: _Part, base: bytes, now_ms: int) -> int:
        """Units admitted here that still count and that the store was not sent."""
        sent: int = _BASE.unpack(base)[-1]
        return max(0, self._admitted(part, base, now_ms) - sent)

    def _admitted(self, part: _Part, base: bytes, now_ms: int) -> int:
        """Units admitted here that still count: the state's difference to the store's word.

        Both are as they are now, so what has come back or ended meanwhile is left out.
        """
        at, reset, used, _ = _BASE.unpack(base)
        look, quota = part.own._replace(cost=0, late=False), part.own.quota
        (now,) = self._memory.decide([look], now_ms)
        state = part.resumed(Word(at, reset, used))
        state = None if state is None else quota.heal(state, now_ms)
        _, before = quota.advance(state, now_ms, look)
        return int(max(0, before.remaining - now.remaining))

    def _note_sent(self, hits: Sequence[Hit]) -> None:
        for hit in hits:
            base = self.bases.get(name_of(hit))
            if base is not None and hit.cost > 0:
                *word, sent = _BASE.unpack(base)
                self.bases[name_of(hit)] = _BASE.pack(*word, sent + hit.cost)


def name_of(hit: Hit) -> str:
    """The name of a hit's record."""
    # Limits that share a counter share its record. A limit's name is printable: with a line break
    # between them this is not another hit's.
    return f"{hit.quota.counter}\n{hit.key}"


@lru_cache(4096)
def _share(quota: Quota, workers: int, place: int) -> Quota | None:
    return quota if workers == 1 else quota.share(workers, place)


def _by_local(hit: Hit, decision: Decision) -> Decision:
    """The decision; no limit in it says "never" because it is shared."""
    if decision.retry_ms is None and hit.cost <= hit.quota.capacity:
        return decision._replace(by="local", retry_ms=RETRY_MS)
    return decision._replace(by="local")
