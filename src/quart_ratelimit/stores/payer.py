"""Charges in the store what a worker admitted while the store was away, once it is back.

Each charge is sent at most once, in pieces that stop neither the event loop nor the store. Where a
charge's reply is lost, the worker goes on as if it had been carried out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from ..errors import StoreError
from ..quotas import Hit
from .knowledge import Knowledge
from .standin import Owed

#: Keys whose charges are sent together, and seconds between two pieces.
PIECE = 20
PAUSE = 0.004
#: Seconds between two looks whether the store is back, while no request says so.
PROBE = 1.0
#: Seconds that a worker which ends goes on charging, if the store is back.
LAST = 1.0

Call = Callable[[Sequence[Hit]], Awaitable[object]]


class Payer:
    """The charges that one worker owes; ``call`` sends hits to the store. Raises nothing."""

    def __init__(self, known: Knowledge, call: Call) -> None:
        self._known = known
        self._call = call
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        #: Whether the store is back, and not all is charged yet.
        self.is_paying: bool = False
        #: Pieces whose charges are under way, and what to call as each ends.
        self._pieces: dict[asyncio.Future[None], list[Callable[[], None]]] = {}

    async def pieces_end(self, then: Callable[[], None]) -> None:
        """Wait for the charges that are under way now, for a deadline at most.

        ``then`` is called as each ends, before another charge can begin.
        """
        if self._pieces:
            for calls in self._pieces.values():
                calls.append(then)
            await asyncio.wait(self._pieces)

    def watch(self) -> None:
        """Something is owed: see to it that it is charged, also without further requests."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._timer, self._task = loop, None, None
        if self._timer is None and self._task is None:
            self._timer = loop.call_later(PROBE, self._probe)

    def start(self) -> None:
        """The store has decided: charge what is owed."""
        if self._loop is asyncio.get_running_loop() and self._task is None:
            self._run(self._pay_all)

    async def pay_first(self, hits: Sequence[Hit]) -> None:
        """Charge what these hits' own keys owe, so that the hits are decided after it."""
        owed = [
            self._known.take_one(hit)
            for hit in {(hit.quota.counter, hit.key): hit for hit in hits}.values()
            if self._known.stand_in.counts(hit)
        ]
        if owed:
            await self._pay(owed)

    async def aclose(self) -> None:
        """Charge for a second at most: a worker that ends loses what it still owes then."""
        timer, task, self._timer, self._task = self._timer, self._task, None, None
        if self._loop is not asyncio.get_running_loop():
            return
        if timer is not None:
            timer.cancel()
        if task is not None:
            if self.is_paying:
                await asyncio.wait([task], timeout=LAST)
            task.cancel()
            await asyncio.wait([task])

    def _probe(self) -> None:
        self._timer = None
        if self._task is None and len(self._known.stand_in):
            self._run(self._pay_after_look)

    def _run(self, work: Callable[[], Awaitable[bool]]) -> None:
        async def run() -> None:
            done = True  # a worker that is closed, which cancels this, watches no longer
            try:
                done = await work()
            finally:
                self._task = None
                if not done:
                    self.watch()

        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._task = asyncio.get_running_loop().create_task(run())

    async def _pay_after_look(self) -> bool:
        look = self._known.stand_in.look()
        try:
            await self._call([look])
        except StoreError:
            return False
        return await self._pay_all()

    async def _pay_all(self) -> bool:
        """Whether all is charged; False: the store is away again."""
        self.is_paying = True
        try:
            while len(self._known.stand_in):
                if not await self._pay(self._known.take_owed(PIECE)):
                    return False
                await asyncio.sleep(PAUSE)
        finally:
            self.is_paying = False
        return True

    async def _pay(self, piece: Sequence[Owed]) -> bool:
        """Send these charges, each at most once; whether the store decided on all."""
        sent = [(owed, self._call([hit])) for owed in piece for hit in owed.hits]
        ended = asyncio.get_running_loop().create_future()
        self._pieces[ended] = []
        try:
            results = await asyncio.gather(*[call for _, call in sent], return_exceptions=True)
            return self._all_decided(sent, results)
        finally:
            for then in self._pieces.pop(ended):
                then()
            ended.set_result(None)

    def _all_decided(
        self,
        sent: Sequence[tuple[Owed, Awaitable[object]]],
        results: Sequence[object],
    ) -> bool:
        """Put back what was not sent; whether all was decided."""
        failed = [
            (owed, result)
            for (owed, _), result in zip(sent, results, strict=True)
            if isinstance(result, BaseException)
        ]
        for owed, error in failed:
            if isinstance(error, StoreError) and not error.was_sent:
                self._known.put_back(owed)
        return not failed
