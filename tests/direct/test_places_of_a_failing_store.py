"""A place that was given back is held nowhere, whichever of the store's replies were lost."""

import asyncio
import random
from collections.abc import Sequence

import pytest

from quart_ratelimit import Decision, Hit, StoreError
from quart_ratelimit.direct.ledger import Ledger
from quart_ratelimit.errors import StoreTimeout
from quart_ratelimit.quotas import Concurrency
from quart_ratelimit.stores import Breaker, GuardedStore

from ..support.stores import Moody

PLACES = Concurrency(20, 600)
LOOK = Hit(PLACES, "ann", 0)


class Flaky(Moody):
    """A store that fails at random: before it has decided, or after it."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = random.Random(seed)
        self.failing = 0.5

    async def hit(self, hits: Sequence[Hit]) -> list[Decision]:
        await asyncio.sleep(0)
        fails, is_late = self.random.random() < self.failing, self.random.random() < 0.5
        if fails and not is_late:
            raise StoreError("away")
        decisions = await super().hit(hits)
        if fails:
            raise StoreTimeout("too late")
        return decisions


@pytest.mark.parametrize("seed", range(20))
async def test_no_place_is_held_after_all_were_given_back(seed: int) -> None:
    store = Flaky(seed)
    guard = GuardedStore(store, breaker=Breaker(failures=10_000))
    ledger = Ledger(guard, guard.local, is_active=lambda: True, sender=None)

    async def use(place: Hit) -> None:
        await ledger.take([place])
        for _ in range(store.random.randrange(4)):
            await asyncio.sleep(0)
        await ledger.release(place)

    for turn in range(20):
        await asyncio.gather(*[use(Hit(PLACES, "ann", lease=f"{turn}-{n}")) for n in range(8)])
    store.failing = 0
    for _ in range(5):
        await ledger.charge([LOOK])
        await ledger.finish()
        await guard._payer.pieces_end(lambda: None)
    await guard.aclose()
    assert not store.state(LOOK)


async def test_a_place_keeps_its_name_through_a_new_word_of_the_store() -> None:
    store = Moody()
    guard = GuardedStore(store)
    mine, other = Hit(PLACES, "ann", lease="mine"), Hit(PLACES, "ann", lease="other")
    for hit in (mine, other):
        await guard.hit([LOOK])  # the store's word
        guard._known.decide([hit], sent=False)  # as if the store failed
    await guard._payer.pay_first([LOOK])
    assert set(store.state(LOOK)) == {"mine", "other"}
    await guard.aclose()
