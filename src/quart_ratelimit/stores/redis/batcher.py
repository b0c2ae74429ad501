"""Gathers the items that arrive while a send is under way into the next send.

A single caller is sent immediately, as in Bucket4j's ``AsyncBatchHelper`` and rueidis, so batching
never adds latency to an idle process. Items and sends may be anything.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from operator import methodcaller
from typing import Generic, TypeVar

from . import pace

T = TypeVar("T")
R = TypeVar("R")

#: Deadlines are counted in ticks of at least one event loop iteration. Even a busy loop therefore
#: gets as many chances to read a reply that has already arrived, and does not mistake its own
#: slowness for the server's.
TICKS = 20
#: Ticks that a batch waits behind others before it is sent on another connection.
OVERTAKES = 2

#: Items that a batch has at most. With more of them the first callers have left the processor's
#: caches by the time that they are answered.
SIZE = 128

#: Whether a caller was cancelled.
_has_left = methodcaller("done")


#: What makes the error of a batch that is too late.
Late = Callable[["asyncio.Task[None] | None"], Exception]


class DeadlinePassed(Exception):
    """No answer within the deadline. What was sent may still be carried out."""


class QueueFull(Exception):
    """Too many wait already; nothing was sent."""


class _Batch(Generic[T, R]):
    """Callers that share one send, and one deadline: the first caller's."""

    __slots__ = ("born", "callers", "items", "task")

    def __init__(self, born: int) -> None:
        #: How many ticks there had been.
        self.born = born
        self.items: list[T] = []
        self.callers: list[asyncio.Future[R]] = []
        self.task: asyncio.Task[None] | None = None

    def split(self, count: int) -> _Batch[T, R]:
        """Move the first ``count`` callers to another batch."""
        first: _Batch[T, R] = _Batch(self.born)
        first.items, self.items = self.items[:count], self.items[count:]
        first.callers, self.callers = self.callers[:count], self.callers[count:]
        return first

    def forget_those_who_left(self) -> None:
        pairs = zip(self.items, self.callers, strict=True)
        stay = [(item, caller) for item, caller in pairs if not caller.done()]
        self.items = [item for item, _ in stay]
        self.callers = [caller for _, caller in stay]

    def fail(self, error: Exception) -> None:
        for caller in self.callers:
            if not caller.done():
                caller.set_exception(copy_of(error))


def copy_of(error: Exception) -> Exception:
    """One instance per caller: each raise would lengthen the traceback of a shared one.

    The constructor is not called: some take other arguments than they keep, and a caller whose
    error cannot be made would wait for good.
    """
    kind = type(error)
    try:
        copied: Exception = kind.__new__(kind, *error.args)
    except Exception:
        return error
    copied.__dict__.update(error.__dict__)
    copied.__cause__, copied.__context__ = error.__cause__, error.__context__
    return copied


