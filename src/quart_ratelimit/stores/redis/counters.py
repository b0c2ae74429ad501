"""Windows by the clock, counted by ``INCRBY`` and ``EXPIRE NX``: what is sent and how it is read.

No I/O. The keys are the Flask snippet's. `Probe` finds out whether a server can do it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.exceptions import NoPermissionError, ReadOnlyError, ResponseError

from ...quotas import FixedWindow, Hit
from ...quotas.fixed_window import KEPT_LONGER
from ...quotas.quota import MAX_EXACT
from .packing import EXEC, MULTI, TIME, command, encoded
from .script import Answers

#: The place of a request in its batch, and its quota.
_Caller = tuple[int, FixedWindow]

_COUNT = (
    b"*3\r\n$6\r\nINCRBY\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n"
    b"*4\r\n$6\r\nEXPIRE\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$2\r\nNX\r\n"
)


class Counters:
    """Requests that `is_counted`: ``INCRBY`` and ``EXPIRE NX``, or ``GET`` where one only looks.

    Those on one key are merged.
    """

    def __init__(
        self,
        requests: Sequence[Sequence[Hit]],
        *,
        prefix: str,
        now_ms: int,
        asks_time: bool = False,
    ) -> None:
        self._now_ms = now_ms
        self._count = len(requests)
        self._asks_time = asks_time
        #: The server's seconds and microseconds, once the replies were read, if requested.
        self._time: Any = None
        #: key -> who hits it, in order: all of their quotas have its period.
        self.keys: dict[str, list[_Caller]] = {}
        #: key -> who looks at it.
        self.looks: dict[str, list[_Caller]] = {}
        known: dict[int, list[_Caller]] = {}
        for index, hits in enumerate(requests):
            quota: Any = hits[0].quota  # a `FixedWindow`, as `is_counted` saw
            callers = known.get(id(hits))  # hits of one client may share them
            if callers is None:
                ((_, key, cost, *_),) = hits
                name = f"{prefix}:{quota.state_key(key, now_ms)}"
                group = self.keys if cost else self.looks
                callers = known[id(hits)] = group.setdefault(name, [])
            callers.append((index, quota))

    @property
    def command(self) -> str:
        """The command that counts, or the one that looks."""
        return "INCRBY" if self.keys else "GET"

    @property
    def packed(self) -> bytes:
        """What is sent: a ``GET`` for each look, one transaction, and ``TIME`` on request."""
        parts = [command("GET", key) for key in self.looks]
        if self.keys:
            # INCRBY and its EXPIRE stay together, also when the connection breaks between them.
            parts.append(MULTI)
            parts += [
                _count(key, len(callers), callers[0][1].period + KEPT_LONGER)
                for key, callers in self.keys.items()
            ]
            parts.append(EXEC)
        if self._asks_time:
            parts.append(TIME)
        return b"".join(parts)

    @property
    def replies(self) -> int:
        """How many replies belong to it."""
        counts = 2 * len(self.keys)
        return len(self.looks) + (counts + 2 if counts else 0) + self._asks_time

    @property
    def server_ms(self) -> int | None:
        """The server's time, in ms, once the replies were read; None if it was not requested."""
        return None if self._time is None else milliseconds(self._time)

    def read(self, replies: list[object]) -> Answers:
        """Each request's decisions, by the replies to `packed`, in their order.

        Raises what Redis refused the transaction for, and `ValueError` on a reply that Redis would
        never give.
        """
        if self._asks_time:
            time = replies.pop()
            self._time = None if isinstance(time, Exception) else time
        looks = replies[: len(self.looks)]
        totals = executed(replies[len(self.looks) :])[::2] if self.keys else ()
        now_ms = self._now_ms
        answers: Answers = [[]] * self._count
        for callers, value in zip(self.looks.values(), looks, strict=True):
            used = _used(value)
            for index, quota in callers:
                answers[index] = used if isinstance(used, Exception) else [quota.seen(used, now_ms)]
        for callers, total in zip(self.keys.values(), totals, strict=True):
            if isinstance(total, Exception):
                full = "overflow" in str(total)  # it counts no further, so it is far past any limit
                for index, quota in callers:
                    answers[index] = [quota.ranked(MAX_EXACT, now_ms)] if full else total
                continue
            first = _whole(total) - len(callers) + 1
            if first < 1:
                raise ValueError("a counter is below what was just added to it")
            for count, (index, quota) in enumerate(callers, first):
                answers[index] = [quota.ranked(count, now_ms)]
        return answers


class Probe:
    """Whether a server knows ``EXPIRE NX`` (Redis 7.0); an older one counts by the script.

    Its two keys lie in different slots, so a node of a Cluster always refuses it.
    """

    command = "SET, INCRBY, EXPIRE NX, DEL"

    def __init__(self, prefix: str) -> None:
        key = f"{prefix}:probe"
        self.key: str = key
        parts = [
            MULTI,
            command("SET", key, 0, "PX", 1000),
            command("INCRBY", key, 0),
            command("EXPIRE", key, 1, "NX"),
            command("DEL", key, f"{key}2"),
            EXEC,
        ]
        self.packed: bytes = b"".join(parts)
        self.replies: int = len(parts)

    def read(self, replies: list[object]) -> bool:
        """Whether it does. Raises what else the server refused the probe for."""
        try:
            for reply in executed(replies):
                if isinstance(reply, Exception):
                    raise reply
        except (NoPermissionError, ReadOnlyError):
            raise
        except ResponseError as error:
            if "wrong number of arguments" not in str(error):
                raise
            return False
        return True


def executed(replies: list[object]) -> list[object]:
    """What EXEC replied to the commands between it and MULTI. Raises what it refused them for."""
    last = replies[-1]
    if isinstance(last, list):
        return last
    errors = [reply for reply in replies if isinstance(reply, Exception)]
    raise errors[0] if errors else ValueError("EXEC replied with no list")


def milliseconds(time: Any) -> int:
    """What ``TIME`` replied: seconds and microseconds."""
    seconds, micros = map(int, time)
    return seconds * 1000 + micros // 1000


def _count(key: str, by: int, seconds: int) -> bytes:
    """``INCRBY key by``, then ``EXPIRE key seconds NX``."""
    name, units, period = encoded(key), b"%d" % by, b"%d" % seconds
    size = len(name)
    return _COUNT % (size, name, len(units), units, size, name, len(period), period)


def _whole(reply: object) -> int:
    # redis-py passes b"OK", None, True or 1.5 as they come; none of them is a count.
    if type(reply) is not int:
        raise ValueError(f"a reply is {type(reply).__name__} where an integer belongs")
    return reply


def _used(reply: object) -> int | Exception:
    """What GET replied of a counter."""
    if reply is None or isinstance(reply, Exception):
        return reply or 0
    if not isinstance(reply, (bytes, str)):
        raise ValueError(f"a reply is {type(reply).__name__} where a string belongs")
    return (
        int(reply) if reply.isdigit() else ResponseError("WRONGTYPE a counter holds something else")
    )
