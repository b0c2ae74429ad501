"""What one batch of requests asks of Redis, and how the replies are read. No I/O."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib import resources
from typing import cast

from .. import quotas
from ..quotas import ALGORITHMS, Decision, FixedWindow, Hit, Quota
from ..quotas.fixed_window import KEPT_LONGER
from ..quotas.quota import MAX_EXACT, decided

#: A cost that no limit can allow.
BEYOND = MAX_EXACT + 1
#: Integers that the script replies for each hit.
REPLY_WIDTH = 4


@cache
def script() -> str:
    """The one script that Redis runs: the driver and every algorithm's ``.lua`` twin."""
    folder = resources.files(quotas)
    parts = [f"local MAX_EXACT, KEPT_LONGER, makers = {MAX_EXACT}, {KEPT_LONGER}, {{}}"]
    for name in ALGORITHMS:
        source = folder.joinpath(f"{name}.lua").read_text("utf-8")
        parts.append(f"makers['{name}'] = function()\n{source}end")
    driver = resources.files(__package__).joinpath("decide.lua").read_text("utf-8")
    return "\n".join([*parts, driver])


@cache
def sha() -> str:
    """What EVALSHA calls the script; not what a reply says, which may be another's."""
    return hashlib.sha1(script().encode(), usedforsecurity=False).hexdigest()


def pattern(prefix: str) -> str:
    """The glob that SCAN finds all keys under a prefix by."""
    return re.sub(r"([*?\[\]\\])", r"\\\1", prefix) + ":*"


class Plan:
    """Sorts a batch's hits into plain counters and one script's work.

    A request of one aligned fixed window and cost 1 is a counter: ``INCRBY`` and ``EXPIRE NX``,
    hits on one key merged. All else is decided by the script.
    """

    def __init__(
        self, requests: Sequence[Sequence[Hit]], *, prefix: str, now_ms: int, counters: bool
    ) -> None:
        self._now_ms = now_ms
        #: key -> (a quota of it, the requests that hit it, in order): all have its period, and may
        #: have other amounts.
        self.counters: dict[str, tuple[FixedWindow, list[int]]] = {}
        #: The script's keys, each once.
        self.keys: dict[str, int] = {}
        self._specs: dict[str, int] = {}
        self._spec_list: list[str] = []
        self._scripted: list[list[str]] = []
        self._scripted_index: list[int] = []
        self._requests = requests
        #: Whether a request failed alone, once its replies were read.
        self.failed = False
        for index, hits in enumerate(requests):
            quota = hits[0].quota if len(hits) == 1 else None
            if counters and type(quota) is FixedWindow and quota.aligned and _plain(hits[0]):
                key = f"{prefix}:{quota.state_key(hits[0].key, now_ms)}"
                self.counters.setdefault(key, (quota, []))[1].append(index)
            else:
                self._scripted.append([self._item(hit, prefix) for hit in hits])
                self._scripted_index.append(index)

    def _item(self, hit: Hit, prefix: str) -> str:
        """A hit as JSON."""
        quota = hit.quota
        key = f"{prefix}:{quota.state_key(hit.key, self._now_ms)}"
        key_index = self.keys.setdefault(key, len(self.keys) + 1)
        spec_index = self._specs.get(quota.tag)
        if spec_index is None:
            self._spec_list.append(_spec(quota))
            spec_index = self._specs[quota.tag] = len(self._spec_list)
        if hit.cost == 1 and not hit.forced and not hit.lease:
            return f"[{key_index},{spec_index}]"
        # No limit tells costs beyond these apart; an integer of thousands of digits has no JSON.
        cost = max(-BEYOND, min(hit.cost, BEYOND))
        rest = (cost, hit.at_ms, int(hit.forced), hit.lease)
        return f"[{key_index},{spec_index},{json.dumps(rest)[1:]}"

    def argument(self, now_ms: int = 0) -> str:
        """The script's argument. ``now_ms`` is for tests: 0 is Redis' own clock."""
        # Written by hand, as an encoder for each batch would cost more than the batch's hits.
        requests = ",".join([f"[{','.join(items)}]" for items in self._scripted])
        return f'{{"now":{now_ms},"specs":[{",".join(self._spec_list)}],"requests":[{requests}]}}'

    def read(self, totals: Sequence[object], reply: object) -> list[list[Decision] | Exception]:
        """Each request's decisions, in order, or what went wrong with it alone.

        ``totals`` are the counters' replies in the order of `counters`; ``reply`` is the script's.
        Raises `ValueError` on a reply that Redis would never give.
        """
        answers: list[list[Decision] | Exception] = [[]] * len(self._requests)
        for (_, callers), total in zip(self.counters.values(), totals, strict=True):
            if isinstance(total, Exception):
                self.failed = True
                full = "overflow" in str(total)  # it counts no further, so it is far past any limit
                for index in callers:
                    answers[index] = self._ranked(index, MAX_EXACT) if full else total
                continue
            first = _whole(total) - len(callers) + 1
            if first < 1:
                raise ValueError("a counter is below what was just added to it")
            for rank, index in enumerate(callers):
                answers[index] = self._ranked(index, first + rank)
        if self._scripted:
            self._read_script(reply, answers)
        return answers

    def _ranked(self, index: int, total: int) -> list[Decision]:
        quota = cast(FixedWindow, self._requests[index][0].quota)
        return [quota.ranked(total, self._now_ms)]

    def _read_script(self, reply: object, answers: list[list[Decision] | Exception]) -> None:
        if isinstance(reply, Exception):
            self.failed = True
            for index in self._scripted_index:
                answers[index] = reply
            return
        hits = sum(map(len, self._scripted))
        if not isinstance(reply, list) or len(reply) != 1 + hits * REPLY_WIDTH:
            raise ValueError("the script's reply has another shape than its plan")
        if set(map(type, reply)) != {int}:
            raise ValueError("the script's reply holds something else than integers")
        at = reply[0]
        position = 1
        for index, items in zip(self._scripted_index, self._scripted, strict=True):
            decisions = []
            for _ in items:
                allowed, remaining, reset, retry = reply[position : position + REPLY_WIDTH]
                wait = None if retry < 0 else retry
                decisions.append(decided((allowed == 1, remaining, reset, wait, at, "store")))
                position += REPLY_WIDTH
            answers[index] = decisions


@lru_cache(maxsize=1024)
def _spec(quota: Quota) -> str:
    return json.dumps(quota.spec())


def _plain(hit: Hit) -> bool:
    return hit.cost == 1 and not hit.forced


def _whole(reply: object) -> int:
    # redis-py hands on b"OK", None, True or 1.5 as they come; none of them is a count.
    if type(reply) is not int:
        raise ValueError(f"a reply is {type(reply).__name__} where an integer belongs")
    return reply
