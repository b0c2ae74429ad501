"""The life of a worker in a run: started, serving, perhaps killed, else closed."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from quart_ratelimit import FixedWindow, Hit, LimiterUnavailable, RateLimitExceeded, StoreError

from .clients import act
from .loop import SimulatedLoop
from .network import Network
from .plan import LIMITS, Action, WorkerPlan
from .site import Site, limit_of
from .world import World

if TYPE_CHECKING:
    from .oracle import Oracle


#: Callers of a crowd, and what a plain rule charges for each.
CROWD = 12
RULE = Hit(FixedWindow(100_000, 3600, aligned=True), "{crowd}|rule")


class Worker:
    """One process: its event loop, its app, and the clients that it serves."""

    def __init__(
        self, world: World, network: Network, plan: WorkerPlan, site: Site, oracle: Oracle
    ) -> None:
        self.world = world
        self.name = plan.name
        self.plan = plan
        self.site = site
        self.oracle = oracle
        self.loop = SimulatedLoop(world, network, plan.name)
        self.loop.wall_skew = plan.skew_ms / 1000
        self.limiter: Any = site.limiter
        network.latency[plan.name] = plan.latency
        site.renew(plan)
        #: Clients that are being served, by their actions.
        self.serving: dict[asyncio.Task[None], Action] = {}
        self._life: asyncio.Task[None] | None = None
        self._may_end = asyncio.Event()
        self.error: BaseException | None = None

    def start(self) -> None:
        """Start the process."""
        self.world.tell(self.name, "starts")
        self._life = self.loop.create_task(self._live())

    def begin(self, action: Action) -> None:
        """A client begins."""
        if self.loop.is_dead or self._life is None:
            return
        leaves = "" if action.leaves is None else f", leaves after {action.leaves:.4g}"
        self.world.tell(
            self.name,
            f"action {action.number}: {action.kind} {action.limit!r} of {action.key[:20]!r}, cost "
            f"{action.cost}, {action.how}, takes {action.takes:.4g} s{leaves}",
        )
        task = self.loop.create_task(act(self, action))
        self.serving[task] = action
        task.add_done_callback(self._ended)
        if action.leaves is not None and action.kind not in ("request", "websocket"):
            self._cancel_after(task, action.leaves)

    def _cancel_after(self, task: asyncio.Task[None], leaves: float) -> None:
        if not isinstance(leaves, int):
            self.loop.call_later(leaves, task.cancel)
        elif leaves == 0:
            task.cancel()
        else:
            self.loop.call_soon(self._cancel_after, task, leaves - 1)

    def _ended(self, task: asyncio.Task[None]) -> None:
        action = self.serving.pop(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not _is_quarts(error):
            self.oracle.blame(f"action {action.number} ({action.kind}) raised {error!r}", error)

    @property
    def is_done(self) -> bool:
        """Whether the process has ended."""
        return self.loop.is_dead or (self._life is not None and self._life.done())

    @property
    def is_idle(self) -> bool:
        """Whether no client is being served."""
        return self.loop.is_dead or not self.serving

    def stop(self) -> None:
        """Have the process end in order."""
        self.loop.call_soon(self._may_end.set)

    def kill(self) -> None:
        """Kill the process."""
        self.world.tell(self.name, "is killed")
        self.loop.die()

    async def _live(self) -> None:
        try:
            await self.site.app.startup()
            await self._may_end.wait()
            await self.site.app.shutdown()
        except Exception as error:
            self.error = error

    def remains(self) -> list[str]:
        """What is left of a process that ended in order."""
        tasks = [task for task in asyncio.all_tasks(self.loop) if not task.done()]
        left = [f"task {task.get_coro()}" for task in tasks]
        left += [f"timer {timer}" for timer in self.loop.timers()]
        left += [f"connection to {one.connection.server.name}" for one in self.loop.transports]
        left += [f"complaint: {text}" for text in self.loop.complaints]
        if self.error is not None:
            left.append(f"error at start or end: {self.error!r}")
        return left

    def visit(self) -> None:
        """Somebody comes."""
        if not self.is_done and self._life is not None:
            self.loop.create_task(self.settle())

    def crowd(self) -> None:
        """A crowd comes at once."""
        for _ in range(CROWD):
            self.visit()

    def try_all(self, client: str) -> None:
        """One client tries every limit at once, and others with it."""
        for name in LIMITS:
            for key in (client, "other", "third"):
                self._spawn(self.limiter.hit(limit_of(name), key))

    def change_mind(self) -> None:
        """Somebody reserves, and fails."""
        self._spawn(self._fail())

    def _spawn(self, call: Any) -> None:
        if not self.is_done and self._life is not None:
            self.loop.create_task(_heard(call))

    async def _fail(self) -> None:
        async with self.limiter.reserve(limit_of("turning"), "changes", cost=1):
            raise StoreError("changed its mind")

    async def settle(self) -> None:
        """Charge something, so that what was kept for Redis' return is given back."""
        with contextlib.suppress(StoreError):
            await self.limiter.hit("100000/hour", "settle")
            await self.site.guard.hit([RULE])  # as a rule does


async def _heard(call: Any) -> None:
    with contextlib.suppress(StoreError, RateLimitExceeded, LimiterUnavailable):
        await call


def _is_quarts(error: BaseException) -> bool:
    """Whether Quart 0.23 lets the server know by it that the client had left."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return type(error).__name__ == "ClientDisconnectedError"
