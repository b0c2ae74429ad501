"""A place's life: taken or not, heard of or not, its client gone at any await, Redis away or back.

`take_place`, `Place` and `Ledger` run on a store whose answers the model chooses. What was given up
is delivered by no connection later: `wire.abort` sees to that.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Hashable, Iterable, Sequence
from itertools import count
from unittest import mock

from quart_ratelimit import Decision, Hit, StoreError
from quart_ratelimit.direct.in_flight import take_place
from quart_ratelimit.direct.ledger import Account, Ledger
from quart_ratelimit.quotas import Concurrency
from quart_ratelimit.stores import MemoryStore

from .explore import Explored, TinyLoop, explore

PLACES = Concurrency(1, 3600)
#: Clients that come.
CLIENTS = 2


class Refused(Exception):
    """A client is refused."""


class ChosenStore(MemoryStore):
    """Holds leases, and waits at each hit for what the model chooses to happen to it."""

    def __init__(self, loop: TinyLoop) -> None:
        super().__init__(now_ms=lambda: 1)
        self.loop = loop
        self.pending: list[tuple[Sequence[Hit], asyncio.Future[list[Decision]]]] = []
        self.held: list[str] = []

    async def hit(self, hits: Sequence[Hit]) -> list[Decision]:
        future: asyncio.Future[list[Decision]] = self.loop.create_future()
        self.pending.append((hits, future))
        return await future

    def carry_out(self, hit: Hit) -> Decision:
        if hit.cost < 0:
            self.held = [lease for lease in self.held if lease != hit.lease]
            return Decision(True, 1, 0, 0)
        if hit.lease not in self.held and len(self.held) >= 1:
            return Decision(False, 0, 1000, 1000)
        self.held = [*self.held, hit.lease] if hit.lease not in self.held else self.held
        return Decision(True, 0, 1000, 0)


class PlaceMachine:
    """Clients that take one place, hold it, and end; at the end nothing may be held."""

    def __init__(self) -> None:
        self._names = count()
        self.loop = TinyLoop()
        self.store = ChosenStore(self.loop)
        self.ledger = Ledger(self.store, MemoryStore(), is_active=lambda: True, sender=None)
        self.clients: list[asyncio.Task[None]] = []
        self.ending: list[asyncio.Event] = []
        self.inside = 0
        self._tokens = mock.patch.object(secrets, "token_hex", self._name)
        self._tokens.start()

    def _name(self, _: int) -> str:
        return f"lease{next(self._names)}"

    async def _client(self, ending: asyncio.Event) -> None:
        hit = Hit(PLACES, "place")
        account = Account(self.ledger, [hit], self._report)
        try:
            place = await take_place(account)
        except (Refused, StoreError):
            return
        try:
            self.inside += 1
            await ending.wait()
        finally:
            self.inside -= 1
            await place.release()

    def _report(self, _: Sequence[Hit], decisions: Sequence[Decision]) -> Exception | None:
        return None if all(decisions) else Refused()

    def choices(self) -> Iterable[str]:
        if len(self.clients) < CLIENTS:
            yield "come"
        for number, client in enumerate(self.clients):
            if not client.done():
                yield f"leave {number}"
                if not self.ending[number].is_set():
                    yield f"end {number}"
        for number in range(len(self.store.pending)):
            yield f"answer {number}"
            yield f"lose {number}"  # carried out, and the reply is lost
            yield f"miss {number}"  # not carried out

    def do(self, choice: str) -> None:
        name, _, text = choice.partition(" ")
        if name == "come":
            self.ending.append(asyncio.Event())
            self.loop.run(
                lambda: self.clients.append(self.loop.create_task(self._client(self.ending[-1])))
            )
        elif name == "leave":
            self.loop.run(self.clients[int(text)].cancel)
        elif name == "end":
            self.loop.run(self.ending[int(text)].set)
        else:
            hits, future = self.store.pending.pop(int(text))
            decisions = [self.store.carry_out(hit) for hit in hits] if name != "miss" else []
            if future.done():
                return
            if name == "answer":
                self.loop.run(future.set_result, decisions)
            else:
                self.loop.run(future.set_exception, StoreError("lost"))

    def state(self) -> Hashable:
        pending = tuple((hits[0].cost, hits[0].lease) for hits, _ in self.store.pending)
        clients = tuple(client.done() for client in self.clients)
        ending = tuple(event.is_set() for event in self.ending)
        kept = tuple(self.ledger._kept)
        return (pending, clients, ending, tuple(self.store.held), kept, self.inside)

    def wrong(self) -> str | None:
        if self.inside > 1:
            return "two clients hold one place"
        if all(client.done() for client in self.clients) and not self.store.pending:
            forgotten = set(self.store.held) - set(self.ledger._kept)
            if forgotten:
                return f"{forgotten} is held, and nobody will give it back"
            if self.loop.timers():
                return "a renewal goes on"
        return self.loop.complaints[0] if self.loop.complaints else None

    def close(self) -> None:
        self._tokens.stop()
        self.loop.forget()


def model() -> Explored:
    """Explore it."""
    return explore(PlaceMachine, depth=9)
