"""One client in one event loop of one process, and what is known of the server behind it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Protocol

import redis.asyncio
from redis.exceptions import ResponseError

from ...clock import monotonic_ms
from ...errors import StoreError, StoreOverloaded
from ...findings import Finding
from ...quotas import Decision, Hit
from ...signals import batch_sent
from ..piggyback import Piggyback
from . import script, wire
from .batcher import Batcher
from .carrier import Load, due, own_keys
from .checkup import client_findings, deadline_findings, distance_findings, server_findings
from .connections import BUDGET, Connections, Exchanged, Pool, Unpooled
from .counters import Counters, Probe, milliseconds
from .deadline import START_DEADLINE, Distance
from .failures import in_time, leads_elsewhere, store_error, too_late
from .packing import TIME, command
from .script import Answers, Script
from .sentinels import Sentinels
from .server_clock import ServerClock
from .sockets import prompt

#: Requests that are worth a run of the script: its start then costs each a tenth of its decision.
SHARE = 32

_log = logging.getLogger("quart_ratelimit")


class Batch(Protocol):
    """Requests as bytes, and the way from the replies to decisions. Does no I/O."""

    @property
    def command(self) -> str:
        """The command that decides, for errors."""

    @property
    def packed(self) -> bytes:
        """What is sent."""

    @property
    def replies(self) -> int:
        """How many replies belong to it."""

    @property
    def server_ms(self) -> int | None:
        """The server's time in ms, if the replies had it."""

    def read(self, replies: list[Any]) -> Answers:
        """Each request's decisions, or its error. Raises what all of them failed with."""


_Plan = Callable[[list[Sequence[Hit]]], Batch]


