"""Keeps state in a Redis Cluster: one script for all hits on a client's slot, never a pipeline.

redis-py's cluster pipelines do not notice a failover and block the event loop in transactions, so
every hit here is decided by ``EVALSHA``. Keys of one request that cannot share a slot are charged
one after another, and given back when a later one refuses.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from functools import partial
from typing import Any

from redis.asyncio import RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.crc import key_slot
from redis.exceptions import AskError, ClusterError, NoScriptError

from ...clock import monotonic_ms
from ...errors import StoreOverloaded
from ...quotas import Decision, Hit
from ...signals import batch_sent
from . import script, wire
from .batcher import Batcher
from .counters import milliseconds
from .failures import in_time, store_error, too_late
from .link import PerLoop
from .packing import encoded
from .server_clock import ServerClock
from .store import SCAN_COUNT, START_DEADLINE
from .uri import ClusterOpener, check_own, cluster_opener


class ClusterStore:
    """Counts in a Redis Cluster.

    ``source`` is a URI of one of its nodes, ``redis+cluster://host:6379``, or a callable that
    opens a ``redis.asyncio.RedisCluster``; nothing is opened before the first hit or `start`.
    ``deadline`` (seconds) covers all that one hit may wait for. Raises `ConfigurationError`.
    """

    def __init__(
        self,
        source: str | ClusterOpener,
        *,
        prefix: str = "rate_limit",
        deadline: float = 0.05,
        **options: Any,
    ) -> None:
        check_own(prefix, deadline)
        self._prefix = prefix
        self._deadline = deadline
        self._open = source if callable(source) else cluster_opener(source, options)
        self._links = PerLoop(self._open_link)

    async def start(self) -> None:
        """Find the nodes and load the script. Raises `StoreError`."""
        await in_time(max(START_DEADLINE, self._deadline), self._links.get().prepare())

    async def aclose(self) -> None:
        """Close the connections. A later hit opens them again."""
        await self._links.aclose()

    async def hit(self, hits: Sequence[Hit]) -> list[Decision]:
        """Carry out all hits or none; see `Store.hit`."""
        link = self._links.get()
        now = link.clock.now_ms()
        slots = [self._slot(hit, now) for hit in hits]
        if len(set(slots)) == 1:
            return await link.join(slots[0], hits)
        return await self._hit_apart(link, slots, hits)

    def known_refusal(self, hits: Sequence[Hit]) -> None:
        """None: this store remembers no refusal; see `Store.known_refusal`."""

    async def reset(self, hits: Sequence[Hit]) -> int:
        """Forget the state behind these hits; how many keys there were. Raises `StoreError`."""
        link = self._links.get()
        if not link.prepared:
            await self.start()

        async def unlink() -> int:
            await link.prepare()
            now = link.clock.now_ms()
            keys = {f"{self._prefix}:{hit.quota.state_key(hit.key, now)}" for hit in hits}
            return sum([int(await link.client.unlink(encoded(key))) for key in keys])

        return await in_time(self._deadline, unlink())

    async def clear(self) -> int:
        """Forget every key under this store's prefix, by SCAN of each node. Raises `StoreError`."""
        client, patience = self._links.get().client, max(START_DEADLINE, self._deadline)
        found = client.scan_iter(match=script.pattern(self._prefix), count=SCAN_COUNT)
        count = 0
        while (key := await in_time(patience, anext(found, None))) is not None:
            count += int(await in_time(patience, client.unlink(key)))
        return count

    async def _hit_apart(
        self, link: _Link, slots: Sequence[int], hits: Sequence[Hit]
    ) -> list[Decision]:
        """Charge slot after slot; once one refuses, look at the rest and give back what was."""
        decisions: dict[int, Decision] = {}
        refused = False
        for slot in dict.fromkeys(slots):
            places = [place for place, own in enumerate(slots) if own == slot]
            asked = [hits[place]._replace(cost=0) if refused else hits[place] for place in places]
            answers = await link.join(slot, asked)
            decisions.update(zip(places, answers, strict=True))
            if not refused and not all(answers):
                refused = True
                charged = [place for place in decisions if place not in places]
                await self._give_back(link, slots, hits, charged, decisions)
        return [
            decisions[place]._replace(allowed=True, retry_ms=0)
            if refused and hits[place].cost == 0 and decisions[place].allowed
            else decisions[place]
            for place in range(len(hits))
        ]

    async def _give_back(
        self,
        link: _Link,
        slots: Sequence[int],
        hits: Sequence[Hit],
        places: Sequence[int],
        decisions: dict[int, Decision],
    ) -> None:
        for place in places:
            if hits[place].cost > 0:
                back = hits[place]._replace(cost=-hits[place].cost, at_ms=decisions[place].at_ms)
                (decisions[place],) = await link.join(slots[place], [back])

    def _slot(self, hit: Hit, now_ms: int) -> int:
        return key_slot(encoded(f"{self._prefix}:{hit.quota.state_key(hit.key, now_ms)}"))

    def _open_link(self) -> _Link:
        return _Link(_with_wary_connections(self._open()), self._prefix, self._deadline)


