"""Outages: workers admit their shares without Redis, and charge them back when it is there again.

Each worker is a `GuardedStore` of its own on one shared store. In `OutageMachine` the store decides
at once and is taken away; in `ChargingMachine` the model also chooses when each call is carried
out, when its reply comes, and whether that is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial
from typing import Any
from unittest import mock

from quart_ratelimit import Decision, FixedWindow, Hit, StoreError
from quart_ratelimit.stores import Breaker, GuardedStore, MemoryStore, memory
from quart_ratelimit.stores.fleet import Fleet

from .explore import Explored, TinyLoop, explore

#: Seconds after which a worker has looked whether the store is back, and has charged what it owes.
LOOK = 1.1


def bound(amount: int, used: int, told: Sequence[int]) -> int:
    """Units of one window that are used at most as an outage ends, as the documentation says.

    ``used``: units that Redis had counted as the outage began. ``told``: how many it had last
    reported to each worker.
    """
    return amount + sum(_rounded_up(used - each, len(told)) for each in told)


def most(amount: int, workers: int) -> int:
    """What `bound` comes to at most, whatever was used and reported."""
    return amount + _rounded_up(amount * (workers - 1), workers)


def _rounded_up(units: int, workers: int) -> int:
    return -(-max(0, units) // workers)


class SharedStore(MemoryStore):
    """Redis: it is there or away, and decides at once or as the model chooses."""

    def __init__(self, loop: TinyLoop, *, waits: bool) -> None:
        super().__init__(now_ms=lambda: 1)
        self.loop = loop
        self.waits = waits
        self.is_away = False
        self.calls: list[tuple[Sequence[Hit], asyncio.Future[list[Decision]]]] = []
        #: Units that were charged late.
        self.late = 0

    async def hit(self, hits: Sequence[Hit]) -> list[Decision]:
        if self.is_away:
            error = StoreError("away")
            error.was_sent = False
            raise error
        if not self.waits:
            return self.carry_out(hits)
        future: asyncio.Future[list[Decision]] = self.loop.create_future()
        self.calls.append((hits, future))
        return await future

    def carry_out(self, hits: Sequence[Hit]) -> list[Decision]:
        self.late += sum(hit.cost for hit in hits if hit.late)
        return self.decide(hits, 1)

    def used(self, hit: Hit) -> int:
        return hit.quota.amount - self.decide([hit._replace(cost=0)], 1)[0].remaining


class Way:
    """A worker's way to Redis, which sees what the worker is told as it charges late."""

    def __init__(self, redis: SharedStore, told: Callable[[Decision], None]) -> None:
        self._redis = redis
        self._told = told
        self.start, self.aclose = redis.start, redis.aclose
        self.reset, self.clear = redis.reset, redis.clear
        self.known_refusal = redis.known_refusal

    async def hit(self, hits: Sequence[Hit]) -> list[Decision]:
        decisions = await self._redis.hit(hits)
        if hits[0].late or not hits[0].cost:  # no client looks
            self._told(decisions[0])
        return decisions


