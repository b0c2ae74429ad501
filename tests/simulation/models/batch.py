"""A batch: items that join, callers that leave, sends that end, fail or hang, ticks that pass."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterable

from quart_ratelimit.stores.redis import batcher
from quart_ratelimit.stores.redis.batcher import Batcher, DeadlinePassed

from .explore import Explored, TinyLoop, explore

#: Items at most, and ticks of a deadline: three are as good as twenty.
ITEMS, TICKS = 4, 3


class BatchMachine:
    """`Batcher` with items that are numbers; the answer to a number is its hundredfold."""

    def __init__(self) -> None:
        self.loop = TinyLoop()
        self.sends: list[tuple[list[int], asyncio.Future[list[int | Exception]]]] = []
        self.callers: list[asyncio.Future[int]] = []
        self.born: list[int] = []
        self.left: dict[int, int] = {}
        self.ticks = 0
        self.batcher: Batcher[int, int] = Batcher(
            self._send, deadline=TICKS * 1.0, in_flight=2, size=2, share=2
        )

    def _send(self, items: list[int]) -> asyncio.Future[list[int | Exception]]:
        future: asyncio.Future[list[int | Exception]] = self.loop.create_future()
        self.sends.append((list(items), future))
        return future

    def choices(self) -> Iterable[str]:
        if len(self.callers) < ITEMS:
            yield "join"
        for number, caller in enumerate(self.callers):
            if not caller.done():
                yield f"leave {number}"
        for number, (_, future) in enumerate(self.sends):
            if not future.done():
                yield f"answer {number}"
                yield f"fail {number}"
        if self.loop.timers():
            yield "tick"

    def do(self, choice: str) -> None:
        name, _, number = choice.partition(" ")
        if name == "join":
            self.loop.run(lambda: self.callers.append(self.batcher.join(len(self.callers))))
            self.born.append(self.ticks)
        elif name == "leave":
            self.left[int(number)] = len(self.sends)
            self.loop.run(self.callers[int(number)].cancel)
        elif name == "answer":
            items, future = self.sends[int(number)]
            self.loop.run(future.set_result, [item * 100 for item in items])
        elif name == "fail":
            self.loop.run(self.sends[int(number)][1].set_exception, ValueError())
        else:
            self.ticks += 1
            self.loop.advance(1.0)

    def state(self) -> Hashable:
        told = tuple(_told(caller) for caller in self.callers)
        ages = tuple(
            min(self.ticks - born, TICKS + 2) if not caller.done() else -1
            for born, caller in zip(self.born, self.callers, strict=True)
        )
        sends = tuple((tuple(items), future.done()) for items, future in self.sends)
        waiting = tuple(
            (self.batcher._ticks - batch.born, tuple(batch.items))
            for batch in self.batcher._waiting
        )
        sent = tuple(sorted(self.batcher._ticks - batch.born for batch in self.batcher._sent))
        return (told, ages, sends, waiting, sent, self.loop.timers())

    def wrong(self) -> str | None:
        sent = [item for items, _ in self.sends for item in items]
        if len(sent) != len(set(sent)):
            return "an item was sent twice"
        for number, caller in enumerate(self.callers):
            told = _told(caller)
            if isinstance(told, int) and told != number * 100:
                return f"caller {number} got {told}"
            if told is None and self.ticks - self.born[number] > TICKS + 1:
                return f"caller {number} waits past its deadline"
            if number in self.left and number in [
                item for items, _ in self.sends[self.left[number] :] for item in items
            ]:
                return f"item {number} was sent after its caller had left"
        if sum(not future.done() for _, future in self.sends) > 2:
            return "more sends are under way than may be"
        if self.batcher.idle and self.loop.timers() > 1:
            return "a timer is left"
        return self.loop.complaints[0] if self.loop.complaints else None

    def close(self) -> None:
        self.loop.forget()


def _told(caller: asyncio.Future[int]) -> object:
    if not caller.done():
        return None
    if caller.cancelled():
        return "left"
    error = caller.exception()
    return caller.result() if error is None else type(error).__name__


def model() -> Explored:
    """Explore it."""
    ticks, batcher.TICKS = batcher.TICKS, TICKS
    try:
        return explore(BatchMachine, depth=9)
    finally:
        batcher.TICKS = ticks


__all__ = ["DeadlinePassed", "model"]
