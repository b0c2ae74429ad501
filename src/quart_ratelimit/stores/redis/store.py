"""Keeps state in Redis: one pipeline for all hits that arrive while the last one is under way.

Hits that need the script go in shares, so that Redis runs one while the last one's callers go on.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache, partial
from inspect import signature
from typing import Any, TypeVar
from urllib.parse import urlsplit

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    MasterDownError,
    NoPermissionError,
    NoScriptError,
    ReadOnlyError,
    ResponseError,
)

from ...errors import (
    ConfigurationError,
    StoreError,
    StoreMisconfigured,
    StoreOverloaded,
    StoreTimeout,
)
from ...findings import Finding
from ...quotas import Decision, Hit
from ...quotas.fixed_window import KEPT_LONGER, is_counted
from ...signals import batch_sent
from . import script, wire
from .batcher import Batcher, DeadlinePassed, within
from .checkup import (
    check_options,
    check_own,
    checked_client,
    checked_connections,
    client_findings,
    deadline_findings,
    opener_of,
    server_findings,
)
from .server_clock import ServerClock

_NO_MAINTENANCE: dict[str, Any] = {}
if "maint_notifications_config" in signature(redis.asyncio.Redis).parameters:  # redis-py 8.0
    from redis.maint_notifications import MaintNotificationsConfig

    # They switch off the check for a stray reply at checkout, which would shift every later
    # reply of that connection by one.
    _NO_MAINTENANCE["maint_notifications_config"] = MaintNotificationsConfig(enabled=False)

T = TypeVar("T")

#: Seconds that `RedisStore.start`, which opens every connection, and each step of
#: `RedisStore.clear` may take.
START_DEADLINE = 1.0
#: Keys asked for at a time by `RedisStore.clear`.
SCAN_COUNT = 500
#: Requests that are worth a run of the script: its start then costs each a tenth of its decision.
SHARE = 32

_Answers = Sequence[list[Decision] | Exception]
_Ask = Callable[[list[Sequence[Hit]]], Awaitable[_Answers]]

#: What opens a client: called in the event loop that will use it.
Opener = Callable[[], "redis.asyncio.Redis"]

_SENTINEL_SCHEMES = {"redis+sentinel", "valkey+sentinel"}
_SCHEMES = {
    "redis": "redis",
    "rediss": "rediss",
    "unix": "unix",
    "valkey": "redis",
    "valkeys": "rediss",
    "redis+unix": "unix",
}


class RedisStore:
    """Counts in Redis, shared by all workers, exact whatever their clocks say.

    ``source`` is a URI (``redis://``, ``rediss://``, ``unix://``, ``valkey://``), a callable that
    opens a ``redis.asyncio`` client, or a client, which its owner closes; nothing is opened before
    the first hit or `start`. With a URI the option ``connection_pool`` is used instead of it.
    ``deadline`` (seconds) covers all that one hit may wait for. Raises `ConfigurationError`.
    """

    def __init__(
        self,
        source: str | Opener | redis.asyncio.Redis,
        *,
        prefix: str = "rate_limit",
        deadline: float = 0.05,
        max_connections: int = 4,
        **options: Any,
    ) -> None:
        check_own(prefix, deadline)
        self._prefix = prefix
        self._deadline = deadline
        self._max_connections = checked_connections(max_connections)
        if isinstance(source, str) and "connection_pool" not in options:
            self._open = _opener(source, max_connections, options)
        elif callable(source):
            self._open = source
        else:
            handed = options.get("connection_pool")
            pool = checked_client(source).connection_pool if handed is None else handed
            self._open = opener_of(pool)
        self._link: _Link | None = None
        #: Links of the process that this one was forked from: not ours to use, nor to close.
        self._parents: list[_Link] = []

    async def start(self) -> None:
        """Connect and see what this Redis can do. Raises `StoreError`."""
        await self._within(max(START_DEADLINE, self._deadline), self._linked().open())

    async def aclose(self) -> None:
        """Close the connections. A later hit opens them again."""
        link, self._link = self._link, None
        if link is not None and link.is_mine():
            await link.aclose()

    async def hit(self, hits: Sequence[Hit]) -> list[Decision]:
        """Carry out all hits or none, in the batch that goes out next; see `Store.hit`."""
        return await self.join(hits)

    def join(self, hits: Sequence[Hit]) -> asyncio.Future[list[Decision]]:
        """As `hit`, but they are in the batch as soon as this is called."""
        link = self._linked()
        counted = link.counts and is_counted(hits)
        return (link.counters if counted else link.scripts).join(hits)

    def known_refusal(self, hits: Sequence[Hit]) -> None:
        """None: this store remembers no refusal; see `Store.known_refusal`."""

    async def reset(self, hits: Sequence[Hit]) -> int:
        """Forget the state behind these hits; how many keys there were. Raises `StoreError`."""
        link = self._linked()

        async def unlink() -> int:
            await link.prepare()
            now = link.clock.now_ms()
            keys = {f"{self._prefix}:{hit.quota.state_key(hit.key, now)}" for hit in hits}
            return int(await link.client.unlink(*map(wire.encoded, keys))) if keys else 0

        return await self._within(self._deadline, unlink())

    async def clear(self) -> int:
        """Forget every key under this store's prefix, by SCAN; how many. Raises `StoreError`."""
        client, patience = self._linked().client, max(START_DEADLINE, self._deadline)
        pattern = script.pattern(self._prefix)
        cursor, count = None, 0
        while cursor != 0:
            scan = client.scan(cursor or 0, match=pattern, count=SCAN_COUNT)
            cursor, keys = await self._within(patience, scan)
            if keys:
                count += int(await self._within(patience, client.unlink(*keys)))
        return count

    def findings(self) -> list[Finding]:
        """What of the client should be otherwise. Opens nothing, and needs an event loop."""
        found = client_findings(self._linked().client, deadline=self._deadline)
        return [*deadline_findings(self._deadline), *found]

    async def server_findings(self) -> list[Finding]:
        """What of the server should be known. Raises `StoreError`."""
        info = await self._within(START_DEADLINE, self._linked().client.info())
        return list(server_findings(info))

    def _linked(self) -> _Link:
        link = self._link
        # A loop runs in one process alone: after a fork there is another, or none.
        if link is None or link.loop is not asyncio.get_running_loop():
            if link is not None and link.pid != os.getpid():
                self._parents.append(link)
            client = checked_client(self._open())
            link = self._link = _Link(client, self._prefix, self._deadline, self._max_connections)
        return link

    async def _within(self, deadline: float, call: Awaitable[T]) -> T:
        try:
            return await within(deadline, call)
        except DeadlinePassed as error:
            raise _late(deadline) from error
        except Exception as error:
            raise store_error(error) from error


class _Link:
    """One client in one event loop of one process, and what is known of the server behind it."""

    def __init__(
        self, client: redis.asyncio.Redis, prefix: str, deadline: float, in_flight: int
    ) -> None:
        self.client = client
        self.wire = wire.Wire(client.connection_pool)
        self.clock = ServerClock()
        beside = max(1, in_flight // 2)
        batcher = partial(
            Batcher[Sequence[Hit], list[Decision]],
            deadline=deadline,
            late=_late(deadline),
            full=StoreOverloaded("too many hits wait for Redis already"),
        )
        self.counters = batcher(partial(self._answers, self._count), in_flight=beside)
        self.scripts = batcher(
            partial(self._answers, self._decide),
            in_flight=max(1, in_flight - beside),
            share=SHARE,
        )
        self._prefix = prefix
        self._in_flight = in_flight
        self.loop = asyncio.get_running_loop()
        self.pid = os.getpid()
        self._prepared = False
        #: Whether Redis knows ``EXPIRE NX`` (7.0). Before that the script counts all.
        self.counts = True

    def is_mine(self) -> bool:
        """Whether it was opened by this very event loop and process: no other may use it."""
        return self.loop is asyncio.get_running_loop() and self.pid == os.getpid()

    async def aclose(self) -> None:
        await self.counters.aclose()
        await self.scripts.aclose()
        await self.wire.aclose()
        await self.client.aclose()
        manager = getattr(self.client.connection_pool, "sentinel_manager", None)
        for sentinel in manager.sentinels if manager else ():
            await sentinel.aclose()

    async def open(self) -> None:
        """Prepare, and open every connection: none is left to be opened under load."""
        await self.prepare()
        await asyncio.gather(*[self.client.ping() for _ in range(self._in_flight)])

    async def prepare(self) -> None:
        """Load the script, read the clock, and see whether ``EXPIRE NX`` (Redis 7.0) is known."""
        if self._prepared:
            return
        probe = f"{self._prefix}:probe"
        packed = [
            wire.MULTI,
            wire.command("SET", probe, 0, "PX", 1000),
            wire.command("EXPIRE", probe, 1, "NX"),
            wire.command("DEL", probe),
            wire.EXEC,
        ]
        # By hand as well, as redis-py 6 loses the text of an error in a pipeline.
        replies = await self.wire.exchange(b"".join(packed), len(packed))
        try:
            for reply in _executed(replies):
                if isinstance(reply, Exception):
                    raise reply
            self.counts = True
        except (NoPermissionError, ReadOnlyError):
            raise
        except ResponseError as error:
            if "wrong number of arguments" not in str(error):
                raise
            self.counts = False
        self.clock.set_by(await self.client.time())
        await self.client.script_load(script.script())
        self._prepared = True

    def _answers(self, ask: _Ask, requests: list[Sequence[Hit]]) -> Awaitable[_Answers]:
        """Send at once if it can be; then the answers are to be awaited. Raises `StoreError`."""
        if batch_sent.receivers:
            batch_sent.send_safely(self, size=len(requests))
        try:
            asked = ask(requests) if self._prepared else None
        except Exception as error:
            raise store_error(error) from error
        return self._answered(ask, requests, asked)

    async def _answered(
        self, ask: _Ask, requests: list[Sequence[Hit]], asked: Awaitable[_Answers] | None
    ) -> _Answers:
        try:
            if asked is None:
                await self.prepare()
                asked = ask(requests)
            answers = await asked
        except asyncio.CancelledError:
            raise
        except Exception as error:  # redis-py lets AttributeError and its like escape, too
            await self._leave_replica([error])
            raise store_error(error) from error
        if set(map(type, answers)) != {list}:  # a counter failed alone
            await self._leave_replica(answers)
            return [store_error(a) if isinstance(a, Exception) else a for a in answers]
        return answers

    async def _leave_replica(self, answers: Sequence[object]) -> None:
        """After a failover the pool holds connections to what is a replica now: drop them."""
        if any(map(_is_replicas, answers)):
            await self.wire.aclose()
            await self.client.connection_pool.disconnect(inuse_connections=False)

    def _count(self, requests: list[Sequence[Hit]]) -> Awaitable[_Answers]:
        if not self.counts:  # it was found just now
            return self._decide(requests)
        batch = script.Counters(requests, prefix=self._prefix, now_ms=self.clock.now_ms())
        packed = [wire.command("GET", key) for key in batch.looks]
        if batch.keys:
            # INCRBY and its EXPIRE stay together, also when the connection breaks between them.
            packed.append(wire.MULTI)
            packed += [
                wire.count(key, len(callers), quota.period + KEPT_LONGER)
                for key, (quota, callers) in batch.keys.items()
            ]
            packed.append(wire.EXEC)
        ask_clock = self.clock.is_stale()
        if ask_clock:
            packed.append(wire.TIME)
        looks, counts = len(batch.looks), 2 * len(batch.keys)
        commands = looks + (counts + 2 if counts else 0) + ask_clock
        return self._counted(batch, self.wire.exchange(b"".join(packed), commands), ask_clock)

    async def _counted(
        self, batch: script.Counters, exchange: Awaitable[list[Any]], ask_clock: bool
    ) -> _Answers:
        replies = await exchange
        if ask_clock:
            self.clock.set_by(replies.pop())
        looks = len(batch.looks)
        totals = _executed(replies[looks:])[::2] if batch.keys else ()
        return batch.read(replies[:looks], totals)

    def _decide(self, requests: list[Sequence[Hit]]) -> Awaitable[_Answers]:
        batch = script.Script(requests, prefix=self._prefix, now_ms=self.clock.now_ms())
        if batch.lone is None:
            keys, arguments = batch.keys, batch.arguments()
            sent = wire.command("EVALSHA", script.sha(), len(keys), *keys, *arguments)
        else:
            (key,) = batch.keys
            before, after = _around(batch.lone.spec())
            sent = before + wire.bulk(key) + after
        return self._decided(batch, sent, self.wire.exchange(sent, 1))

    async def _decided(
        self, batch: script.Script, sent: bytes, exchange: Awaitable[list[Any]]
    ) -> _Answers:
        (reply,) = await exchange
        if isinstance(reply, NoScriptError):
            # Redis restarted or was flushed. Nothing ran for those hits, so sending them again
            # charges nobody twice.
            load = wire.command("SCRIPT", "LOAD", script.script())
            loaded, reply = await self.wire.exchange(load + sent, 2)
            if isinstance(loaded, Exception):
                raise loaded
        answers = batch.read(reply)
        self.clock.set(batch.at_ms)
        return answers


def _late(deadline: float) -> StoreTimeout:
    return StoreTimeout(f"Redis did not answer within {deadline} s")


@lru_cache(maxsize=1024)
def _around(spec: tuple[str | int, ...]) -> tuple[bytes, bytes]:
    """What is sent before and after the key of a single plain hit."""
    key = "\0"  # no other argument holds it
    whole = wire.command("EVALSHA", script.sha(), 1, key, 0, *spec)
    before, _, after = whole.partition(wire.bulk(key))
    return before, after


def _executed(replies: list[Any]) -> list[Any]:
    """What EXEC replied to the commands between it and MULTI. Raises what it refused them for."""
    executed = replies[-1]
    if isinstance(executed, list):
        return executed
    errors = [reply for reply in replies if isinstance(reply, Exception)]
    raise errors[0] if errors else ValueError("EXEC replied with no list")


def _is_replicas(answer: object) -> bool:
    """Whether only a replica answers so. Before Redis 7.0 a script hides the code in its text."""
    if isinstance(answer, (ReadOnlyError, MasterDownError)):
        return True
    return isinstance(answer, ResponseError) and "-READONLY " in str(answer)


def store_error(error: BaseException) -> StoreError:
    """What a failure of Redis or its client means to us; its text bears no key and no secret."""
    if isinstance(error, StoreError):
        return error
    kind = type(error).__name__
    if isinstance(error, (AuthenticationError, NoPermissionError)):
        return StoreMisconfigured(f"Redis refuses our user ({kind}): check its password and ACL")
    if isinstance(error, ResponseError):
        code = str(error).split(" ", 1)[0]
        if code == "WRONGTYPE":
            return StoreMisconfigured("Redis holds something else under a key of ours (WRONGTYPE)")
        return StoreError(f"Redis answered with an error ({kind} {code[:20]})")
    return StoreError(f"Redis could not be asked ({kind})")


def _opener(uri: str, max_connections: int, options: dict[str, Any]) -> Opener:
    """Check a URI now; open its client later."""
    scheme, separator, rest = uri.partition("://")
    settings: dict[str, Any] = {
        "max_connections": max(2, max_connections),  # one is kept for the batches
        # Never sent twice: redis-py's default would count one hit up to 11 times.
        "retry": Retry(NoBackoff(), 0),
        # The batch has one deadline; a timer for each reply costs a third of its CPU.
        "socket_timeout": None,
        "socket_connect_timeout": None,
        "health_check_interval": 0,
        **_NO_MAINTENANCE,
        **options,
    }
    if scheme in _SENTINEL_SCHEMES:
        return _sentinel_opener(uri, settings)
    if not separator or scheme not in _SCHEMES:
        raise ConfigurationError(
            f"{redacted(uri)!r} is not a store; write 'memory://', 'redis://localhost:6379/0', "
            "'rediss://…', 'unix:///path/to/redis.sock', 'valkey://…', 'redis+sentinel://…' or "
            "'redis+cluster://…'"
        )
    url = f"{_SCHEMES[scheme]}://{rest}"
    check_url(url, uri)

    def open_client() -> redis.asyncio.Redis:
        pool = redis.asyncio.BlockingConnectionPool.from_url(url, **settings)
        client = redis.asyncio.Redis.from_pool(pool)
        client.auto_close_connection_pool = True
        return client

    check_options(open_client, redacted(uri))
    return open_client


def _sentinel_opener(uri: str, settings: dict[str, Any]) -> Opener:
    """``redis+sentinel://[user:password@]host:port,host:port/service[/db]``."""
    rest = uri.partition("://")[2]
    login, _, place = rest.rpartition("@")
    hosts, _, path = place.partition("/")
    service, _, database = path.partition("/")
    try:
        pairs = [host.rpartition(":") for host in hosts.split(",")]
        nodes = [(host, int(port)) for host, _, port in pairs]
        number = int(database or 0)
    except ValueError:
        nodes, number = [], 0
    if not nodes or not all(host for host, _ in nodes) or not service:
        raise ConfigurationError(
            f"{redacted(uri)!r} names no Sentinels and service; write "
            "'redis+sentinel://host:26379,host:26379/mymaster/0'"
        )
    user, _, password = login.partition(":")
    own = {name: value for name, value in (("username", user), ("password", password)) if value}
    # SentinelConnectionPool asks the Sentinels anew whenever a connection is lost or read-only.
    kept = {name: value for name, value in settings.items() if name != "max_connections"}

    def open_client() -> redis.asyncio.Redis:
        make: Any = Sentinel  # redis-py types none of its arguments
        sentinel = make(nodes, sentinel_kwargs=dict(kept), **own, **kept, db=number)
        client: redis.asyncio.Redis = sentinel.master_for(service)
        return client

    check_options(open_client, redacted(uri))
    return open_client


def check_url(url: str, uri: str) -> None:
    """Raise `ConfigurationError`, which names the URI, unless redis-py can read its URL.

    It does not say why: that may quote what was taken for a port and is half a password.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme != "unix" and parts.path.strip("/"):
            int(parts.path.strip("/"))  # redis-py takes database 0 for one that is no number
        parts.port  # noqa: B018  # it raises on a bad port
        redis.asyncio.connection.parse_url(url)
    except ValueError:
        raise ConfigurationError(
            f"{redacted(uri)!r} cannot be read as a Redis URI; write "
            "'redis://user:password@localhost:6379/0', and in a password %2F for /, %23 for #, "
            "%3F for ?, %40 for @"
        ) from None


def redacted(uri: str) -> str:
    """A URI without its user, its password and its query, for messages."""
    scheme, separator, rest = uri.partition("://")
    before, _, host = rest.rpartition("@")
    # What follows the @ may be the end of a password in the query.
    return f"{scheme}{separator}{'…' if '?' in before else host.partition('?')[0]}"
