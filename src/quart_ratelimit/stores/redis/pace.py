"""When a batch leaves: at once if the event loop has nothing else to do, else a little later."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Sized

#: Seconds that a few items may wait for more items while the event loop has other work to do. A
#: send costs the event loop as much as ten items do.
WINDOW = 0.002


class Pace:
    """Calls ``launch`` once for all requests, as soon as waiting would gain nothing.

    It is in one of two states. At rest, `launch_soon` calls ``launch`` at once if the event loop
    has nothing else to run, so a single caller never waits. Otherwise the callbacks that are to
    run may bring more items, so it becomes *waiting*: it goes to the end of the event loop's
    queue, again and again, until one of four things is so: the queue holds only waiting paces
    (which would wait for each other until the window is over), ``may_wait`` says that enough
    items came, ``window`` seconds have passed, or `launched` says that the items left in another
    way. Then it is at rest again. asyncio's own loop shows its queue as ``_ready``; behind another
    loop (uvloop) the queue is unknown, so all items of this iteration leave together.
    """

    def __init__(self, launch: Callable[[], None], *, may_wait: Callable[[], bool]) -> None:
        self._launch = launch
        self._may_wait = may_wait
        #: Seconds.
        self.window = WINDOW
        self._waits = False
        self._launch_by = 0.0

    def launch_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        """Launch now or after the callbacks that are to run."""
        ready: Sized | None = getattr(loop, "_ready", None)
        if ready is not None and not ready:
            self._launch()
        elif not self._waits:
            self._waits = True
            if ready is None:
                loop.call_soon(self._launch)
                return
            self._launch_by = loop.time() + self.window
            _waiting.enter(loop)
            loop.call_soon(self._launch_when_idle, loop, ready)

    def launched(self) -> None:
        """All items have left: there is nothing to wait for."""
        self._waits = False

    def _launch_when_idle(self, loop: asyncio.AbstractEventLoop, ready: Sized) -> None:
        is_busy = len(ready) >= _waiting.count
        if is_busy and self._waits and self._may_wait() and loop.time() < self._launch_by:
            loop.call_soon(self._launch_when_idle, loop, ready)
            return
        _waiting.leave()
        if self._waits:
            self._launch()


class _Waiting(threading.local):
    """How many paces wait in the event loop that this thread runs."""

    count = 0
    _loop: Callable[[], object] = staticmethod(lambda: None)

    def enter(self, loop: asyncio.AbstractEventLoop) -> None:
        """One more. A loop that ended while paces waited in it leaves none to the next loop."""
        if self._loop() is not loop:
            self._loop, self.count = weakref.ref(loop), 0
        self.count += 1

    def leave(self) -> None:
        """One less."""
        self.count = max(0, self.count - 1)


_waiting = _Waiting()
