"""All-or-nothing over two slots of a Cluster: charged one after another, given back on refusal.

`ClusterStore.hit` runs on a link whose answers the model chooses, node by node.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterable, Sequence
from types import SimpleNamespace

from quart_ratelimit import Decision, FixedWindow, Hit, StoreError
from quart_ratelimit.stores import ClusterStore, MemoryStore

from .explore import Explored, TinyLoop, explore

#: One unit of each, so that two requests compete for both.
FIRST, SECOND = FixedWindow(1, 3600), FixedWindow(1, 1800)
HITS = (
    [Hit(FIRST, "a"), Hit(SECOND, "b")],
    [Hit(SECOND, "b"), Hit(FIRST, "a")],
    [Hit(SECOND, "b")],
)


class ChosenLink:
    """Two nodes, each with a slot; the model chooses when a hit is carried out, and how it ends."""

    def __init__(self, loop: TinyLoop) -> None:
        self.loop = loop
        self.is_ready = True
        self.clock = SimpleNamespace(now_ms=lambda: 1)
        self.nodes = MemoryStore(now_ms=lambda: 1)
        self.pending: list[tuple[Sequence[Hit], asyncio.Future[list[Decision]]]] = []
        #: Units charged less units given back, of each key.
        self.net = {"a": 0, "b": 0}

    def slot(self, hit: Hit, _: int) -> int:
        return "ab".index(hit.key)

    def address(self, slot: int) -> tuple[str, int]:
        return ("node", slot)

    async def join(self, _: int, hits: Sequence[Hit]) -> list[Decision]:
        future: asyncio.Future[list[Decision]] = self.loop.create_future()
        self.pending.append((hits, future))
        return await future

    def carry_out(self, hits: Sequence[Hit]) -> list[Decision]:
        decisions = self.nodes.decide(hits, 1)
        if all(decisions):
            for hit in hits:
                self.net[hit.key] += hit.cost
        return decisions


class ClusterMachine:
    """Requests that need both keys in either order, and one that needs one of them."""

    def __init__(self) -> None:
        self.loop = TinyLoop()
        self.link = ChosenLink(self.loop)
        self.store = ClusterStore("redis+cluster://simulated:6379")
        self.store._links = SimpleNamespace(get=lambda: self.link)  # type: ignore[assignment]
        self.requests: list[asyncio.Task[list[Decision]]] = []
        self.lost = 0

    def choices(self) -> Iterable[str]:
        if len(self.requests) < len(HITS):
            yield "come"
        for number in range(len(self.link.pending)):
            yield f"answer {number}"
            if self.lost < 2:
                yield f"lose {number}"
                yield f"miss {number}"

    def do(self, choice: str) -> None:
        name, _, text = choice.partition(" ")
        if name == "come":
            hits = HITS[len(self.requests)]
            self.loop.run(lambda: self.requests.append(self.loop.create_task(self.store.hit(hits))))
            return
        hits, future = self.link.pending.pop(int(text))
        decisions = self.link.carry_out(hits) if name != "miss" else []
        if name == "answer":
            self.loop.run(future.set_result, decisions)
        else:
            self.lost += 1
            self.loop.run(future.set_exception, StoreError("lost"))

    def state(self) -> Hashable:
        pending = tuple(tuple((hit.key, hit.cost) for hit in hits) for hits, _ in self.link.pending)
        told = tuple(_told(request) for request in self.requests)
        return (pending, told, tuple(self.link.net.values()), self.lost)

    def wrong(self) -> str | None:
        for request in self.requests:
            error = request.exception() if request.done() else None
            if error is not None and not isinstance(error, StoreError):
                return f"a request raises {error!r}"
        for key, units in self.link.net.items():
            admitted = sum(
                _told(request) == "admitted" and any(hit.key == key for hit in hits)
                for request, hits in zip(self.requests, HITS, strict=False)
            )
            if admitted > 1 or units > 1 or units < 0:
                return f"{admitted} were admitted to {key}, {units} are charged"
            done = all(request.done() for request in self.requests)
            if done and not self.lost and units != admitted:
                return f"{units} of {key} are charged for {admitted} that were admitted"
            if done and units > admitted + self.lost:
                return f"{self.lost} lost answers left {units - admitted} units of {key} charged"
        return None

    def close(self) -> None:
        self.loop.forget()


def _told(request: asyncio.Task[list[Decision]]) -> str:
    if not request.done():
        return ""
    if request.exception() is not None:
        return "error"
    return "admitted" if all(request.result()) else "refused"


def model() -> Explored:
    """Explore it."""
    return explore(ClusterMachine, depth=12)
