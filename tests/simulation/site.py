"""One worker: a Quart app with a limiter, as a developer writes one, on its own event loop.

Making an app costs as much as a short run, so an app serves many runs; its limiter is bound anew
for each run, with a new store, guard, ledger and tables.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from quart import Quart, Response, has_websocket_context, request, websocket

from quart_ratelimit import Limiter
from quart_ratelimit.direct.turns import Turns
from quart_ratelimit.extension.binding import bindings_of
from quart_ratelimit.extension.fleet_sums import FleetSums
from quart_ratelimit.extension.seen import Seen
from quart_ratelimit.stores import RedisStore

from .plan import LIMITS, WorkerPlan

#: Where the simulated Redis listens.
ADDRESS = ("redis.simulated", 6379)
#: Places in flight, by the name that clients choose.
PLACES = {"one": 1, "three": 3}


class Site:
    """An app, its limiter, and what its views do."""

    def __init__(self) -> None:
        self.app = Quart("tests.simulation")
        uri = f"redis://{ADDRESS[0]}:{ADDRESS[1]}/0"
        self._uri = uri
        self.limiter = Limiter(
            app=self.app,
            key_func=_who,
            storage_uri=uri,
            default_limits=["100000/hour"],
            doctor=False,
            headers_enabled=True,
        )
        self._settings = self._binding().settings
        _add_views(self.app, self.limiter)

    def renew(self, plan: WorkerPlan) -> None:
        """Begin a run as a process that was just started."""
        bindings = bindings_of(self.limiter)
        bindings._store = RedisStore(
            self._uri, max_connections=plan.connections, deadline=plan.deadline
        )
        bindings.turns, bindings.seen = Turns(), Seen()
        bindings.sums = FleetSums(self.limiter)
        settings = replace(
            self._settings,
            on_store_error=plan.policy,
            remember_refusals=1000 if plan.remember else 0,
        )
        new = bindings.bind(settings, self.app.config)
        bindings.latest = self.app.extensions[bindings.attribute] = new

    def _binding(self) -> Any:
        return bindings_of(self.limiter).require()

    @property
    def guard(self) -> Any:
        """The guarded store of this run."""
        return self._binding().store

    @property
    def link(self) -> Any:
        """The link to Redis of this run; None before the first hit."""
        return self._binding().backend._links._link

    @property
    def ledger(self) -> Any:
        """The ledger of this run."""
        return self._binding().ledger


async def _who() -> str:
    asked = websocket if has_websocket_context() else request
    return asked.headers.get("client", "nobody")


def _add_views(app: Quart, limiter: Limiter) -> None:
    @app.after_request
    async def slow(response: Response) -> Response:
        await asyncio.sleep(float(request.headers.get("after", 0)))
        return response

    @app.get("/plain")
    @limiter.limit("6/hour")
    async def plain() -> Any:
        return await _answer()

    @app.get("/turning")
    @limiter.limit("4/2 second")
    async def turning() -> Any:
        return await _answer()

    @app.get("/script")
    @limiter.limit(lambda: "4/minute burst 4", cost=lambda: 1)
    async def script() -> Any:
        return await _answer()

    @app.get("/login")
    @limiter.limit("3/minute;7/hour", deduct_when=lambda response: response.status_code == 401)
    async def login() -> Any:
        return await _answer()

    @app.get("/place")
    @limiter.in_flight(2)
    async def place() -> Any:
        return await _answer()

    @app.get("/sync")
    @limiter.in_flight(2)
    def sync() -> Any:
        return "sync"

    @app.websocket("/chat")
    @limiter.limit("6/hour")
    @limiter.messages("4/2 second", on_breach="error")
    async def chat() -> None:
        while True:
            await websocket.send(await websocket.receive())


async def _answer() -> Any:
    how, takes = request.headers.get("how", "return"), float(request.headers.get("takes", 0))
    if takes:
        await asyncio.sleep(takes)
    if how == "raise":
        raise RuntimeError("a view that fails")
    if how in ("stream", "unentered"):

        async def body() -> AsyncIterator[bytes]:
            yield b"a"
            await asyncio.sleep(takes)
            yield b"b"

        return body(), 200
    return "answer", 401 if how == "401" else 200


def limit_of(name: str) -> Any:
    """What `LIMITS` calls so."""
    return LIMITS[name]