class OutageMachine:
    """One client, whose hits come to any worker; some outages, and some resets."""

    waits = False

    def __init__(self, *, workers: int, amount: int, outages: int, resets: int = 0) -> None:
        self.amount, self.outages_left, self.resets = amount, outages, resets
        self.is_reset = resets > 0
        self.hit = Hit(FixedWindow(amount, 3600), "ann")
        self.loop = TinyLoop()
        self.redis = SharedStore(self.loop, waits=self.waits)
        names = [f"worker{number}" for number in range(workers)]
        self.workers = [self._worker(number, names) for number in range(workers)]
        #: Units admitted, in all and without Redis.
        self.worst = self.alone = 0
        #: Of them, those by Redis that found it back: it did not know yet what the worker owes.
        self.undecided = 0
        #: Of each worker: units that Redis last reported as used, and that it admitted since.
        self.told = [0] * workers
        self.since = [0] * workers
        #: Whether it owed something as it was called last.
        self.owed = [False] * workers
        #: Units that Redis had counted as the last outage began, the reports, and units since.
        self.began: tuple[int, tuple[int, ...]] | None = None
        self.in_outage = 0
        self.blamed: str | None = None

    def _worker(self, number: int, names: list[str]) -> GuardedStore:
        fleet = Fleet(len(names), name=names[number], now_ms=lambda: 1)
        fleet.names = names
        return GuardedStore(
            Way(self.redis, partial(self._tell, number)),
            local=MemoryStore(now_ms=lambda: 1),
            fleet=fleet,
            breaker=Breaker(failures=1_000_000, now_ms=lambda: 1),
        )

    def choices(self) -> Iterable[str]:
        for number in range(len(self.workers)):
            yield f"hit {number}"
            if self.resets and not self.redis.is_away:
                yield f"reset {number}"
        if self.redis.is_away:
            yield "back"
        elif self.outages_left:
            yield "away"
        if self.loop.timers():
            yield "time"

    def do(self, choice: str) -> None:
        name, _, number = choice.partition(" ")
        if name == "hit":
            self._called(int(number))
        elif name == "reset":
            self._reset(int(number))
        elif name == "time":
            self.loop.advance(LOOK)
        else:
            self.redis.is_away = name == "away"
            if self.redis.is_away:
                self.outages_left -= 1
                self.began = (self.redis.used(self.hit), tuple(self.told))
                self.in_outage = 0

    def _owes(self, number: int) -> bool:
        return bool(self.workers[number]._owed)

    def _called(self, number: int) -> None:
        self.owed[number] = self._owes(number)
        call = self.workers[number].hit([self.hit])
        (decision,) = self.loop.run(lambda: self.loop.create_task(_result(call))).result()
        self._decided(number, decision)

    def _decided(self, number: int, decision: Decision) -> None:
        self.worst += decision.allowed
        if decision.by != "local":
            self.undecided += decision.allowed and self.owed[number]
            self._tell(number, decision)
            return
        left, workers = self.amount - self.told[number], len(self.workers)
        is_first = not (self.alone or self.waits)
        if not decision.allowed and self.since[number] < left // workers and is_first:
            self.blamed = "a worker refuses alone what it does not know to be used"
        self.since[number] += decision.allowed
        if self.since[number] > _rounded_up(left, workers):
            self.blamed = f"a worker admits {self.since[number]} alone, its share of {left} left"
        self.in_outage += decision.allowed
        self.alone += decision.allowed

    def _tell(self, number: int, decision: Decision) -> None:
        self.told[number], self.since[number] = self.amount - decision.remaining, 0

    def _reset(self, number: int) -> None:
        self.resets -= 1
        call = self.workers[number].reset([self.hit])
        self.loop.run(lambda: self.loop.create_task(_result(call))).result()
        self.told[number] = self.since[number] = 0

    def state(self) -> Hashable:
        return (
            self.redis.is_away,
            self.outages_left,
            self.resets,
            (self.worst, self.undecided, self.alone, self.redis.late, self.in_outage, self.began),
            tuple(self.told),
            tuple(self.since),
            self.redis.used(self.hit),
            tuple((hits[0].cost, hits[0].late) for hits, _ in self.redis.calls),
            tuple(self._inside(worker) for worker in self.workers),
        )

    def _inside(self, worker: GuardedStore) -> Hashable:
        """What a worker's later decisions depend on."""
        known, payer = worker._known, worker._payer
        fresh = tuple(decisions[0].remaining for _, _, decisions in known._fresh)
        name = f"{self.hit.quota.counter}\n{self.hit.key}"
        left = known.stand_in._memory.decide([self.hit._replace(cost=0)], 1)[0].remaining
        paying = (payer.is_paying, payer._timer is None, payer._task is None, len(payer._pieces))
        return (known._words.get(name), fresh, known.stand_in.bases.get(name), left, paying)

    def wrong(self) -> str | None:
        """What is wrong now, or once Redis stays and time has passed."""
        return self._wrong_now() or self._beyond_bounds() or self._wrong_in_the_end()

    def _wrong_now(self) -> str | None:
        if self.blamed:
            return self.blamed
        if self.redis.used(self.hit) > self.amount:
            return f"{self.redis.used(self.hit)} units of {self.amount} are charged"
        if self.redis.late > self.alone:
            return f"{self.redis.late} units are charged late, of {self.alone} admitted alone"
        return None

    def _beyond_bounds(self) -> str | None:
        if self.began is not None and not self.is_reset:
            used, told = self.began
            if used + self.in_outage > bound(self.amount, used, told):
                return (
                    f"{self.in_outage} units are admitted in an outage that began with {used} used,"
                    f" of which the workers knew {told}: {bound(self.amount, used, told)} at most"
                )
            largest = most(self.amount, len(self.workers)) + self.undecided
            if self.worst > largest:
                return f"{self.worst} units are admitted in all, {largest} at most"
        return None

    def _wrong_in_the_end(self) -> str | None:
        self.redis.is_away = False
        self.loop.advance(LOOK)
        used, counted = self.redis.used(self.hit), min(self.amount, self.worst)
        if used != counted and not self.is_reset:
            return f"{used} units are charged in the end, of {self.worst} that were admitted"
        return self.loop.complaints[0] if self.loop.complaints else None

    def close(self) -> None:
        self.loop.forget()


