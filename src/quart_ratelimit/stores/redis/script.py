"""What one batch of requests asks of Redis, and how the replies are read. No I/O."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib import resources
from itertools import islice
from typing import cast

from ... import quotas
from ...quotas import ALGORITHMS, Decision, FixedWindow, Hit, Quota
from ...quotas.fixed_window import KEPT_LONGER
from ...quotas.quota import MAX_EXACT, decided

#: A cost that no limit can allow.
BEYOND = MAX_EXACT + 1
#: Integers that the script replies for each hit.
REPLY_WIDTH = 4

#: Each request's decisions, in order, or what went wrong with it alone.
Answers = list[list[Decision] | Exception]


@cache
def script() -> str:
    """The one script that Redis runs: the driver and every algorithm's ``.lua`` twin."""
    folder = resources.files(quotas)
    parts = [f"local MAX_EXACT, KEPT_LONGER = {MAX_EXACT}, {KEPT_LONGER}"]
    parts.append("local function make(name)")
    for name in ALGORITHMS:  # a run makes those alone that it needs
        source = folder.joinpath(f"{name}.lua").read_text("utf-8")
        parts.append(f"if name == '{name}' then return (function()\n{source}end)() end")
    parts.append("end")
    driver = resources.files(__package__).joinpath("script.lua").read_text("utf-8")
    return "\n".join([*parts, driver])


@cache
def sha() -> str:
    """What EVALSHA calls the script; not what a reply says, which may be another's."""
    return hashlib.sha1(script().encode(), usedforsecurity=False).hexdigest()


def pattern(prefix: str) -> str:
    """The glob that SCAN finds all keys under a prefix by."""
    return re.sub(r"([*?\[\]\\])", r"\\\1", prefix) + ":*"


class Counters:
    """Requests that `is_counted`: ``INCRBY`` and ``EXPIRE NX``, or ``GET`` where one only looks.

    Those on one key are merged.
    """

    def __init__(self, requests: Sequence[Sequence[Hit]], *, prefix: str, now_ms: int) -> None:
        self._requests = requests
        self._now_ms = now_ms
        #: key -> (a quota of it, the requests that hit it, in order): all have its period, and may
        #: have other amounts.
        self.keys: dict[str, tuple[FixedWindow, list[int]]] = {}
        #: key -> the requests that look at it.
        self.looks: dict[str, list[int]] = {}
        known: dict[int, list[int]] = {}
        for index, hits in enumerate(requests):
            callers = known.get(id(hits))  # those of one client may share them
            if callers is None:
                ((quota, key, cost, *_),) = hits
                name = f"{prefix}:{quota.state_key(key, now_ms)}"
                if cost:
                    callers = self.keys.setdefault(name, (cast(FixedWindow, quota), []))[1]
                else:
                    callers = self.looks.setdefault(name, [])
                known[id(hits)] = callers
            callers.append(index)

    def read(self, looks: Sequence[object], totals: Sequence[object]) -> Answers:
        """Each request's decisions: by the replies to ``GET`` and to ``INCRBY``, in their order.

        Raises `ValueError` on a reply that Redis would never give.
        """
        answers: Answers = [[]] * len(self._requests)
        for callers, value in zip(self.looks.values(), looks, strict=True):
            used = _used(value)
            for index in callers:
                answers[index] = used if isinstance(used, Exception) else self._seen(index, used)
        for (_, callers), total in zip(self.keys.values(), totals, strict=True):
            if isinstance(total, Exception):
                full = "overflow" in str(total)  # it counts no further, so it is far past any limit
                for index in callers:
                    answers[index] = self._ranked(index, MAX_EXACT) if full else total
                continue
            first = _whole(total) - len(callers) + 1
            if first < 1:
                raise ValueError("a counter is below what was just added to it")
            for rank, index in enumerate(callers):
                answers[index] = self._ranked(index, first + rank)
        return answers

    def _ranked(self, index: int, total: int) -> list[Decision]:
        quota = cast(FixedWindow, self._requests[index][0].quota)
        return [quota.ranked(total, self._now_ms)]

    def _seen(self, index: int, used: int) -> list[Decision]:
        (hit,) = self._requests[index]
        return [cast(FixedWindow, hit.quota).seen(used, self._now_ms)]