class _Link:
    """One cluster client in one event loop of one process."""

    def __init__(self, client: RedisCluster, prefix: str, deadline: float) -> None:
        self.client = client
        #: The time of one node.
        self.clock = ServerClock()
        self._prefix = prefix
        self._deadline = deadline
        #: Whether its nodes are known and have the script.
        self.prepared = False
        self._batchers: dict[int, Batcher[Sequence[Hit], list[Decision]]] = {}

    async def join(self, slot: int, hits: Sequence[Hit]) -> list[Decision]:
        """Decide in the slot's next batch: a node that hangs holds up its own slots alone."""
        batcher = self._batchers.get(slot)
        if batcher is None:
            batcher = Batcher(
                self._send,
                deadline=self._deadline,
                in_flight=1,
                late=lambda: too_late(self._deadline),
                full=partial(StoreOverloaded, "too many hits wait for the cluster already"),
            )
            self._batchers[slot] = batcher
        try:
            return await batcher.join(hits)
        finally:
            if batcher.idle and self._batchers.get(slot) is batcher:
                del self._batchers[slot]

    async def aclose(self) -> None:
        """Wait for what was sent, then close every connection."""
        for batcher in list(self._batchers.values()):
            await batcher.aclose()
        await self.client.aclose()
        # That does nothing while the nodes are to be looked up anew, as after a resharding.
        for node in [*self.client.nodes_manager.startup_nodes.values(), *self.client.get_nodes()]:
            await node.disconnect()

    async def prepare(self) -> None:
        """Find the nodes, load the script on each, and read the clock."""
        if not self.prepared:
            await self.client.initialize()
            await self.client.script_load(script.script())
            self.prepared = True
        if self.clock.is_stale():
            self.clock.hold()
            node = random.choice(self.client.get_primaries())  # noqa: S311  # no secret
            sent_ms = monotonic_ms()
            time = await self.client.execute_command("TIME", target_nodes=node)
            self.clock.note(milliseconds(time), sent_ms=sent_ms, received_ms=monotonic_ms())

    async def _send(self, requests: list[Sequence[Hit]]) -> Sequence[list[Decision] | Exception]:
        if batch_sent.receivers:
            batch_sent.send_safely(self, size=len(requests))
        try:
            await self.prepare()
            batch = script.Script(requests, prefix=self._prefix, now_ms=self.clock.now_ms())
            answers = batch.read([await self._run(batch)])
        except asyncio.CancelledError:
            raise
        except Exception as error:
            raise store_error(error) from error
        return answers

    async def _run(self, batch: script.Script) -> Any:
        keys = [encoded(key) for key in batch.keys]
        command: list[Any] = ["EVALSHA", script.sha(), len(keys), *keys, *batch.arguments()]
        try:
            return await self.client.execute_command(*command)
        except NoScriptError:
            # A node that is new or was flushed. Nothing ran there.
            await self.client.script_load(script.script())
            return await self.client.execute_command(*command)
        except ClusterError as error:
            if "TTL exhausted" not in str(error):
                raise
            # Every node that was asked sent us on, so nothing ran.
            return await self._ask(keys[0], command)

    async def _ask(self, key: bytes, command: Sequence[Any]) -> Any:
        """Follow an ASK: redis-py may send ASKING on one connection, the command on another."""
        slot = key_slot(key)
        node: ClusterNode = self.client.nodes_manager.get_node_from_slot(slot)
        try:
            return await node.execute_command(*command)
        except AskError as error:
            target = self.client.get_node(host=error.host, port=error.port)
            if target is None:
                raise
        connection = target.acquire_connection()
        try:
            packed = connection.pack_commands([["ASKING"], command])
            await connection.send_packed_command(packed)
            await connection.read_response()
            return await connection.read_response()
        finally:
            # redis-py 5 has no method for it.
            release = target.release if hasattr(target, "release") else target._free.append
            release(connection)


def _with_wary_connections(client: RedisCluster) -> RedisCluster:
    """The client, which checks no pooled connection before it is used again."""
    settings = client.get_connection_kwargs()  # also those of the nodes that it will find
    kind = wire.wary(settings["connection_class"])
    settings["connection_class"] = kind
    for node in [*client.nodes_manager.startup_nodes.values(), *client.get_nodes()]:
        node.connection_class = kind
    return client
