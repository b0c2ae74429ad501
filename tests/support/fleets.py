"""Several workers in one process that share a store, which comes and goes for all or for one."""

import asyncio
from collections.abc import Sequence

from quart_ratelimit import Decision, FixedWindow, Hit, Quota, StoreError
from quart_ratelimit.errors import StoreAway
from quart_ratelimit.stores import Breaker, Fleet, GuardedStore, MemoryStore

from .stores import Clock, hit

NOW = 1_800_000_012_345


class Path(MemoryStore):
    """One worker's way to the shared store."""

    def __init__(self, shared: MemoryStore) -> None:
        super().__init__()
        self._shared = shared
        self.is_cut = False
        #: Whether replies are lost: the store decides, and the worker is not told.
        self.loses = False
        #: What every hit, and every reset, waits for first.
        self.waits: asyncio.Event | None = None
        self.reset_waits: asyncio.Event | None = None

    async def hit(self, hits: Sequence[Hit]) -> list[Decision]:
        if self.waits is not None:
            await self.waits.wait()
        if self.is_cut:
            raise StoreAway(250)
        decisions = await self._shared.hit(hits)
        if self.loses:
            raise StoreError("the reply was lost")
        return decisions

    async def reset(self, hits: Sequence[Hit]) -> int:
        if self.reset_waits is not None:
            await self.reset_waits.wait()
        if self.is_cut:
            raise StoreAway(250)
        return await self._shared.reset(hits)


class Crew:
    """So many workers, whose clock is a number, and the store that they share."""

    def __init__(self, count: int) -> None:
        self.clock = Clock()
        self.store = MemoryStore(now_ms=self.now)
        self.paths = [Path(self.store) for _ in range(count)]
        names = [f"worker-{number}" for number in range(count)]
        self.guards = []
        for name, path in zip(names, self.paths, strict=True):
            fleet = Fleet(name=name)
            fleet.names = list(names)
            local, breaker = MemoryStore(now_ms=self.now), Breaker(failures=1_000_000)
            self.guards.append(GuardedStore(path, local=local, fleet=fleet, breaker=breaker))

    def now(self) -> int:
        return NOW + self.clock.now

    def cut(self, *workers: int) -> None:
        """Take the store away from these workers, or from all."""
        for number in workers or range(len(self.paths)):
            self.paths[number].is_cut = True

    async def heal(self) -> None:
        """Give the store back to all, and wait until each has charged what it owes."""
        for path in self.paths:
            path.is_cut = False
        for guard in self.guards:
            await guard.hit([Hit(_OTHER, "nobody", 0)])
            await charged(guard)

    async def admitted(
        self, quota: Quota, times: int, *, workers: Sequence[int] = (), key: str = "ann"
    ) -> int:
        """How many of so many hits at each worker, in turns, are allowed."""
        allowed = 0
        for _ in range(times):
            for number in workers or range(len(self.guards)):
                (decision,) = await self.guards[number].hit([hit(quota, key)])
                allowed += decision.allowed
        return allowed

    async def left(self, quota: Quota, key: str = "ann") -> int:
        """What the store itself has left."""
        return (await self.store.hit([Hit(quota, key, 0)]))[0].remaining


#: A limit that no test counts.
_OTHER = FixedWindow(1, 60)


async def charged(guard: GuardedStore) -> None:
    """Wait until a worker has charged what it owes."""
    while (task := guard._payer._task) is not None:
        await asyncio.wait([task])