class ChargingMachine(OutageMachine):
    """Hits and late charges that are under way together, and one whose reply is lost."""

    waits = True

    def __init__(self, *, workers: int, amount: int, outages: int, calls: int) -> None:
        super().__init__(workers=workers, amount=amount, outages=outages)
        self.calls_left = calls
        self.asked: list[tuple[int, asyncio.Task[list[Decision]]]] = []
        #: Units of calls whose replies are lost: of one call at most.
        self.lost = 0

    def choices(self) -> Iterable[str]:
        yield from (
            choice
            for choice in super().choices()
            if self.calls_left or not choice.startswith("hit")
        )
        for number in range(len(self.redis.calls)):
            yield f"answer {number}"
            if not self.lost:
                yield f"lose {number}"  # carried out, and the reply is lost
                yield f"miss {number}"  # not carried out
                yield f"drop {number}"  # known not to be sent

    def do(self, choice: str) -> None:
        name, _, number = choice.partition(" ")
        if name in ("answer", "lose", "miss", "drop"):
            self._end(name, int(number))
        else:
            super().do(choice)
        for number_of, task in [one for one in self.asked if one[1].done()]:
            self.asked.remove((number_of, task))
            self._decided(number_of, task.result()[0])

    def _called(self, number: int) -> None:
        self.calls_left -= 1
        self.owed[number] = self._owes(number)
        call = self.workers[number].hit([self.hit])
        self.asked.append((number, self.loop.run(lambda: self.loop.create_task(_result(call)))))

    def _end(self, name: str, number: int) -> None:
        hits, future = self.redis.calls.pop(number)
        decisions = self.redis.carry_out(hits) if name in ("answer", "lose") else []
        if name == "answer":
            self.loop.run(future.set_result, decisions)
        else:
            self.lost += max(1, hits[0].cost)
            error = StoreError("lost")
            error.was_sent = name != "drop"
            self.loop.run(future.set_exception, error)

    def state(self) -> Hashable:
        asked = tuple(number for number, _ in self.asked)
        return (super().state(), self.calls_left, self.lost, asked, tuple(self.owed))

    def wrong(self) -> str | None:
        return self._wrong_now() or self._wrong_in_the_end()

    def _wrong_in_the_end(self) -> str | None:
        self.redis.is_away = False
        for _ in range(4):
            while self.redis.calls:
                self.do("answer 0")
            self.loop.advance(LOOK)
        if self.asked or self.redis.calls:
            return "a call does not end"
        used, counted = self.redis.used(self.hit), min(self.amount, self.worst)
        if not counted - self.lost <= used <= counted + self.lost:
            return (
                f"{used} units are charged in the end, of {self.worst} that were admitted and "
                f"{self.lost} whose replies were lost"
            )
        return self.loop.complaints[0] if self.loop.complaints else None


async def _result(call: Any) -> Any:
    return await call


def _charging(*way: str, amount: int, outages: int) -> ChargingMachine:
    """Two workers after these steps, and room for four more hits."""
    hits = sum(choice.startswith("hit") for choice in way) + 4
    machine = ChargingMachine(workers=2, amount=amount, outages=outages, calls=hits)
    for choice in way:
        machine.do(choice)
    return machine


#: Each worker has admitted one unit.
BOTH = ("away", "hit 0", "hit 1")
#: A worker looks whether Redis is back, and another has used what was left.
SPENT = ("away", "hit 0", "back", "time", *3 * ("hit 1", "answer 1"))


def model() -> Explored:
    """Explore outages without delays, with a reset, and with delays and a lost reply."""
    plans: list[tuple[Callable[[], OutageMachine], int]] = [
        (lambda: OutageMachine(workers=2, amount=2, outages=1, resets=1), 5),
        (lambda: OutageMachine(workers=2, amount=2, outages=2), 8),
        (lambda: OutageMachine(workers=2, amount=3, outages=1), 8),
        (lambda: OutageMachine(workers=3, amount=2, outages=1), 6),
        (lambda: ChargingMachine(workers=2, amount=2, outages=1, calls=3), 6),
        (lambda: _charging(*SPENT, amount=4, outages=2), 5),
        (lambda: _charging(*BOTH, amount=3, outages=2), 6),
    ]
    found = Explored()
    # A table of one shard: most of a replay would go into making the others.
    with mock.patch.object(memory, "SHARDS", 1):
        for make, depth in plans:
            part = explore(make, depth=depth)
            found.states += part.states
            found.steps += part.steps
            found.worst = max(found.worst, part.worst)
            found.violations += part.violations
    return found
