"""What of Python and of the package a run replaces: clocks, randomness, polls, and hooks to see.

Nothing of the package's own behaviour is replaced, but for sets whose order would depend on
addresses in memory: they keep the order of insertion, which is one of the orders that may be.
"""

from __future__ import annotations

import contextlib
import random
import secrets
import time
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any
from unittest import mock

from quart_ratelimit import Decision, Hit, StoreError
from quart_ratelimit.direct import ledger
from quart_ratelimit.stores import Fleet, GuardedStore
from quart_ratelimit.stores.guard import LocalSide
from quart_ratelimit.stores.redis import batcher, cluster_link, connections, wire

from .loop import SimulatedLoop
from .oracle import Oracle
from .transport import Poll
from .worker import Worker
from .world import EPOCH, World


class OrderedSet(dict[Any, None]):
    """A set that keeps the order of insertion."""

    def __init__(self, items: Any = ()) -> None:
        super().__init__(dict.fromkeys(items))

    def add(self, item: Any) -> None:
        self[item] = None

    def discard(self, item: Any) -> None:
        self.pop(item, None)

    def remove(self, item: Any) -> None:
        del self[item]


#: Modules whose sets hold things that have no order but their address.
_WITH_SETS = (batcher, connections, cluster_link, ledger)


@contextlib.contextmanager
def applied(world: World, oracle: Oracle, workers: dict[str, Worker]) -> Iterator[None]:
    """Within this block the package lives in the simulated world."""
    bytes_of = random.Random(f"{world.seed}:tokens")

    def monotonic() -> float:
        loop = SimulatedLoop.running
        return world.now if loop is None else loop.time()

    def wall() -> float:
        loop = SimulatedLoop.running
        return EPOCH + world.now if loop is None else loop.wall()

    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        enter(mock.patch.object(time, "monotonic", monotonic))
        enter(mock.patch.object(time, "time", wall))
        enter(mock.patch.object(time, "perf_counter", monotonic))
        enter(mock.patch.object(secrets, "token_bytes", lambda n=32: bytes_of.randbytes(n)))
        # Without the number of the process, which no seed draws.
        enter(mock.patch.object(Fleet, "name", property(lambda fleet: fleet._token)))
        poll = SimpleNamespace(poll=Poll, POLLIN=1)
        enter(mock.patch.object(wire, "select", poll))
        for module in _WITH_SETS:
            enter(mock.patch.object(module, "set", OrderedSet, create=True))
        _watch_guards(stack, oracle, workers)
        yield


def _watch_guards(stack: contextlib.ExitStack, oracle: Oracle, workers: dict[str, Worker]) -> None:
    # A reset goes on when its caller has left.
    hit, reset, clear = GuardedStore.hit, GuardedStore._reset, GuardedStore._clear
    asked = GuardedStore._call

    def current() -> Worker:
        loop = SimulatedLoop.running
        assert loop is not None
        return workers[loop.name]

    def watched_hit(self: GuardedStore, hits: Sequence[Hit]) -> Any:
        worker = current()
        call = oracle.called(worker, hits)

        async def watched() -> list[Decision]:
            try:
                decisions = await hit(self, hits)
            except BaseException as error:
                if not worker.loop.is_dead:
                    oracle.failed(worker, call, error)
                raise
            oracle.answered(worker, call, decisions)
            return decisions

        return watched()

    def watched_call(self: GuardedStore, hits: Sequence[Hit]) -> Any:
        worker, began, decided = current(), oracle.world.now, asked(self, hits)

        async def watched() -> list[Decision]:
            try:
                decisions = await decided
            except StoreError as error:
                oracle.untold(worker, hits, was_sent=error.was_sent)
                raise
            else:
                oracle.told(worker, began, hits, decisions)
            finally:
                if hits[0].late:
                    oracle.records.late.append((worker.name, began, oracle.world.now))
            return decisions

        return watched()

    async def watched_reset(self: GuardedStore, hits: Sequence[Hit]) -> int:
        worker = current()
        try:
            return await reset(self, hits)
        finally:
            oracle.invalidated(worker, hits, forget=True)

    async def watched_clear(self: GuardedStore, owns: Any) -> int:
        worker = current()
        try:
            return await clear(self, owns)
        finally:
            oracle.cleared(worker)

    at_local = LocalSide.hit

    def watched_at_local(self: LocalSide, hits: Sequence[Hit]) -> Any:
        oracle.gave_back_alone(current(), hits)
        return at_local(self, hits)

    stack.enter_context(mock.patch.object(LocalSide, "hit", watched_at_local))
    for name, watched in (
        ("hit", watched_hit),
        ("_call", watched_call),
        ("_reset", watched_reset),
        ("_clear", watched_clear),
    ):
        stack.enter_context(mock.patch.object(GuardedStore, name, watched))
