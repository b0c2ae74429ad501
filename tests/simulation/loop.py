"""An event loop without a selector: one per worker, driven by the world's virtual clock.

What asyncio promises is kept: callbacks run in the order of ``call_soon``, an iteration runs what
was ready at its start, readable sockets come before due timers. What it leaves open is drawn from
the seed: how long an iteration takes, when the system wakes the loop for a timer, in which order
sockets become readable and timers of the same moment run, and how loops of several workers
interleave.
"""

from __future__ import annotations

import asyncio
import heapq
from asyncio import events
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .world import Event, World

if TYPE_CHECKING:
    from .network import Network
    from .transport import ClientTransport

#: Seconds that an iteration takes: at least, and the mean of what comes on top.
SHORTEST, MEAN = 0.00002, 0.00008
#: Seconds by which a timer may come late.
LATE = 0.0011


class SimulatedLoop(asyncio.BaseEventLoop):
    """One worker's event loop."""

    #: The loop that runs now, whose clocks `time.time` and its like tell.
    running: SimulatedLoop | None = None

    def __init__(self, world: World, network: Network, name: str) -> None:
        super().__init__()
        self.world = world
        self.network = network
        self.name = name
        self.random = world.stream(f"loop {name}")
        #: What this machine's monotonic clock and its wall clock say more than the world's.
        self.monotonic_offset = self.random.uniform(0, 1e5)
        self.wall_skew = 0.0
        #: Until when the worker's only thread is busy.
        self.busy_until = 0.0
        #: Seconds for which it has stood still, in all.
        self.stalled = 0.0
        self.is_dead = False
        self.transports: set[ClientTransport] = set()
        self._readable: dict[ClientTransport, None] = {}
        self._wake_at = float("inf")
        self._waking: Event | None = None
        #: Threads of the executor that are at work.
        self.threads = 0
        #: What asyncio would have logged.
        self.complaints: list[str] = []

    # What asyncio calls.

    def time(self) -> float:
        return self.world.now + self.monotonic_offset

    def wall(self) -> float:
        """This machine's wall clock, in seconds since the epoch."""
        from .world import EPOCH

        return EPOCH + self.world.now + self.wall_skew

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:
        handle = super().call_soon(callback, *args, context=context)
        self._wake(self.busy_until)
        return handle

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
        timer = super().call_at(when, callback, *args, context=context)
        self._wake(when - self.monotonic_offset + self._lateness())
        return timer

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Any = None) -> Any:
        return self.call_soon(callback, *args, context=context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self.is_dead:
            error = context.get("exception")
            self.complaints.append(f"{context.get('message')}: {error!r}")

    async def create_connection(  # type: ignore[override]
        self, protocol_factory: Callable[[], Any], host: str, port: int, **_: Any
    ) -> tuple[Any, Any]:
        transport = await self.network.connect(self, host, port)
        protocol = protocol_factory()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        return transport, protocol

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        """A thread: it runs at a moment that is drawn, without a running loop."""
        future = self.create_future()
        self.threads += 1

        def run() -> None:
            self.threads -= 1
            if self.is_dead:
                return
            before, SimulatedLoop.running = SimulatedLoop.running, self
            try:
                result = func(*args)
            except Exception as error:
                self.call_soon_threadsafe(_set_unless_done, future.set_exception, future, error)
            else:
                self.call_soon_threadsafe(_set_unless_done, future.set_result, future, result)
            finally:
                SimulatedLoop.running = before

        self.world.after(self.random.expovariate(1 / 0.003), run)
        return future

    def __del__(self) -> None:
        pass  # it holds nothing of the system, so it need not be closed

    def is_running(self) -> bool:
        return SimulatedLoop.running is self

    def _check_thread(self) -> None:
        pass

    # What the world and the network call.

    def readable(self, transport: ClientTransport) -> None:
        """There is something to read from this transport."""
        if not self.is_dead:
            self._readable[transport] = None
            self._wake(self.busy_until)

    def stall(self, seconds: float) -> None:
        """The worker gets no processor, or a callback blocks it, for so long."""
        start = max(self.busy_until, self.world.now)
        self.busy_until = start + seconds
        self.stalled += seconds
        self._wake(self.busy_until, again=True)

    def die(self) -> None:
        """The process is killed: nothing of it runs any more, and its sockets are closed."""
        self.is_dead = True
        if self._waking:
            self._waking.is_cancelled = True
        for transport in list(self.transports):
            transport.connection.client_died()
        self._ready.clear()  # type: ignore[attr-defined]
        self._scheduled.clear()  # type: ignore[attr-defined]

    def timers(self) -> list[str]:
        """The timers that are set, for the check that none is left."""
        timers = self._scheduled  # type: ignore[attr-defined]
        return [repr(timer) for timer in timers if not timer.cancelled()]

    def _lateness(self) -> float:
        return self.random.random() * LATE

    def _wake(self, moment: float, *, again: bool = False) -> None:
        moment = max(moment, self.busy_until, self.world.now)
        if self.is_dead or (moment >= self._wake_at and not again):
            return
        if self._waking:
            self._waking.is_cancelled = True
        self._wake_at = moment
        self._waking = self.world.at(moment, self._iterate)

    def _iterate(self) -> None:
        """What `BaseEventLoop._run_once` does."""
        self._wake_at, self._waking = float("inf"), None
        if self.world.now < self.busy_until:
            self._wake(self.busy_until)
            return
        ready: Any = self._ready  # type: ignore[attr-defined]
        if self._readable:
            transports = list(self._readable)
            self._readable.clear()
            if len(transports) > 1:
                self.random.shuffle(transports)
            for transport in transports:
                ready.append(asyncio.Handle(transport.read_ready, (), self))
        self._add_due_timers(ready)
        before, SimulatedLoop.running = SimulatedLoop.running, self
        events._set_running_loop(self)
        try:
            for _ in range(len(ready)):
                handle = ready.popleft()
                if not handle._cancelled:
                    handle._run()
        finally:
            events._set_running_loop(None)
            SimulatedLoop.running = before
        took = SHORTEST + self.random.expovariate(1 / MEAN)
        self.busy_until = max(self.busy_until, self.world.now + took)
        self._wake_next(ready)

    def _wake_next(self, ready: Any) -> None:
        if ready or self._readable:
            self._wake(self.busy_until)
            return
        timers: Any = self._scheduled  # type: ignore[attr-defined]
        while timers and timers[0].cancelled():
            heapq.heappop(timers)._scheduled = False
        if timers:
            self._wake(timers[0].when() - self.monotonic_offset + self._lateness())

    def _add_due_timers(self, ready: Any) -> None:
        timers: Any = self._scheduled  # type: ignore[attr-defined]
        due: list[tuple[float, float, Any]] = []
        now = self.time() + 1e-9
        while timers and timers[0].when() <= now:
            timer = heapq.heappop(timers)
            timer._scheduled = False
            if not timer.cancelled():
                due.append((timer.when(), self.random.random(), timer))
        due.sort(key=lambda entry: entry[:2])
        ready.extend(timer for _, _, timer in due)


def _set_unless_done(setter: Callable[[Any], None], future: Any, value: Any) -> None:
    if not future.done():
        setter(value)
