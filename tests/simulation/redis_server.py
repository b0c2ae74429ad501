"""A simulated Redis behind its address: connections, transactions, moods and restarts.

It reads commands as they arrive, runs one at a time, and replies in order. Its faults are those of
a real one: it is down, stopped, slow, loading, out of memory, a replica, busy with a script; it
forgets its scripts, its data or the last commands, and its clock jumps.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from .keyspace import Keyspace
from .network import Connection
from .redis_commands import OK, SPARES, WRITES, Commands, text
from .resp import ProtocolError, RedisError, Status, commands, packed
from .world import EPOCH, World

#: Seconds that a command takes.
TOOK = 0.00002
#: What a server in each mood replies to the commands that the mood concerns.
MOODS = {
    "loading": "LOADING Redis is loading the dataset in memory",
    "busy": "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN "
    "NOSAVE.",
    "oom": "OOM command not allowed when used memory > 'maxmemory'.",
    "readonly": "READONLY You can't write against a read only replica.",
    "masterdown": "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to "
    "'no'.",
}


@dataclass
class Session:
    """What the server knows of one client."""

    buffer: bytearray = field(default_factory=bytearray)
    waiting: list[list[bytes]] = field(default_factory=list)
    queued: list[list[bytes]] | None = None
    is_dirty: bool = False
    #: Whether a turn of it is due already.
    is_due: bool = False


class SimulatedRedis:
    """One server; what it decided is told to ``observer``."""

    def __init__(
        self, world: World, name: str, observer: Callable[[SimulatedRedis, list[bytes]], None]
    ) -> None:
        self.world = world
        self.name = name
        self.commands = Commands(Keyspace())
        self._observer = observer
        self._random: random.Random = world.stream(f"redis {name}")
        self.is_up = True
        #: Until when it is stopped (SIGSTOP, a snapshot, a slow command).
        self.stopped_until = 0.0
        self.mood = ""
        #: Milliseconds that its clock differs from the world's.
        self.clock_ms = 0
        self._busy_until = 0.0
        #: Clients whose commands wait.
        self._queue: deque[tuple[Connection, Session]] = deque()
        self.clients: dict[Connection, Session] = {}
        #: Copies of the data: what a replica, or a file, has of it.
        self.saved = Keyspace()
        #: Every command that it carried out, if that is wanted: when (ms), what, and the reply.
        self.log: list[tuple[int, list[bytes], object]] | None = None

    def now_ms(self) -> int:
        """Its clock, in ms since the epoch."""
        return int((EPOCH + self.world.now) * 1000) + self.clock_ms

    # What the network calls.

    def accepts(self) -> str:
        return "accepted" if self.is_up else "refused"

    def opened(self, connection: Connection) -> None:
        self.clients[connection] = Session()

    def closed(self, connection: Connection) -> None:
        self.clients.pop(connection, None)
        connection.server_closes()

    def received(self, connection: Connection, data: bytes) -> None:
        session = self.clients.get(connection)
        if session is None:
            return
        session.buffer += data
        try:
            session.waiting += commands(session.buffer)
        except ProtocolError as error:
            raise AssertionError(f"not a command: {error}") from None
        self._take_turn(connection, session)

    # What faults call.

    def stop(self, seconds: float) -> None:
        """Carry out nothing for so long; the system still accepts connections."""
        self.stopped_until = max(self.stopped_until, self.world.now + seconds)

    def go_down(self) -> None:
        """Be killed: every connection is closed, and none is accepted."""
        self.is_up = False
        self.drop_clients()

    def come_up(self, data: Keyspace) -> None:
        """Start again, with this data and no scripts."""
        self.is_up = True
        self.mood = ""
        self._busy_until = self.stopped_until = 0.0
        self.commands.keyspace = data
        self.commands.scripts.clear()

    def drop_clients(self) -> None:
        """Close every connection, as ``CLIENT KILL`` does."""
        for connection in list(self.clients):
            del self.clients[connection]
            connection.server_closes()

    def _take_turn(self, connection: Connection, session: Session) -> None:
        if session.is_due or not session.waiting:
            return
        session.is_due = True
        self._queue.append((connection, session))
        if len(self._queue) == 1:
            self._await_turn()

    def _await_turn(self) -> None:
        self.world.at(max(self._busy_until, self.stopped_until), self._serve)

    def _serve(self) -> None:
        """Serve the client whose commands came first: epoll tells of sockets in that order."""
        if max(self._busy_until, self.stopped_until) > self.world.now:
            self._await_turn()
            return
        connection, session = self._queue.popleft()
        session.is_due = False
        if connection in self.clients and self.is_up:
            self._answer(connection, session)
        if self._queue:
            self._await_turn()

    def _answer(self, connection: Connection, session: Session) -> None:
        waiting, session.waiting = session.waiting, []
        replies = b"".join(packed(self._reply(session, parts)) for parts in waiting)
        took = TOOK * len(waiting) * self._random.uniform(0.5, 2)
        self._busy_until = self.world.now + took
        connection.to_client.send(replies)

    def _reply(self, session: Session, parts: list[bytes]) -> object:
        name = text(parts[0]).upper()
        try:
            if session.queued is not None and name not in ("EXEC", "DISCARD"):
                self._check_mood(name, parts)
                session.queued.append(parts)
                return Status("QUEUED")
            if name == "MULTI":
                self._check_mood(name, parts)
                session.queued, session.is_dirty = [], False
                return OK
            if name == "EXEC":
                return self._execute(session)
            if name == "DISCARD":
                session.queued = None
                return OK
            self._check_mood(name, parts)
            return self._run(parts)
        except RedisError as error:
            session.is_dirty = True
            return error

    def _execute(self, session: Session) -> object:
        queued, session.queued = session.queued, None
        if queued is None:
            raise RedisError("ERR EXEC without MULTI")
        if session.is_dirty or self.mood in ("loading", "busy", "masterdown"):
            raise RedisError("EXECABORT Transaction discarded because of previous errors.")
        replies: list[object] = []
        for parts in queued:
            try:
                replies.append(self._run(parts))
            except RedisError as error:
                replies.append(error)
        return replies

    def _run(self, parts: list[bytes]) -> object:
        running = self.commands
        running.now_us = int((EPOCH + self.world.now) * 1_000_000) + self.clock_ms * 1000
        running.now_ms = running.now_us // 1000
        running.charges, running.counts = [], []
        reply: object = None
        try:
            reply = running.run(parts)
        except RedisError as error:
            reply = error
            raise
        finally:
            if self.log is not None:
                self.log.append((running.now_ms, parts, reply))
        self._observer(self, parts)
        return reply

    def _check_mood(self, name: str, parts: list[bytes]) -> None:
        if not self.mood or name in ("CLIENT", "SELECT", "AUTH", "HELLO"):
            return
        concerned = {
            "loading": True,
            "masterdown": True,
            "busy": name not in ("SCRIPT", "MULTI"),
            "oom": name in WRITES - SPARES,
            "readonly": name in WRITES,
        }
        if name in ("EVAL", "EVALSHA") and self.mood in ("oom", "readonly"):
            # A script is stopped where it writes: a trial writes nothing.
            if _writes_nothing(parts):
                return
            if self.mood == "readonly" and text(parts[1]) not in self.commands.scripts:
                return  # what it lacks is found first
        if concerned[self.mood]:
            raise RedisError(MOODS[self.mood])


def _writes_nothing(parts: list[bytes]) -> bool:
    return b'"requests":[]' in parts[-1]