class Link:
    """One client in one event loop of one process, and what is known of the server behind it."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        prefix: str,
        deadline: float | None,
        in_flight: int,
        connected: Callable[[], None],
        *,
        piggybacks: Sequence[Piggyback] = (),
    ) -> None:
        self._piggybacks = piggybacks
        self._start_deadline = max(START_DEADLINE, deadline or 0)
        self.client = client
        self.pool: redis.asyncio.ConnectionPool = client.connection_pool
        self.pool.connection_class = prompt(self.pool.connection_class)
        most = max(2, in_flight)
        self.sentinels: Sentinels | None = None
        source: Pool = self.pool
        if Sentinels.can_follow(self.pool):
            self.sentinels = Sentinels(self.pool, self._leave)
            source = Unpooled(self.sentinels.new_connection, most)
        self._connected = connected
        self.connections: Connections = Connections(
            source,
            self._prepare,
            most=most,
            patience=lambda: self.distance.patience,
            budget=max(BUDGET, deadline or 0),
        )
        self.clock: ServerClock = ServerClock()
        self.distance: Distance = Distance(deadline)
        beside = max(1, in_flight // 2)
        batcher = partial(
            Batcher[Sequence[Hit], list[Decision]],
            deadline=self.deadline,
            full=partial(StoreOverloaded, "too many hits wait for Redis already"),
        )
        self.counters: Batcher[Sequence[Hit], list[Decision]] = batcher(
            partial(self._send, self._counters),
            in_flight=beside,
            late=partial(self._too_late, "INCRBY"),
        )
        self.scripts: Batcher[Sequence[Hit], list[Decision]] = batcher(
            partial(self._send, self._script),
            in_flight=max(1, in_flight - beside),
            share=SHARE,
            late=partial(self._too_late, "EVALSHA"),
        )
        self._prefix = prefix
        #: Whether each run of the script sends it: there is no EVALSHA.
        self._sends_source = False
        #: Whether Redis knows ``EXPIRE NX`` (7.0). Before that the script counts all.
        self.counts: bool = True

    async def start(self) -> None:
        """Connect and see what this Redis can do. Raises `StoreError`."""
        await in_time(self._start_deadline, self.connections.open(), self.pool, "connecting")

    async def aclose(self) -> None:
        """Wait for what was sent, then close every connection."""
        await self.counters.aclose()
        await self.scripts.aclose()
        await self.connections.aclose()
        if self.sentinels is not None:
            await self.sentinels.aclose()
        await self.client.aclose()
        manager = getattr(self.pool, "sentinel_manager", None)
        for sentinel in manager.sentinels if manager else ():
            await sentinel.aclose()

    def sever(self) -> None:
        """Close every connection after the end of its event loop."""
        self.connections.sever()
        if self.sentinels is not None:
            self.sentinels.sever()

    @property
    def deadline(self) -> float:
        """Seconds that one hit may wait."""
        return self.distance.deadline

    def _too_late(self, command_name: str, sending: asyncio.Task[None] | None) -> StoreError:
        was_sent = sending is not None and not self.connections.is_awaited_by(sending)
        return too_late(self.deadline, self.pool, command_name, was_sent=was_sent)

    async def ask(self, *parts: str | int | bytes) -> Any:
        """The reply to one command. Raises the error that Redis replied with."""
        (reply,) = (await self.connections.exchange(command(*parts), 1)).replies
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def reset(self, hits: Sequence[Hit]) -> int:
        """Forget the state behind these hits; how many keys there were. Raises `StoreError`."""

        async def unlink() -> int:
            await self.connections.ready()
            now = self.clock.now_ms()
            keys = {f"{self._prefix}:{hit.quota.state_key(hit.key, now)}" for hit in hits}
            return int(await self.ask("UNLINK", *keys)) if keys else 0

        return await in_time(self.deadline, unlink(), self.pool, "UNLINK")

    async def clear(self, owns: Callable[[str], bool] | None = None) -> int:
        """Forget keys under the prefix, by SCAN; see `Store.clear`."""
        pattern, patience = script.pattern(self._prefix), self._start_deadline
        cursor, count = b"", 0
        own = own_keys(self._prefix, self._piggybacks)
        while cursor != b"0":
            scan = self.ask("SCAN", cursor or 0, "MATCH", pattern, "COUNT", script.SCAN_COUNT)
            cursor, found = await in_time(patience, scan, self.pool, "SCAN")
            keys = [key for key in script.owned(found, self._prefix, owns) if key not in own]
            if keys:
                unlink = self.ask("UNLINK", *keys)
                count += int(await in_time(patience, unlink, self.pool, "UNLINK"))
        return count

    def findings(self) -> list[Finding]:
        """What of the client should be otherwise."""
        found = client_findings(self.client, deadline=self.deadline)
        return [*deadline_findings(self.deadline), *found]

    async def server_findings(self) -> list[Finding]:
        """What of the server should be known. Raises `StoreError`."""
        # No connection is opened to a server that cannot count, and INFO says why it cannot.
        info: Any = await in_time(BUDGET, self.client.info(), self.pool, "INFO")
        return [*server_findings(info), *distance_findings(self.distance)]

    async def carry(self) -> None:
        """Send what is due now, without a batch. Raises `StoreError`."""
        await in_time(self.deadline, self._carry(), self.pool, "ZADD")

    async def _carry(self) -> None:
        await self.connections.ready()
        load = Load(due(self._piggybacks), self._prefix, self.clock.now_ms())
        if load.replies:
            exchanged = await self.connections.exchange(load.packed, load.replies)
            load.read(exchanged.replies)

    async def _prepare(self, connection: Any) -> None:
        """See whether ``EXPIRE NX`` (Redis 7.0) is known, read the clock, try the script."""
        probe = Probe(self._prefix)
        packed = probe.packed + TIME + script.trial(probe.key)
        sent_ms = monotonic_ms()
        *probed, time = await wire.replies(connection, probe.replies + 1, unsent=packed)
        received_ms = monotonic_ms()
        tried = await wire.replies(connection, script.TRIAL_REPLIES)
        try:
            self.counts = probe.read(probed)
        except Exception as error:
            raise store_error(error, self.pool, probe.command) from error
        if isinstance(time, Exception):
            raise store_error(time, self.pool, "TIME") from time
        try:
            self._sends_source = script.needs_source(*tried)
        except ResponseError as error:
            if not self.counts:
                raise store_error(error, self.pool, "EVAL") from error
            # Otherwise it is an error of the hits that need a script.
        self.clock.note(milliseconds(time), sent_ms=sent_ms, received_ms=received_ms)
        is_new = self.distance.arrive(wire.peer(connection))
        self._note_trip(sent_ms, received_ms)
        if is_new:
            _log.info("Redis is %s", self.distance)
        self._connected()

    def _leave(self) -> None:
        """The Sentinels name another master."""
        self.connections.leave()

    def _note_trip(self, sent_ms: int, received_ms: int) -> None:
        if self.distance.note(sent_ms, received_ms):
            for batcher in (self.counters, self.scripts):
                batcher.set_deadline(self.deadline)

    def _counters(self, requests: list[Sequence[Hit]]) -> Batch:
        if not self.counts:  # it was found just now
            return self._script(requests)
        return Counters(
            requests,
            prefix=self._prefix,
            now_ms=self.clock.now_ms(),
            asks_time=self.clock.is_stale(),
        )

    def _script(self, requests: list[Sequence[Hit]]) -> Batch:
        return Script(
            requests,
            prefix=self._prefix,
            now_ms=self.clock.now_ms(),
            with_source=self._sends_source,
        )

    def _send(self, plan: _Plan, requests: list[Sequence[Hit]]) -> Awaitable[Answers]:
        """Send at once if it can be; then the answers must be awaited. Raises `StoreError`."""
        if batch_sent.receivers:
            batch_sent.send_safely(self, size=len(requests))
        if not self.connections.is_prepared:
            return self._read(plan, requests)
        load = None
        try:
            batch = plan(requests)
            if self._piggybacks and (riders := due(self._piggybacks)):
                load = Load(riders, self._prefix, self.clock.now_ms())
                packed, replies = batch.packed + load.packed, batch.replies + load.replies
                exchange = self.connections.exchange(packed, replies)
            else:
                exchange = self.connections.exchange(batch.packed, batch.replies)
        except Exception as error:
            raise store_error(error, self.pool, "writing") from error
        return self._read(plan, requests, batch, exchange, load)

    async def _read(
        self,
        plan: _Plan,
        requests: list[Sequence[Hit]],
        batch: Batch | None = None,
        exchange: Awaitable[Exchanged] | None = None,
        load: Load | None = None,
    ) -> Answers:
        """The answers to a batch that was sent, or that can be sent after preparing only."""
        try:
            if batch is None or exchange is None:
                await self.connections.ready()
                batch = plan(requests)
                exchange = self.connections.exchange(batch.packed, batch.replies)
            replies, sent_ms, received_ms = await exchange
            self._note_trip(sent_ms, received_ms)
            if load is not None:
                load.read(replies)
            if isinstance(batch, Script) and script.ran_nothing(replies[0]):
                self._sends_source = not script.is_unknown(replies[0])
                replies, sent_ms, received_ms = await self._send_source(batch)
            answers = batch.read(replies)
        except Exception as error:  # redis-py lets AttributeError and similar errors escape, too
            self._leave_if_elsewhere([error])
            called = batch.command if batch else "connecting"
            raise store_error(error, self.pool, called) from error
        if batch.server_ms is not None:
            self.clock.note(batch.server_ms, sent_ms=sent_ms, received_ms=received_ms)
        if set(map(type, answers)) != {list}:  # a request failed alone
            self._leave_if_elsewhere(answers)
            return [
                store_error(answer, self.pool, batch.command)
                if isinstance(answer, Exception)
                else answer
                for answer in answers
            ]
        return answers

    async def _send_source(self, batch: Script) -> Exchanged:
        """Redis restarted or was flushed, or refuses EVALSHA from now on.

        Nothing ran for those hits, so sending them again charges no client twice.
        """
        batch.with_source = True
        return await self.connections.exchange(batch.packed, batch.replies)

    def _leave_if_elsewhere(self, answers: Sequence[object]) -> None:
        """After a failover the connections lead to what is a replica now: drop them.

        At a node of a Cluster the probe of the next connection fails every hit.
        """
        if any(map(leads_elsewhere, answers)):
            self.connections.drop_idle()
