"""One cluster client in one event loop of one process, and a connection of our own to each node."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from redis.asyncio import RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError, ResponseError, TryAgainError

from ...clock import monotonic_ms
from ...errors import StoreError, StoreOverloaded
from ...findings import Finding
from ...quotas import Decision, Hit
from ...signals import batch_sent
from ..piggyback import Piggyback
from ..tasks import spawn
from . import script, wire
from .arguments import ClusterClient
from .batcher import Batcher
from .carrier import Load, due, own_key, own_keys
from .checkup import distance_findings
from .connections import BUDGET, Connections, Exchanged, Unpooled
from .counters import milliseconds
from .deadline import START_DEADLINE, Distance
from .failures import in_time, place, store_error, too_late
from .packing import TIME, command, encoded
from .script import Answers, Script
from .server_clock import ServerClock
from .sockets import prompt

#: Connections to one node; slots share them.
MOST = 8
#: How often one batch follows a node's word that a slot is elsewhere. Nothing ran there.
REDIRECTIONS = 8
#: Seconds between two look-ups of the nodes, and before a batch that must be tried again.
PAUSE = 0.1

Address = tuple[str, int]

_log = logging.getLogger("quart_ratelimit")

_ASKING = command("ASKING")


class ClusterLink:
    """The nodes of one cluster, as one event loop of one process reaches them.

    redis-py looks the nodes up, at first and in the background after a node failed or sent a batch
    elsewhere; the connections to the nodes are ours, so they are opened in the background too.
    """

    def __init__(
        self,
        client: ClusterClient,
        prefix: str,
        deadline: float | None,
        piggybacks: Sequence[Piggyback] = (),
    ) -> None:
        self._piggybacks = piggybacks
        self.client: RedisCluster = _with_wary_connections(client)
        #: The time of the nodes, which are expected to agree.
        self.clock: ServerClock = ServerClock()
        #: Whether the nodes and their time are known.
        self.is_ready: bool = False
        self._prefix = prefix
        self._given = deadline
        self._start_deadline = max(START_DEADLINE, deadline or 0)
        self._nodes: dict[Address, Node] = {}
        #: Slots that are elsewhere than redis-py knows.
        self._moved: dict[int, Address] = {}
        self._batchers: dict[int, Batcher[Sequence[Hit], list[Decision]]] = {}
        self._finding: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_carrying = False

    @property
    def deadline(self) -> float:
        """Seconds that one hit may wait, at the farthest node."""
        known = [node.distance.deadline for node in self._nodes.values()]
        return max(known, default=Distance(self._given).deadline)

    def _farthest(self) -> Distance:
        """The distance of the node that is farthest away."""
        distances = [node.distance for node in self._nodes.values()]
        return max(distances, key=lambda one: one.round_trip_ms or 0, default=self.new_distance())

    async def ready(self) -> None:
        """Wait until the nodes and their time are known. Raises `StoreError`."""
        await in_time(self.deadline, self._found(), self.client, "connecting")

    async def _found(self) -> None:
        if not self.is_ready:
            await asyncio.shield(self._find())

    async def start(self) -> None:
        """Find the nodes and open a connection to each. Raises `StoreError`."""
        await in_time(self._start_deadline, self._open(), self.client, "connecting")

    async def _open(self) -> None:
        await self._found()
        nodes = [self._at(node.host, node.port) for node in self.client.get_primaries()]
        await asyncio.gather(*[node.connections.ready(however_long=True) for node in nodes])

    def slot(self, hit: Hit, now_ms: int) -> int:
        """The slot of the hit's key."""
        return key_slot(encoded(self._key(hit, now_ms)))

    def _key(self, hit: Hit, now_ms: int) -> str:
        return f"{self._prefix}:{hit.quota.state_key(hit.key, now_ms)}"

    def address(self, slot: int) -> Address:
        """The node that serves the slot, as far as it is known."""
        return self._owner(slot).address

    async def join(self, slot: int, hits: Sequence[Hit]) -> list[Decision]:
        """Decide in the slot's next batch: a node that hangs holds up its own slots alone."""
        node = self._owner(slot)
        distance = node.distance
        batcher = self._batchers.get(slot)
        if batcher is None:
            batcher = self._batchers[slot] = Batcher(
                self._send,
                deadline=distance.deadline,
                in_flight=1,
                late=partial(self._too_late, node),
                full=partial(StoreOverloaded, "too many hits wait for the cluster already"),
            )
        else:  # the distance may be known better now
            batcher.set_deadline(distance.deadline)
        try:
            return await batcher.join(hits)
        finally:
            if batcher.idle and self._batchers.get(slot) is batcher:
                del self._batchers[slot]

    @staticmethod
    def _too_late(node: Node, sending: asyncio.Task[None] | None) -> StoreError:
        was_sent = sending is not None and not node.connections.is_awaited_by(sending)
        return too_late(node.distance.deadline, node.pool, "EVALSHA", was_sent=was_sent)

    async def reset(self, hits: Sequence[Hit]) -> int:
        """Forget the state behind these hits; how many keys there were. Raises `StoreError`."""

        async def unlink() -> int:
            await self._found()
            now = self.clock.now_ms()
            keys = {self._key(hit, now) for hit in hits}
            return sum([int(await self.ask(key, "UNLINK", key)) for key in keys])

        return await in_time(self.deadline, unlink(), self.client, "UNLINK")

    async def clear(self, owns: Callable[[str], bool] | None = None) -> int:
        """Forget keys under the prefix, by SCAN of each node; see `Store.clear`."""
        client, patience = self.client, self._start_deadline
        pattern = script.pattern(self._prefix)
        found = client.scan_iter(match=pattern, count=script.SCAN_COUNT)
        own = own_keys(self._prefix, self._piggybacks)
        count = 0
        while (key := await in_time(patience, anext(found, None), client, "SCAN")) is not None:
            if key not in own and script.owned([key], self._prefix, owns):
                count += int(await in_time(patience, client.unlink(key), client, "UNLINK"))
        return count

    async def server_findings(self) -> list[Finding]:
        """What of the nodes' distance should be known. Raises `StoreError`."""
        await in_time(BUDGET, self._open(), self.client, "connecting")
        return list(distance_findings(self._farthest()))

    async def ask(self, key: str, *parts: str | int) -> Any:
        """The reply of the key's node to one command. Raises the error that it replied with."""
        reply = await self._exchange(key, command(*parts))
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def carry(self) -> None:
        """Send what is due now, each to the node of its own key. Raises `StoreError`."""
        await in_time(self.deadline, self._carry(), self.client, "ZADD")

    async def _carry(self) -> None:
        await self._found()
        for piggyback in due(self._piggybacks):
            load = Load([piggyback], self._prefix, self.clock.now_ms())
            if not load.replies:
                continue
            node = self._owner(key_slot(encoded(own_key(self._prefix, piggyback))))
            await node.connections.ready()
            exchanged = await node.connections.exchange(load.packed, load.replies)
            if any(isinstance(reply, MovedError) for reply in exchanged.replies):
                self._find()
            load.read(exchanged.replies)

    async def aclose(self) -> None:
        """Wait for what was sent, then close every connection."""
        for batcher in list(self._batchers.values()):
            await batcher.aclose()
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks, timeout=0.1)
        for node in self._nodes.values():
            await node.connections.aclose()
        await self.client.aclose()
        # That does nothing while the nodes must be looked up again, as after a resharding.
        manager = self.client.nodes_manager
        for known in [*manager.startup_nodes.values(), *self.client.get_nodes()]:
            await known.disconnect()

    def sever(self) -> None:
        """Close every connection after the end of its event loop."""
        for node in self._nodes.values():
            node.connections.sever()
        manager = self.client.nodes_manager
        for known in [*manager.startup_nodes.values(), *self.client.get_nodes()]:
            for connection in known._connections:
                wire.sever(connection)

    async def _send(self, requests: list[Sequence[Hit]]) -> Answers:
        if batch_sent.receivers:
            batch_sent.send_safely(self, size=len(requests))
        if self._piggybacks and due(self._piggybacks) and not self._is_carrying:
            # Outside the batch: it may be another node's.
            self._is_carrying = True
            spawn(self._tasks, self._carry_beside())
        try:
            batch = Script(requests, prefix=self._prefix, now_ms=self.clock.now_ms())
            reply = await self._exchange(next(iter(batch.keys)), batch)
            answers = batch.read([reply])
        except asyncio.CancelledError:
            self._find()
            raise
        except Exception as error:
            self._find()
            raise store_error(error, self.client, "EVALSHA") from error
        return [
            store_error(answer, self.client, batch.command)
            if isinstance(answer, Exception)
            else answer
            for answer in answers
        ]

    async def _carry_beside(self) -> None:
        try:
            await self._carry()
        finally:
            self._is_carrying = False

    async def _exchange(self, key: str, request: bytes | Script) -> Any:
        """The reply to one command, from the node that serves the key."""
        slot = key_slot(encoded(key))
        node, before = self._owner(slot), b""
        for _ in range(REDIRECTIONS):
            reply = await node.reply(request, before)
            if isinstance(reply, MovedError):
                node, before = self._redirected(reply), b""
                self._moved[slot] = node.address
                self._find()
            elif isinstance(reply, AskError):
                # The redirection `ASKING` holds for the next command of its connection only.
                node, before = self._redirected(reply), _ASKING
            elif isinstance(reply, (TryAgainError, ClusterDownError)):
                self._find()
                if isinstance(reply, ClusterDownError):
                    break
                await asyncio.sleep(PAUSE)
            else:
                break
        return reply

    def _owner(self, slot: int) -> Node:
        address = self._moved.get(slot)
        if address is not None:
            return self._at(*address)
        node = self.client.nodes_manager.get_node_from_slot(slot)
        return self._at(node.host, node.port)

    def _redirected(self, error: AskError) -> Node:
        return self._at(*self.client.nodes_manager.remap_host_port(error.host, error.port))

    def _at(self, host: str, port: int | str) -> Node:
        address = (host, int(port))
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes[address] = Node(address, self)
        return node

    def new_connection(self, address: Address) -> Any:
        """A connection to a node, not yet open, as redis-py would make it."""
        some = next(iter(self.client.nodes_manager.startup_nodes.values()))
        host, port = address
        options = {"host": host, "port": port, "retry": Retry(NoBackoff(), 0)}
        return some.connection_class(**{**some.connection_kwargs, **options})

    def new_distance(self) -> Distance:
        """For one node."""
        return Distance(self._given)

    def _find(self) -> asyncio.Task[None]:
        """Look the nodes up in the background, unless that is under way."""
        if self._finding is None or self._finding.done():
            self._finding = spawn(self._tasks, self._find_nodes())
        return self._finding

    async def _find_nodes(self) -> None:
        if self.is_ready:
            await asyncio.sleep(PAUSE)
        # Not the client's `initialize`, which reads the list of all commands as well.
        initialize = self.client.nodes_manager.initialize()
        await in_time(BUDGET, initialize, self.client, "CLUSTER SLOTS")
        self._moved.clear()
        if not self.is_ready:
            await self._open_first()
            self.is_ready = True

    async def _open_first(self) -> None:
        """Open a connection to each node, and wait for the first, which reports the time."""
        nodes = [self._at(node.host, node.port) for node in self.client.get_primaries()]
        opening = [spawn(self._tasks, node.connections.ready(however_long=True)) for node in nodes]
        failure: Exception | None = None
        for opened in asyncio.as_completed(opening):
            try:
                await opened
            except Exception as error:
                failure = error
            else:
                return
        raise failure or ValueError("the cluster has no nodes")


