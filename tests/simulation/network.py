"""Connections between workers and servers: what TCP may do to bytes, and nothing else.

Bytes arrive in order, later than they were sent, in other pieces than they were sent in. A
connection may be refused, cut with a part of the bytes delivered, closed at its end, or hang while
the way is blocked; then its bytes come when the way is free, as TCP sends them again.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from .transport import END, RESET, ClientTransport
from .world import World

if TYPE_CHECKING:
    from .loop import SimulatedLoop


class Server(Protocol):
    """Who accepts connections at an address."""

    name: str

    def accepts(self) -> str:
        """Whether a new connection is "accepted", "refused" or "ignored"."""

    def opened(self, connection: Connection) -> None:
        """A client has connected."""

    def received(self, connection: Connection, data: bytes) -> None:
        """Bytes have arrived."""

    def closed(self, connection: Connection) -> None:
        """The client has gone."""


class Network:
    """Which server stands at which address, how far away it is, and which ways are blocked."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.servers: dict[tuple[str, int], Server] = {}
        #: Seconds from each worker to the servers, one way; and by what share it varies at most.
        self.latency: dict[str, float] = {}
        self.jitter = 0.1
        #: Until when the way from each worker is blocked.
        self.blocked_until: dict[str, float] = {}
        self.connections: list[Connection] = []
        #: How often writes are halved.
        self.halved = 0.1

    def one_way(self, worker: str, stream: random.Random) -> float:
        """Seconds that the next segment takes."""
        latency = self.latency.get(worker, 0.0002)
        return latency * (1 + min(self.jitter, stream.expovariate(2 / self.jitter)))

    def until_free(self, worker: str) -> float:
        """Seconds for which the way from this worker stays blocked."""
        return max(0.0, self.blocked_until.get(worker, 0.0) - self.world.now)

    async def connect(self, loop: SimulatedLoop, host: str, port: int) -> ClientTransport:
        """Connect, as `socket.connect` does."""
        stream = self.world.stream(f"connection {loop.name} {len(self.connections)}")
        outcome: asyncio.Future[ClientTransport] = loop.create_future()

        def arrive() -> None:
            blocked = self.until_free(loop.name)
            server = self.servers.get((host, port))
            answer = "refused" if server is None else server.accepts()
            if blocked or answer == "ignored":  # the system sends SYN again, after 1 s and then 2 s
                self.world.after(max(blocked, 0.2) + stream.random(), arrive)
                return
            self.world.after(self.one_way(loop.name, stream), lambda: reply(server, answer))

        def reply(server: Server | None, answer: str) -> None:
            if loop.is_dead or outcome.done():
                return
            if answer == "refused" or server is None:
                error = ConnectionRefusedError(111, "Connection refused")
                loop.call_soon_threadsafe(_finish, outcome, None, error)
                return
            connection = Connection(self, loop, server, stream)
            self.connections.append(connection)
            server.opened(connection)
            loop.call_soon_threadsafe(_finish, outcome, connection.transport, None)

        self.world.after(self.one_way(loop.name, stream), arrive)
        try:
            return await outcome
        except asyncio.CancelledError:
            if outcome.done() and not outcome.cancelled() and not outcome.exception():
                outcome.result().abort()
            raise


def _finish(
    outcome: asyncio.Future[ClientTransport],
    transport: ClientTransport | None,
    error: Exception | None,
) -> None:
    if outcome.done():
        if transport:
            transport.abort()
    elif error:
        outcome.set_exception(error)
    elif transport:
        outcome.set_result(transport)


class Direction:
    """One way of a connection: bytes in order, each segment with the moment of its arrival."""

    def __init__(self, connection: Connection, deliver: Callable[[object], None]) -> None:
        self._connection = connection
        self._deliver = deliver
        self._segments: deque[object] = deque()
        self._last = 0.0
        self.is_cut = False
        #: Whether something had to be sent again, as the way was blocked.
        self._is_held = False

    def send(self, what: object) -> None:
        """Put bytes, an end or a reset on the way."""
        network, stream = self._connection.network, self._connection.stream
        world = network.world
        if isinstance(what, bytes) and len(what) > 1 and stream.random() < network.halved:
            place = stream.randrange(1, len(what))
            pieces: list[object] = [what[:place], what[place:]]
        else:
            pieces = [what]
        for piece in pieces:
            moment = world.now + network.one_way(self._connection.worker, stream)
            self._last = moment = max(self._last, moment)
            self._segments.append(piece)
            world.at(moment, self._arrive)

    def _arrive(self) -> None:
        if self.is_cut or not self._segments:
            return
        network = self._connection.network
        blocked = network.until_free(self._connection.worker)
        self._is_held = self._is_held or blocked > 0
        if self._is_held and self._connection.discards:
            self.cut()  # the system has nothing more to send
            return
        if blocked:  # TCP sends it again, after a pause as long as it has waited
            again = self._connection.stream.random() * max(0.2, blocked)  # pauses double
            moment = network.world.now + blocked + again
            self._last = moment = max(self._last, moment)
            network.world.at(moment, self._arrive)
            return
        self._deliver(self._segments.popleft())

    def cut(self, *, keep: float = 0.0) -> None:
        """Lose what is on its way, but for the first part of it."""
        if self.is_cut:
            return
        on_way = b"".join(part for part in self._segments if isinstance(part, bytes))
        self._segments.clear()
        kept = on_way[: int(len(on_way) * keep)]
        if kept:
            self._deliver(kept)
        self.is_cut = True


class Connection:
    """A TCP connection between a worker and a server."""

    def __init__(
        self, network: Network, loop: SimulatedLoop, server: Server, stream: random.Random
    ) -> None:
        self.network = network
        self.loop = loop
        self.worker = loop.name
        self.server = server
        self.stream = stream
        self.to_server = Direction(self, self._at_server)
        self.to_client = Direction(self, self._at_client)
        self.transport = ClientTransport(self)
        self.is_open_at_server = True
        #: Whether the client's end was closed so that the system sends nothing more.
        self.discards = False
        #: The server's own notes on this client.
        self.session: Any = None

    def _at_server(self, what: object) -> None:
        if not self.is_open_at_server:
            return
        if isinstance(what, bytes):
            self.server.received(self, what)
        else:
            self.is_open_at_server = False
            self.server.closed(self)

    def _at_client(self, what: object) -> None:
        self.transport.arrived(what)

    def reset(self, *, delivered: float) -> None:
        """Something on the way resets both ends; a part of what was sent has arrived before."""
        self.to_server.cut(keep=delivered)
        self.to_client.cut(keep=delivered)
        self._at_server(RESET)
        self._at_client(RESET)

    def client_died(self) -> None:
        """The system closes a killed process' sockets: what it had sent arrives."""
        self.to_server.send(END)
        self.transport.is_gone = True

    def server_closes(self) -> None:
        """The server closes, after what it has sent."""
        if self.is_open_at_server:
            self.is_open_at_server = False
            self.to_client.send(END)