class Script:
    """What the script is to decide: any requests, each all-or-nothing."""

    def __init__(self, requests: Sequence[Sequence[Hit]], *, prefix: str, now_ms: int) -> None:
        self._prefix = prefix
        self._now_ms = now_ms
        #: Its keys, each once, with their numbers.
        self.keys: dict[str, int] = {}
        self._specs: list[Quota] = []
        self._spec_index: dict[str, int] = {}
        #: For each request its hits as JSON, and how many they are.
        self._requests: list[str] = []
        self._widths: list[int] = []
        #: When it was decided, once the reply was read: Redis' own time.
        self.at_ms = now_ms
        #: The quota of a single plain hit, which needs none of what follows.
        self.lone: Quota | None = None
        if len(requests) == 1 and len(requests[0]) == 1:
            quota, key, cost, _, forced, lease, *_ = requests[0][0]
            if cost == 1 and not forced and not lease:
                self.lone = quota
                self.keys[f"{prefix}:{quota.state_key(key, now_ms)}"] = 1
                self._widths.append(1)
                return
        known: dict[int, str] = {}
        for hits in requests:  # those of one client may share them
            text = known.get(id(hits))
            if text is None:
                text = known[id(hits)] = f"[{','.join(map(self._item, hits))}]"
            self._requests.append(text)
            self._widths.append(len(hits))

    def _item(self, hit: Hit) -> str:
        """A hit as JSON."""
        quota = hit.quota
        key = f"{self._prefix}:{quota.state_key(hit.key, self._now_ms)}"
        key_index = self.keys.setdefault(key, len(self.keys) + 1)
        spec_index = self._spec_index.get(quota.tag)
        if spec_index is None:
            self._specs.append(quota)
            spec_index = self._spec_index[quota.tag] = len(self._specs)
        if hit.cost == 1 and not hit.forced and not hit.lease:
            return f"[{key_index},{spec_index}]"
        # No limit tells costs beyond these apart; an integer of thousands of digits has no JSON.
        cost = max(-BEYOND, min(hit.cost, BEYOND))
        rest = (cost, hit.at_ms, int(hit.forced), hit.lease)
        return f"[{key_index},{spec_index},{json.dumps(rest)[1:]}"

    def arguments(self, now_ms: int = 0) -> list[str | int]:
        """The script's ARGV. ``now_ms`` is for tests: 0 is Redis' own clock."""
        if self.lone is not None:
            return [now_ms, *self.lone.spec()]
        # Written by hand, as an encoder for each batch would cost more than the batch's hits.
        specs = ",".join(map(_spec, self._specs))
        return [now_ms, f'{{"specs":[{specs}],"requests":[{",".join(self._requests)}]}}']

    def read(self, reply: object) -> list[list[Decision]]:
        """Each request's decisions, in order.

        Raises what the script failed with, and `ValueError` on a reply that it would never give.
        """
        if isinstance(reply, Exception):
            raise reply
        hits = sum(self._widths)
        if not isinstance(reply, list) or len(reply) != 1 + hits * REPLY_WIDTH:
            raise ValueError("the script's reply has another shape than its plan")
        if set(map(type, reply)) != {int}:
            raise ValueError("the script's reply holds something else than integers")
        if hits == 1:
            at, allowed, remaining, reset, retry = reply
            self.at_ms = at
            told = (allowed == 1, remaining, reset, None if retry < 0 else retry, at, "store")
            return [[decided(told)]]
        numbers = iter(reply)
        at = self.at_ms = next(numbers)
        decisions = [
            decided((allowed == 1, remaining, reset, None if retry < 0 else retry, at, "store"))
            for allowed, remaining, reset, retry in zip(*[numbers] * REPLY_WIDTH, strict=True)
        ]
        if set(self._widths) == {1}:  # nearly always
            return [[decision] for decision in decisions]
        each = iter(decisions)
        return [list(islice(each, width)) for width in self._widths]


@lru_cache(maxsize=1024)
def _spec(quota: Quota) -> str:
    return json.dumps(quota.spec())


def _whole(reply: object) -> int:
    # redis-py hands on b"OK", None, True or 1.5 as they come; none of them is a count.
    if type(reply) is not int:
        raise ValueError(f"a reply is {type(reply).__name__} where an integer belongs")
    return reply


def _used(reply: object) -> int | Exception:
    """What GET replied of a counter."""
    if reply is None or isinstance(reply, Exception):
        return reply or 0
    if not isinstance(reply, (bytes, str)):
        raise ValueError(f"a reply is {type(reply).__name__} where a string belongs")
    return int(reply) if reply.isdigit() else ValueError("a counter holds something else")