class Node:
    """One node: its connections and its distance."""

    def __init__(self, address: Address, link: ClusterLink) -> None:
        self.address = address
        self.distance: Distance = link.new_distance()
        self._clock = link.clock
        #: Whether each run of the script sends it: there is no EVALSHA.
        self._sends_source = False
        host, port = address
        self.pool: Unpooled = Unpooled(
            partial(link.new_connection, address), MOST, host=host, port=port
        )
        self.connections: Connections = Connections(
            self.pool,
            self._prepare,
            most=MOST,
            patience=lambda: self.distance.patience,
        )

    async def reply(self, request: bytes | Script, before: bytes = b"") -> Any:
        """The reply to one command; ``before`` is a command that goes in front of it."""
        await self.connections.ready()
        if isinstance(request, Script):
            request.with_source = self._sends_source
        exchanged = await self._exchange(request, before)
        reply = exchanged.replies[-1]
        if isinstance(request, Script) and script.ran_nothing(reply):
            # A node that is new or was flushed, or refuses EVALSHA from now on. Nothing ran there.
            self._sends_source = not script.is_unknown(reply)
            request.with_source = True
            exchanged = await self._exchange(request, before)
        self.distance.note(exchanged.sent_ms, exchanged.received_ms)
        return exchanged.replies[-1]

    async def _exchange(self, request: bytes | Script, before: bytes) -> Exchanged:
        packed = request.packed if isinstance(request, Script) else request
        return await self.connections.exchange(before + packed, 1 + bool(before))

    async def _prepare(self, connection: Any) -> None:
        """Read the clock and try the script."""
        sent_ms = monotonic_ms()
        (time,) = await wire.replies(connection, 1, unsent=TIME + script.trial())
        received_ms = monotonic_ms()
        tried = await wire.replies(connection, script.TRIAL_REPLIES)
        if isinstance(time, Exception):
            raise store_error(time, self.pool, "TIME") from time
        try:
            self._sends_source = script.needs_source(*tried)
        except ResponseError as error:
            raise store_error(error, self.pool, "EVAL") from error
        self._clock.note(milliseconds(time), sent_ms=sent_ms, received_ms=received_ms)
        is_new = self.distance.arrive(self.address)
        self.distance.note(sent_ms, received_ms)
        if is_new:
            _log.info("the node of Redis at %s is %s", place(self.pool), self.distance)


def _with_wary_connections(client: Any) -> Any:
    """The client, which checks no pooled connection before it is used again."""
    settings = client.get_connection_kwargs()  # also for the nodes that it will find
    kind = wire.wary(prompt(settings["connection_class"]))
    settings["connection_class"] = kind
    for node in [*client.nodes_manager.startup_nodes.values(), *client.get_nodes()]:
        node.connection_class = kind
    return client
