"""What this worker knows of the counters in a store: one record per counter and key.

A record is the store's last word, a refusal to repeat, and what this worker counted itself while
the store was away, see `StandIn`. One rule holds for all three: what the store decides replaces
what is known. A reset, a clear and a give-back invalidate a record, and a decision on hits that
were sent before an invalidation never enters it.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

from ..clock import Clock, monotonic_ms
from ..errors import ConfigurationError
from ..quotas import Decision, Hit
from ..recent import Recent
from .fleet import Fleet
from .memory import MemoryStore
from .refusals import Refusal, refusal_of
from .standin import LONGEST_NAME, Owed, StandIn, Word, name_of

#: Keys remembered at least; twice as many at most.
REMEMBERED = 20_000
#: Refusals remembered at least; twice as many at most.
REFUSALS = 10_000
#: Names whose invalidation is known one by one; after more, all hits under way count as outdated.
INVALIDATED = 1000
#: Requests that are noted at a time: one loop costs each less than a call.
TOGETHER = 64
#: While one request calls the store again, the others are refused for this many milliseconds: the
#: store is called once, not by all requests that come until it replies.
HELD_MS = 50

#: A `Word` in bytes, whose units are the amount's, which is an attribute, not the capacity's.
_WORD = Struct("3q")
#: Ends a word that the store has not said: what was taken out counts as charged.
_ASSUMED = b"assumed"


class Knowledge:
    """The table of one worker; see the module.

    ``local``: where this worker counts while the store is away. ``fleet``: the workers that share
    the limits then (default: it is alone). ``remember_ms``: how long a refusal is repeated at most,
    in ms (default 0: not at all). ``now_ms``: the clock for that, in ms.
    """

    # Words are text and bytes, which the garbage collector passes by: a key that was not hit lately
    # costs no more than one that was.

    def __init__(
        self,
        local: MemoryStore,
        *,
        fleet: Fleet | None = None,
        remember_ms: int = 0,
        now_ms: Clock = monotonic_ms,
    ) -> None:
        if remember_ms < 0:
            raise ConfigurationError(f"remember_ms={remember_ms!r} must be 0 or more, e.g. 1000")
        self.fleet: Fleet = Fleet(workers=1) if fleet is None else fleet
        self.stand_in: StandIn = StandIn(local, self.fleet)
        self._local_ms = local.now_ms
        #: The store's clock less this worker's, in ms, as of the last decision.
        self._ahead_ms = 0
        self._remember_ms = remember_ms
        self._now_ms = now_ms
        #: How many invalidations there were. The guard notes it when it sends hits, for `learn`.
        self.generation: int = 0
        #: Whether any refusal was remembered. Every hit reads this, so it is a plain attribute.
        self.refuses: bool = False
        #: The generation of each name's last invalidation; what was sent before `_floor` is
        #: outdated whatever its name is.
        self._invalidated: dict[str, int] = {}
        self._floor = 0
        #: What was decided of late, and when.
        self._fresh: list[tuple[int, Sequence[Hit], Sequence[Decision]]] = []
        self._words: Recent[str, bytes] = Recent(REMEMBERED, longest=LONGEST_NAME)
        self._refusals: Recent[str, Refusal] = Recent(
            REFUSALS,
            longest=LONGEST_NAME,
            value_length=lambda refusal: sum(len(hit.key) for hit in refusal.hits),
        )

    def learn(self, hits: Sequence[Hit], decisions: Sequence[Decision], sent: int) -> None:
        """Note what the store decided on hits that were sent in that generation."""
        if sent != self.generation and self._is_outdated(hits, sent):
            return
        fresh = self._fresh
        fresh.append((self._local_ms(), hits, decisions))
        if len(fresh) >= TOGETHER:
            self._keep()
        for decision in decisions:
            if not decision.allowed:
                if self._remember_ms:
                    self._remember(hits, decisions)
                return

    def refusal(self, hits: Sequence[Hit]) -> list[Decision] | None:
        """The refusal of such hits that may be repeated now."""
        refusal = self._refusal(hits)
        now = self._now_ms() if refusal else 0
        return refusal.repeated(now) if refusal and now < refusal.until_ms else None

    def may_refuse(self, hits: Sequence[Hit]) -> bool:
        """Whether such hits were refused a moment ago."""
        return self._refusal(hits) is not None

    def hold(self, hits: Sequence[Hit]) -> bool:
        """Repeat a refusal that is not over for a moment longer, while one request calls the store.

        False: there is none, or it is over.
        """
        refusal, now = self._refusal(hits), self._now_ms()
        if refusal is None or now >= refusal.end_ms:
            return False
        until = min(now + HELD_MS, refusal.end_ms)
        self._refusals.put(name_of(refusal.longest), refusal._replace(until_ms=until))
        return True

    def was_allowed(self, hits: Sequence[Hit]) -> None:
        """Drop the refusal of such hits: the store allows them again."""
        refusal = self._refusal(hits)
        if refusal is not None:
            self._refusals.pop(name_of(refusal.longest))

    def gave_back(self, hits: Sequence[Hit]) -> None:
        """Invalidate what these hits gave back to; the last word is the give-back's own."""
        for hit in hits:
            self._invalidate(name_of(hit))

    def forget(self, hits: Sequence[Hit]) -> None:
        """Forget the records of these hits' counters."""
        self._keep()
        for hit in hits:
            name = name_of(hit)
            self._invalidate(name)
            self._words.pop(name)
            self.stand_in.forget(hit)

    async def clear(self) -> None:
        """Forget every record."""
        self.generation += 1
        self._floor = self.generation
        self._invalidated.clear()
        self._fresh.clear()
        self._words.clear()
        self._refusals.clear()
        self.refuses = False
        await self.stand_in.clear()

    def decide(self, hits: Sequence[Hit], *, sent: bool) -> list[Decision]:
        """Decide in this worker's memory, on from the store's last word.

        ``sent``: whether the store may have counted these hits.
        """
        self._keep()
        # What is given back of a key that is not counted here has been charged in the store.
        counted = [hit.cost >= 0 or self.stand_in.counts(hit) for hit in hits]
        words = [self._taken(h) if n else None for h, n in zip(hits, counted, strict=True)]
        return self.stand_in.decide(hits, words, self.store_ms(), sent=sent)

    def _taken(self, hit: Hit) -> Word | None:
        """The store's last word on the hit's key, which is not kept."""
        word = self._words.pop(name_of(hit))
        if word is None:
            return None
        at, reset, used = _WORD.unpack_from(word)
        return Word(at, reset, used + hit.quota.capacity - hit.quota.amount)

    def store_ms(self) -> int:
        """The store's time, as far as it is known."""
        return self._local_ms() + self._ahead_ms

    def take_owed(self, most: int) -> list[Owed]:
        """Take out what at most ``most`` keys owe to the store."""
        return [self.take_one(hit) for hit in self.stand_in.oldest(most)]

    def take_one(self, hit: Hit) -> Owed:
        """Take out what this hit's key owes; until the store decides on it, it counts as charged.

        So nothing is forgotten if the charge is lost, or if there was nothing to charge.
        """
        self._keep()
        owed = self.stand_in.take(hit, self._taken(hit), self.store_ms())
        self._words.put(name_of(hit), _packed(owed))
        return owed

    def put_back(self, owed: Owed) -> None:
        """Owe again what was taken out and not sent, unless the key was forgotten since."""
        self._keep()
        name, now = name_of(owed.hit), self.store_ms()
        word = self._words.get(name)
        if word is None and not self.stand_in.counts(owed.hit):
            return
        if word is not None and not word.endswith(_ASSUMED):
            # The store decided since, and does not know of these.
            for hit in owed.hits:
                self.decide([hit._replace(late=False, forced=True)], sent=False)
        elif word == _packed(owed) and self.stand_in.put_back(owed, now):
            self._words.pop(name)
        else:
            self.stand_in.owe(owed, self._taken(owed.hit), now)

    def _keep(self) -> None:
        """Make words of what was decided of late."""
        if not self._fresh:
            return
        fresh, self._fresh = self._fresh, []
        words: dict[str, bytes] = {}
        pack = _WORD.pack
        for at, hits, decisions in fresh:
            for hit, decision in zip(hits, decisions, strict=True):
                quota, left, now = hit.quota, decision.remaining, decision.at_ms or at
                name, used = f"{quota.counter}\n{hit.key}", quota.amount - left
                if left > 0 or not _says_more(words.get(name) or self._words.get(name), used, now):
                    words[name] = pack(now, decision.reset_ms, used)
        at, _, decisions = fresh[-1]
        if decisions and decisions[-1].at_ms:
            self._ahead_ms = decisions[-1].at_ms - at
        self._words.update(words)

    def _refusal(self, hits: Sequence[Hit]) -> Refusal | None:
        for hit in hits:
            refusal = self._refusals.get(name_of(hit))
            if refusal is not None and refusal.refuses(hits):
                return refusal
        return None

    def _remember(self, hits: Sequence[Hit], decisions: Sequence[Decision]) -> None:
        refusal = refusal_of(hits, decisions, self._now_ms(), self._remember_ms)
        if refusal is not None:
            self._refusals.put(name_of(refusal.longest), refusal)
            self.refuses = True

    def _invalidate(self, name: str) -> None:
        self.generation += 1
        self._refusals.pop(name)
        if len(name) > LONGEST_NAME or len(self._invalidated) >= INVALIDATED:
            self._invalidated.clear()
            self._floor = self.generation
        else:
            self._invalidated[name] = self.generation

    def _is_outdated(self, hits: Sequence[Hit], sent: int) -> bool:
        """Whether one of these hits' records was invalidated after they were sent."""
        known = self._invalidated
        return sent < self._floor or any(known.get(name_of(hit), 0) > sent for hit in hits)


def _packed(owed: Owed) -> bytes:
    """The word on a key that was taken out."""
    (at, reset, used), quota = owed.word, owed.hit.quota
    return _WORD.pack(at, reset, used + quota.amount - quota.capacity) + _ASSUMED


def _says_more(word: bytes | None, used: int, now_ms: int) -> bool:
    """Whether a word says that more is used; a limit with nothing left says "at least" so much."""
    if word is None:
        return False
    at, reset, more = _WORD.unpack_from(word)
    return bool(more > used and at + reset > now_ms)