class Batcher(Generic[T, R]):
    """Sends items in batches, at most ``in_flight`` at a time, each within ``deadline`` seconds.

    While one is under way a few items wait for its end, and are sent in parallel when it takes
    longer than a tenth of the deadline. ``share`` items are worth a send of their own: the
    server works on it while this process prepares another. ``send`` may write as soon as it is
    called, so that the server works while the rest is prepared; what it returns is awaited for the
    answers, in order, an exception for an item that failed alone. ``late`` and ``full`` make the
    errors that callers get instead of `DeadlinePassed` and `QueueFull`; ``late`` is given the
    task that awaits ``send``, or None if it was not called. Belongs to the event loop that it is
    first used in.
    """

    def __init__(
        self,
        send: Callable[[list[T]], Awaitable[Sequence[R | Exception]]],
        *,
        deadline: float,
        in_flight: int = 4,
        size: int = SIZE,
        share: int | None = None,
        waiting: int = 20_000,
        late: Late = lambda _: DeadlinePassed(),
        full: Callable[[], Exception] = QueueFull,
    ) -> None:
        self._send = send
        self._ticks = 0
        self._ticker: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._in_flight = in_flight
        self._size = size
        self._share = size if share is None else share
        self._max_waiting = waiting // size
        self._late = late
        self._full = full
        self._waiting: deque[_Batch[T, R]] = deque()
        self._sent: set[_Batch[T, R]] = set()
        self._pace = pace.Pace(self._launch, may_wait=self._has_few)
        self.set_deadline(deadline)

    def set_deadline(self, deadline: float) -> None:
        """How many seconds one item may take, also those that wait already."""
        self._tick_length = deadline / TICKS
        self._pace.window = min(pace.WINDOW, self._tick_length)

    def join(self, item: T) -> asyncio.Future[R]:
        """The answer to this item. Cancel it to leave: the batch and its neighbours are unharmed.

        Raises `DeadlinePassed`, `QueueFull` at once, or what ``send`` raised.
        """
        loop = asyncio.get_running_loop()
        caller: asyncio.Future[R] = loop.create_future()
        waiting, sent = self._waiting, len(self._sent)
        if not waiting or len(waiting[-1].items) >= self._size:
            if len(waiting) > self._max_waiting:
                raise self._full()
            waiting.append(_Batch(self._ticks))
            if self._ticker is None:
                self._await_tick(loop, loop.time())
        batch = waiting[-1]
        batch.items.append(item)
        batch.callers.append(caller)
        if not sent or (len(batch.items) == self._share and sent < self._in_flight):
            self._pace.launch_soon(loop)
        return caller

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is under way."""
        return not self._waiting and not self._sent

    async def aclose(self) -> None:
        """Wait for what was sent; it is bounded by the deadline."""
        while self._waiting or self._sent:
            tasks = [batch.task for batch in self._sent if batch.task]
            if tasks:
                await asyncio.wait(tasks)
            await asyncio.sleep(0)

    def _has_few(self) -> bool:
        """Whether less than a share waits, and nothing is under way."""
        few = len(self._waiting) == 1 and len(self._waiting[0].items) < self._share
        return few and not self._sent

    def _launch(self) -> None:
        """Send what waits, in as many shares as may be; less than one waits for a send to end."""
        self._pace.launched()
        while self._waiting and (free := self._in_flight - len(self._sent)) > 0:
            batch = self._waiting[0]
            count = len(batch.items)
            if self._sent and count < self._share:
                return
            parts = free if len(self._waiting) == 1 else 1
            share = max(self._share, -(-count // parts))
            self._start(batch.split(share) if share < count else self._waiting.popleft())

    def _tick(self) -> None:
        """Give up what is past its deadline, and send on what waits behind a slow send."""
        self._ticks += 1
        for batch in [*self._sent, *self._waiting]:
            if self._ticks - batch.born > TICKS:
                self._expire(batch)
        may_send = len(self._sent) < self._in_flight
        if may_send and self._waiting and self._ticks - self._waiting[0].born > OVERTAKES:
            self._start(self._waiting.popleft())
        self._ticker = None
        if self._sent or self._waiting:
            loop = asyncio.get_running_loop()
            # A little late, as timers are, it catches up; by a tick or more, the loop was busy.
            late = loop.time() - self._due
            self._await_tick(loop, self._due if late < self._tick_length else loop.time())

    def _await_tick(self, loop: asyncio.AbstractEventLoop, since: float) -> None:
        self._due = since + self._tick_length
        self._ticker = loop.call_at(self._due, self._tick)

    def _start(self, batch: _Batch[T, R]) -> None:
        if any(map(_has_left, batch.callers)):
            batch.forget_those_who_left()
            if not batch.items:
                return
        try:
            answers = self._send(batch.items)
        except Exception as error:
            batch.fail(error)
            return
        self._sent.add(batch)
        batch.task = asyncio.get_running_loop().create_task(self._run(batch, answers))

    async def _run(self, batch: _Batch[T, R], answers: Awaitable[Sequence[R | Exception]]) -> None:
        try:
            try:
                answered = await answers
            finally:
                self._sent.discard(batch)
                if self._has_few():
                    self._pace.launch_soon(asyncio.get_running_loop())
                elif self._waiting:
                    self._launch()  # the server's next work first, then these callers'
            self._answer(batch.callers, answered)
        except asyncio.CancelledError:
            batch.fail(self._late(batch.task))
            raise
        except Exception as error:
            batch.fail(error)

    @staticmethod
    def _answer(callers: list[asyncio.Future[R]], answers: Sequence[R | Exception]) -> None:
        for caller, answer in zip(callers, answers, strict=True):
            if caller.done():
                continue
            if isinstance(answer, Exception):
                caller.set_exception(answer)
            else:
                caller.set_result(answer)

    def _expire(self, batch: _Batch[T, R]) -> None:
        batch.fail(self._late(batch.task))
        if batch.task:
            # Not before its first step: it would leave its place, and what it holds, without an
            # owner.
            asyncio.get_running_loop().call_soon(batch.task.cancel)
        elif batch in self._waiting:
            self._waiting.remove(batch)


async def within(deadline: float, call: Awaitable[R]) -> R:
    """The call's result, if it comes within this many seconds. Raises `DeadlinePassed`."""
    # Not `asyncio.timeout`: on Python 3.11 redis-py can swallow the cancellation it relies on.
    task = asyncio.ensure_future(call)
    try:
        for _ in range(TICKS):
            await asyncio.wait({task}, timeout=deadline / TICKS)
            if task.done():
                return task.result()
    except asyncio.CancelledError:
        task.cancel()
        raise
    task.cancel()
    raise DeadlinePassed
