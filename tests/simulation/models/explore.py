"""Explores every order of steps of a small machine, breadth first, and says how many states.

A machine runs the package's own classes, which cannot be copied, so each order is played again from
the start; orders that lead to a state that was seen are not followed further.
"""

from __future__ import annotations

import asyncio
import heapq
import warnings
from asyncio import events
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

#: Callbacks after which a loop counts as endless.
ENDLESS = 5_000


class Machine(Protocol):
    """Something whose steps are chosen one by one."""

    def choices(self) -> Iterable[str]:
        """The steps that can be next."""

    def do(self, choice: str) -> None:
        """Take a step, and let the event loop come to rest."""

    def state(self) -> Hashable:
        """What the steps that follow depend on."""

    def wrong(self) -> str | None:
        """What must not be so in this state."""

    def close(self) -> None:
        """Forget what is left of the machine."""


@dataclass
class Explored:
    """What was seen of a model."""

    states: int = 0
    steps: int = 0
    violations: list[str] = field(default_factory=list)
    #: The worst that was seen, for models that derive a bound.
    worst: int = 0


def explore(make: Callable[[], Machine], *, depth: int) -> Explored:
    """Every state within so many steps; for a wrong one, the shortest order that leads to it."""
    found = Explored()
    seen: set[Hashable] = set()
    queue: deque[tuple[str, ...]] = deque([()])
    while queue:
        way = queue.popleft()
        machine = make()
        for choice in way:
            machine.do(choice)
        found.steps += len(way) > 0
        state = machine.state()
        if state not in seen:
            seen.add(state)
            found.states += 1
            found.worst = max(found.worst, getattr(machine, "worst", 0))
            choices = list(machine.choices())  # `wrong` may look ahead
            what = machine.wrong()
            if what is not None:
                found.violations.append(f"{what}: {' → '.join(way)}")
                machine.close()
                return found
            if len(way) < depth:
                queue.extend((*way, choice) for choice in choices)
        machine.close()
    return found


class TinyLoop(asyncio.BaseEventLoop):
    """An event loop whose time is a number that a model turns."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.complaints: list[str] = []

    def time(self) -> float:
        return self.now

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.complaints.append(str(context.get("message")))

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Any = None) -> Any:
        return self.call_soon(callback, *args, context=context)

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function as in the loop, then let the loop come to rest."""
        events._set_running_loop(self)
        try:
            result = function(*args)
            self._drain()
            return result
        finally:
            events._set_running_loop(None)

    def advance(self, seconds: float) -> None:
        """Let time pass, and run the timers that are due, in order."""
        end = self.now + seconds
        timers: Any = self._scheduled  # type: ignore[attr-defined]
        while timers and timers[0].when() <= end + 1e-9:
            timer = heapq.heappop(timers)
            timer._scheduled = False
            self.now = max(self.now, timer.when())
            if not timer.cancelled():
                self.run(timer._run)
        self.now = end

    def timers(self) -> int:
        """How many timers are set."""
        return sum(not timer.cancelled() for timer in self._scheduled)  # type: ignore[attr-defined]

    def _drain(self) -> None:
        ready: Any = self._ready  # type: ignore[attr-defined]
        for _ in range(ENDLESS):
            if not ready:
                return
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()
        raise AssertionError("the loop does not come to rest")

    def forget(self) -> None:
        """Throw away what is left."""
        self.call_exception_handler = lambda context: None  # type: ignore[method-assign]
        for task in asyncio.all_tasks(self):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            # Collected later, its last lines would start tasks in another machine's loop.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with suppress(RuntimeError):
                    task.get_coro().close()  # type: ignore[union-attr]

    def __del__(self) -> None:
        pass
