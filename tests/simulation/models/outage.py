"""An outage: workers that heard of a key or did not, and admit without Redis; it comes and goes.

Each worker is a `GuardedStore` of its own on one shared store, which the model takes away. The
worst that is admitted in all is the bound that the documentation states.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

from quart_ratelimit import Decision, FixedWindow, Hit, StoreError
from quart_ratelimit.stores import Breaker, GuardedStore, MemoryStore

from .explore import Explored, TinyLoop, explore

AMOUNT, WORKERS = 2, 2
HIT = Hit(FixedWindow(AMOUNT, 3600), "ann")
#: Outages at most.
OUTAGES = 2


def bound(amount: int, workers: int, outages: int) -> int:
    """The most units of one window: Redis' own, and all that a worker has left in each outage."""
    return amount + outages * workers * amount


def worst_case(amount: int, workers: int) -> int:
    """What the model reaches in two outages.

    In the first one no worker has heard of the key, so each admits the whole amount. Before the
    second one each worker must hear of it again, which is one unit that Redis admits, and counts
    on from there: the first that heard has ``amount - 1`` left, the next ``amount - 2``, and so on.
    """
    again = sum(max(0, amount - heard) for heard in range(1, workers + 1))
    return amount + workers * amount + again


class AwayStore(MemoryStore):
    """A store that is there or not."""

    def __init__(self) -> None:
        super().__init__(now_ms=lambda: 1)
        self.is_away = False

    async def hit(self, hits: Sequence[Hit]) -> list[Decision]:
        if self.is_away:
            raise StoreError("away")
        return self.decide(hits, 1)


class OutageMachine:
    """One client, whose hits come to any worker; some outages, and some resets."""

    def __init__(self, *, outages: int = OUTAGES, resets: int = 0) -> None:
        self.most_outages, self.resets = outages, resets
        self.loop = TinyLoop()
        self.redis = AwayStore()
        self.outages = 0
        self.workers = [
            GuardedStore(
                self.redis,
                local=MemoryStore(now_ms=lambda: 1),
                breaker=Breaker(failures=1_000_000, now_ms=lambda: 1),
            )
            for _ in range(WORKERS)
        ]
        #: Units admitted in all, and by each worker alone since Redis' last word to it.
        self.worst = 0
        self.by_redis = 0
        self.alone = [0] * WORKERS
        self.known = [0] * WORKERS
        self.refused: str | None = None

    def choices(self) -> Iterable[str]:
        for number in range(WORKERS):
            yield f"hit {number}"
        if self.redis.is_away:
            yield "back"
        elif self.outages < self.most_outages:
            yield "away"
        if self.resets and not self.redis.is_away:
            for number in range(WORKERS):
                yield f"reset {number}"

    def do(self, choice: str) -> None:
        if choice in ("away", "back"):
            self.redis.is_away = choice == "away"
            self.outages += choice == "away"
            return
        number = int(choice.rpartition(" ")[2])
        if choice.startswith("reset"):
            self.resets -= 1
            self._run(self.workers[number].reset([HIT]))
            self.by_redis = self.known[number] = self.alone[number] = 0
            return
        (decision,) = self._run(self.workers[number].hit([HIT]))
        if decision.by == "store":
            self.by_redis += decision.allowed
            self.known[number], self.alone[number] = AMOUNT - decision.remaining, 0
        else:
            may = self.alone[number] + self.known[number] < AMOUNT
            if may and not decision.allowed:
                self.refused = "a worker refuses alone what it does not know to be used"
            self.alone[number] += decision.allowed
        self.worst += decision.allowed

    def _run(self, call: Any) -> Any:
        return self.loop.run(lambda: self.loop.create_task(_result(call))).result()

    def state(self) -> Hashable:
        return (
            self.redis.is_away,
            self.outages,
            self.resets,
            self.worst,
            self.by_redis,
            tuple(self.alone),
            tuple(self.known),
            tuple(map(_inside, self.workers)),
        )

    def wrong(self) -> str | None:
        if self.by_redis > AMOUNT:
            return f"Redis admitted {self.by_redis} of {AMOUNT}"
        for alone, known in zip(self.alone, self.known, strict=True):
            if alone > AMOUNT - known:
                return f"a worker admitted {alone} alone, of which it knew {known} used"
        if self.refused:
            return self.refused
        if self.most_outages == OUTAGES and self.worst > bound(AMOUNT, WORKERS, self.outages):
            return f"{self.worst} of {AMOUNT} were admitted in {self.outages} outages"
        return None

    def close(self) -> None:
        self.loop.forget()


def _inside(worker: GuardedStore) -> Hashable:
    """What a worker's later decisions depend on."""
    known = worker._known
    fresh = tuple(decisions[0].remaining for _, _, decisions in known._fresh)
    left = known.stand_in._memory.decide([HIT._replace(cost=0)], 1)[0].remaining
    return (known._words.get(f"{HIT.quota.counter}\n{HIT.key}"), fresh, left)


async def _result(call: Any) -> Any:
    return await call


def model() -> Explored:
    """Explore two outages, and one outage with a reset."""
    with_reset = explore(lambda: OutageMachine(outages=1, resets=1), depth=7)
    found = explore(OutageMachine, depth=10)
    found.states += with_reset.states
    found.steps += with_reset.steps
    found.violations += with_reset.violations
    return found
