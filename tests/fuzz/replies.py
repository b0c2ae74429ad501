"""Replies that Redis never gives: calls end in time, and nobody is admitted by another's answer.

A real Redis carries everything out; a proxy changes what it replies. The next call must be right.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable
from random import Random

from quart_ratelimit import Decision, FixedWindow, Hit, StoreError
from quart_ratelimit.stores import RedisStore

from ..support.proxy import Broken, Proxy, deliver
from ..support.servers import RedisServer
from . import main

#: Seconds that a call may wait for a changed reply, and for one that Redis made: a machine that is
#: busy with other work must not look like a store that fails.
DEADLINE, PATIENCE = 0.1, 5.0
#: Seconds by which a call may end late where this machine is slow: it does not hang.
SLACK = 2.0

AMOUNT = 3
QUOTAS = [FixedWindow(AMOUNT, 86_400, aligned=True), FixedWindow(AMOUNT, 86_400)]

#: Whole frames of RESP 2 and 3 that are no integer, nor hold one.
FRAMES = [
    *(b"+OK\r\n", b"+QUEUED\r\n", b"+\r\n", b"$-1\r\n", b"$0\r\n\r\n", b"$2\r\nOK\r\n", b"*-1\r\n"),
    *(b"*0\r\n", b"*1\r\n+OK\r\n", b"_\r\n", b"#t\r\n", b"#f\r\n", b",1.5\r\n", b",inf\r\n"),
    *(
        b"%1\r\n+a\r\n+b\r\n",
        b"~1\r\n+a\r\n",
        b"=7\r\ntxt:abc\r\n",
        b"!5\r\nERR a\r\n",
        b",nan\r\n",
    ),
    *(b">2\r\n+invalidate\r\n*0\r\n", b"|1\r\n+a\r\n+b\r\n", b"$5\r\n+OK\r\n\r\n"),
]
ERRORS = [
    b"-%b\r\n" % text
    for text in (
        *(
            b"ERR",
            b"ERR unknown",
            b"LOADING x",
            b"OOM x",
            b"READONLY x",
            b"MASTERDOWN x",
            b"BUSY x",
        ),
        *(b"WRONGTYPE x", b"NOAUTH x", b"NOPERM x", b"MOVED 1 127.0.0.1:1", b"ASK 1 127.0.0.1:1"),
        *(
            b"CLUSTERDOWN x",
            b"EXECABORT x",
            b"ERR increment or decrement would overflow",
            b"",
            b" ",
        ),
    )
]
#: What is not RESP, or announces more than comes.
BROKEN = [
    *(b"hello\r\n", b"\r\n", b"\n", b"\x00", b"\xff" * 40, b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    *(b"$9999999\r\n", b"*100000\r\n", b"$-2\r\n", b"*-2\r\n", b":\r\n", b":x\r\n", b":1.5\r\n"),
    *(b"*1\r\n" * 50, b"*1\r\n" * 2_000, b"$x\r\n", b"%-1\r\n", b",\r\n", b"(\r\n", b"?\r\n"),
    *(b"$999999999999999999999\r\n", b":99999999999999999999\r\n", b"+" + b"x" * 100_000 + b"\r\n"),
]
#: Frames that may pass for a count.
COUNTS = [b":0\r\n", b":1\r\n", b":-1\r\n", b":2\r\n", b":9007199254740993\r\n", b"(1\r\n"]

#: What a new connection, and a store on its first, ask for.
OPENINGS = [b"HELLO", b"SETINFO", b"probe", b"TIME", b"SCRIPT"]

LINE = re.compile(rb"[^\r]*\r\n")


def surplus(random: Random, reply: bytes) -> bytes:
    return reply + b"".join(random.choices(FRAMES + ERRORS + COUNTS + BROKEN, k=2))


def shifted(random: Random, reply: bytes) -> bytes:
    return random.choice(FRAMES + ERRORS + COUNTS) + reply


def wrong_type(random: Random, reply: bytes) -> bytes:
    changed = _with_line(random, reply, lambda line: random.choice(FRAMES + ERRORS + BROKEN))
    return _ended(random, changed)


def doubled(random: Random, reply: bytes) -> bytes:
    return _with_line(random, reply, lambda line: line + line)


def lacking(random: Random, reply: bytes) -> bytes:
    return Broken(_with_line(random, reply, lambda line: b""))


def swapped(random: Random, reply: bytes) -> bytes:
    lines = LINE.findall(reply)
    random.shuffle(lines)
    return Broken(b"".join(lines))


def replaced(random: Random, reply: bytes) -> bytes:
    frames = random.choices(FRAMES + ERRORS + BROKEN, k=random.randrange(1, 4))
    return _ended(random, b"".join(frames))


def truncated(random: Random, reply: bytes) -> bytes:
    return _ended(random, reply[: random.randrange(len(reply))])


def garbled(random: Random, reply: bytes) -> bytes:
    changed = bytearray(reply)
    for _ in range(random.randrange(1, 4)):
        changed[random.randrange(len(changed))] = random.randrange(256)
    return Broken(bytes(changed))


def miscounted(random: Random, reply: bytes) -> bytes:
    return Broken(_with_line(random, reply, lambda line: random.choice(COUNTS)))


def _ended(random: Random, reply: bytes) -> bytes:
    """Then the connection ends, or rarely there is silence, which costs the deadline."""
    return reply if random.random() < 0.05 else Broken(reply)


def _with_line(random: Random, reply: bytes, change: Callable[[bytes], bytes]) -> bytes:
    lines = LINE.findall(reply) or [reply]
    place = random.randrange(len(lines))
    lines[place] = change(lines[place])
    return b"".join(lines)


Change = Callable[[Random, bytes], bytes]
#: What shows by its form that it is not Redis' answer: nobody may be admitted by it wrongly.
EVIDENT: list[Change] = [surplus, wrong_type, lacking, replaced, truncated]
#: What may pass for an answer of Redis': the number in it is wrong, but the next call is right.
LIES: list[Change] = [shifted, doubled, swapped, garbled, miscounted]


class Fuzzer:
    """One store behind one proxy."""

    def __init__(self, random: Random, proxy: Proxy, store: RedisStore) -> None:
        self.random = random
        self.proxy = proxy
        self.store = store
        self.number = 0

    def set_deadline(self, seconds: float) -> None:
        link = self.store._links.get()
        link.distance._given = seconds
        for batcher in (link.counters, link.scripts):
            batcher.set_deadline(seconds)

    async def call(self, hit: Hit, deadline: float = PATIENCE) -> Decision | StoreError:
        self.set_deadline(deadline)
        began = time.monotonic()
        try:
            (decision,) = await self.store.hit([hit])
        except StoreError as error:
            return error
        finally:
            took = time.monotonic() - began
            if took > deadline + SLACK:
                raise AssertionError(f"a call takes {took:.2f} s")
        return decision

    async def check(self) -> str:
        """One changed reply, to two callers; what came of it."""
        self.number += 1
        random, who = self.random, f"client-{self.number}"
        quota, change = random.choice(QUOTAS), random.choice(EVIDENT + LIES)
        opening = random.choice(OPENINGS) if random.random() < 0.1 else b""
        before = random.randrange(AMOUNT + 2)
        for _ in range(before):
            if isinstance(await self.call(Hit(quota, who)), StoreError):
                return "not tried, as this machine was too slow"
        if opening:
            await self.store.aclose()
        seen: list[bytes] = []

        def fault(reply: bytes) -> bytes:
            seen.append(change(random, reply))
            return seen[-1]

        self.proxy.match = opening or who.encode()
        self.proxy.fault, self.proxy.times = fault, 1
        answers = await asyncio.gather(
            *[self.call(Hit(quota, f"{who}{other}"), DEADLINE) for other in ("", "-b")]
        )
        self.proxy.fault, self.proxy.times = deliver, 0
        outcomes = []
        for answer, used in zip(answers, (before, 0), strict=True):
            if isinstance(answer, StoreError):
                outcomes.append("error")
                continue
            exact = (answer.allowed, answer.remaining) == (used < AMOUNT, max(0, AMOUNT - used - 1))
            if change in EVIDENT and not opening and not exact and answer.allowed:
                raise AssertionError(f"{answer} of {used} used, by {seen!a} ({change.__name__})")
            outcomes.append("exact" if exact else "wrong" if answer.allowed else "refused")
        following = await self.answered(Hit(quota, f"next-{self.number}"), seen)
        if (following.allowed, following.remaining) != (True, AMOUNT - 1):
            raise AssertionError(f"{following} follows {seen!a}")
        place = f"opening, {opening.decode()}" if opening else change.__name__
        return f"{place}: {min(outcomes)}" + f" and {max(outcomes)}" * (len(set(outcomes)) > 1)

    async def answered(self, hit: Hit, seen: object) -> Decision:
        """The store's decision; of a second call at the latest, whose connection is new."""
        answer = await self.call(hit)
        if isinstance(answer, StoreError):
            # The first may have been counted: the second has a key of its own.
            answer = await self.call(hit._replace(key=f"{hit.key}!"))
        if isinstance(answer, StoreError):
            raise AssertionError(f"{answer!r} follows {seen!a}") from answer
        return answer


async def fuzz(cases: int, seed: int) -> "Counter[str]":
    """In a Redis of its own."""
    server = RedisServer()
    async with Proxy(server.port) as proxy:
        store = RedisStore(proxy.url, deadline=DEADLINE)
        fuzzer = Fuzzer(Random(seed), proxy, store)
        counts = Counter([await fuzzer.check() for _ in range(cases)])
        await store.aclose()
    with server.client() as client:
        immortal = [key for key in client.scan_iter(count=1_000) if client.pttl(key) < 0]
    server.stop()
    if immortal:
        raise AssertionError(f"{len(immortal)} keys without an expiry")
    return counts


def run(cases: int, seed: int) -> "Counter[str]":
    """Try so many changed replies; how many there were of each kind, and what came of them."""
    return asyncio.run(fuzz(cases, seed))


if __name__ == "__main__":
    main(run)
