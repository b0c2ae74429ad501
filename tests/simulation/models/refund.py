"""Charge, refund, reset and a refusal remembered: carried out and heard of in any order.

`GuardedStore` with its table of what is known runs on a store whose answers the model delays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterable, Sequence

from quart_ratelimit import Decision, FixedWindow, Hit
from quart_ratelimit.stores import GuardedStore, MemoryStore

from .explore import Explored, TinyLoop, explore

LIMIT = FixedWindow(1, 3600)
HIT = Hit(LIMIT, "ann", refundable=True)
#: Calls at most.
CALLS = 4


class DelayedStore(MemoryStore):
    """Carries a call out at one moment that the model chooses, and answers at another."""

    def __init__(self, loop: TinyLoop) -> None:
        super().__init__(now_ms=lambda: 1)
        self.loop = loop
        self.calls: list[tuple[str, Sequence[Hit], asyncio.Future[object]]] = []
        self.carried_out: list[tuple[object, asyncio.Future[object]]] = []

    async def hit(self, hits: Sequence[Hit]) -> list[Decision]:
        return await self._later("hit", hits)  # type: ignore[return-value]

    async def reset(self, hits: Sequence[Hit]) -> int:
        return await self._later("reset", hits)  # type: ignore[return-value]

    async def _later(self, name: str, hits: Sequence[Hit]) -> object:
        future: asyncio.Future[object] = self.loop.create_future()
        self.calls.append((name, hits, future))
        return await future

    def carry_out(self, number: int) -> None:
        name, hits, future = self.calls.pop(number)
        tables = self._tables
        answer: object = self.decide(hits, 1)
        if name == "reset":
            self._tables.clear()
            answer = 1
        assert tables is self._tables
        self.carried_out.append((answer, future))


class RefundMachine:
    """Hits, refunds of what was charged, and resets, through one worker."""

    def __init__(self) -> None:
        self.loop = TinyLoop()
        self.redis = DelayedStore(self.loop)
        self.guard = GuardedStore(self.redis, remember_ms=10_000, now_ms=lambda: 1)
        #: What was called, with the number of undone refusals at that time.
        self.tasks: list[tuple[str, asyncio.Task[object], int]] = []
        self.charged: list[Decision] = []
        #: How many refunds and resets the worker has heard the end of.
        self.undone = 0
        #: For each remembered refusal: how many had ended when it was asked for.
        self.stale = ""

    def choices(self) -> Iterable[str]:
        if len(self.tasks) < CALLS:
            yield "hit"
            yield "reset"
            if self.charged:
                yield "refund"
        for number in range(len(self.redis.calls)):
            yield f"carry out {number}"
        for number in range(len(self.redis.carried_out)):
            yield f"tell {number}"

    def do(self, choice: str) -> None:
        if choice == "hit":
            self._start("hit", self.guard.hit([HIT]))
        elif choice == "reset":
            self._start("reset", self.guard.reset([HIT]))
        elif choice == "refund":
            self.charged.pop()
            self._start("refund", self.guard.hit([HIT._replace(cost=-1, at_ms=1)]))
        elif choice.startswith("carry out"):
            self.redis.carry_out(int(choice.rpartition(" ")[2]))
        else:
            answer, future = self.redis.carried_out.pop(int(choice.rpartition(" ")[2]))
            self.loop.run(future.set_result, answer)

    def _start(self, name: str, call: object) -> None:
        began = self.undone

        async def run() -> object:
            result = await call  # type: ignore[misc]
            if name != "hit":
                self.undone += 1
                return result
            (decision,) = result
            if decision.by == "memory":
                self._check_memory()
            elif decision.allowed:
                self.charged.append(decision)
            else:
                self._refused_at = max(getattr(self, "_refused_at", -1), began)
            return result

        self.loop.run(lambda: self.tasks.append((name, self.loop.create_task(run()), began)))

    def _check_memory(self) -> None:
        if getattr(self, "_refused_at", -1) < self.undone:
            self.stale = "a refusal is repeated that was asked for before a refund or a reset"

    def state(self) -> Hashable:
        calls = tuple((name, hits[0].cost) for name, hits, _ in self.redis.calls)
        answers = tuple(_text(answer) for answer, _ in self.redis.carried_out)
        tasks = tuple((name, task.done(), self.undone - began) for name, task, began in self.tasks)
        known = (
            str(self.guard._known._words.get(f"{LIMIT.counter}\nann")),
            self.guard._known.refusal([HIT]) is not None,
            [self.guard._known.generation - n for n in self.guard._known._invalidated.values()]
            == [0],
        )
        return (calls, answers, tasks, known, self._left(), len(self.charged))

    def _left(self) -> int:
        return self.redis.decide([HIT._replace(cost=0)], 1)[0].remaining

    def wrong(self) -> str | None:
        if self.stale:
            return self.stale
        for _, task, _ in self.tasks:
            if task.done() and task.exception():
                return repr(task.exception())
        return self.loop.complaints[0] if self.loop.complaints else None

    def close(self) -> None:
        self.loop.forget()


def _text(answer: object) -> object:
    return answer[0][:4] if isinstance(answer, list) else answer


def model() -> Explored:
    """Explore it."""
    return explore(RefundMachine, depth=10)
