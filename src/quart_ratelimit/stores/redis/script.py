"""All kinds of requests, decided by one Lua script: what is sent, how replies are read. No I/O."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from importlib import resources
from itertools import islice

from redis.exceptions import (
    MasterDownError,
    NoPermissionError,
    NoScriptError,
    ReadOnlyError,
    ResponseError,
)

from ... import quotas
from ...quotas import ALGORITHMS, Decision, FixedWindow, Hit, Quota
from ...quotas.fixed_window import KEPT_LONGER
from ...quotas.quota import MAX_EXACT, decided
from .packing import bulk, command

#: A cost that no limit can allow.
BEYOND = MAX_EXACT + 1
#: Keys requested at a time by SCAN.
SCAN_COUNT = 500
#: Integers that the script replies for each hit.
REPLY_WIDTH = 4

#: How servers, proxies and ACLs say that there is no EVALSHA.
_REFUSED = re.compile(
    r"(unknown|unsupported) command ['\"`]?evalsha|no permissions to run the 'evalsha'",
    re.IGNORECASE,
)

#: Codes of errors that are more than the request's own affair.
_KINDS: dict[str, type[ResponseError]] = {
    "NOPERM": NoPermissionError,
    "READONLY": ReadOnlyError,
    "MASTERDOWN": MasterDownError,
}

#: Each request's decisions, in order, or what went wrong with it alone.
Answers = list[list[Decision] | Exception]


@cache
def script() -> str:
    """The one script that Redis runs: the driver and every algorithm's ``.lua`` twin."""
    folder = resources.files(quotas)
    parts = [f"local MAX_EXACT, KEPT_LONGER = {MAX_EXACT}, {KEPT_LONGER}"]
    parts.append("local unpack = unpack or table.unpack")  # Lua 5.1, or later
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
    """Return the glob by which SCAN finds the keys under a prefix."""
    return re.sub(r"([*?\[\]\\])", r"\\\1", f"{prefix}:") + "*"


def owned(
    keys: Sequence[str | bytes], prefix: str, owns: Callable[[str], bool] | None
) -> list[str | bytes]:
    """Return the keys under a prefix, as SCAN found them, for which ``owns`` is true."""
    if owns is None:
        return list(keys)
    texts = [key if isinstance(key, str) else key.decode(errors="replace") for key in keys]
    start = len(prefix) + 1
    return [key for key, text in zip(keys, texts, strict=True) if owns(text[start:])]


class Script:
    """What the script is to decide: any requests, each all-or-nothing."""

    #: How many replies belong to it.
    replies = 1

    def __init__(
        self,
        requests: Sequence[Sequence[Hit]],
        *,
        prefix: str,
        now_ms: int,
        with_source: bool = False,
    ) -> None:
        self._prefix = prefix
        self._now_ms = now_ms
        self._hits = requests
        #: The periods of windows by the clock, in ms.
        self._by_clock: set[int] = set()
        #: Whether the script itself is sent, so that Redis need not know it.
        self.with_source = with_source
        #: Its keys, each once, with their numbers.
        self.keys: dict[str, int] = {}
        self._specs: list[Quota] = []
        self._spec_index: dict[str, int] = {}
        #: For each request its hits as JSON, and how many they are.
        self._requests: list[str] = []
        self._widths: list[int] = []
        #: Redis' own time when it decided, in ms, once the reply was read.
        self.server_ms: int | None = None
        #: The quota of a single plain hit, which needs no JSON.
        self._single: Quota | None = None
        if len(requests) == 1 and len(requests[0]) == 1:
            quota, key, cost, _, forced, lease, _, late, *_ = requests[0][0]
            if cost == 1 and not forced and not lease and not late:
                self._single = quota
                self._note_window(quota)
                self.keys[f"{prefix}:{quota.state_key(key, now_ms)}"] = 1
                self._widths.append(1)
                return
        known: dict[int, str] = {}
        for hits in requests:  # hits of one client may share them
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
            self._note_window(quota)
            spec_index = self._spec_index[quota.tag] = len(self._specs)
        if hit.cost == 1 and not hit.forced and not hit.lease and not hit.late:
            return f"[{key_index},{spec_index}]"
        # No limit distinguishes costs beyond these; an integer of thousands of digits has no JSON.
        cost = max(-BEYOND, min(hit.cost, BEYOND))
        rest = (cost, hit.at_ms, 2 if hit.late else int(hit.forced), hit.lease)
        return f"[{key_index},{spec_index},{json.dumps(rest)[1:]}"

    def _note_window(self, quota: Quota) -> None:
        if isinstance(quota, FixedWindow) and quota.aligned:
            self._by_clock.add(quota.period_ms)

    def arguments(self, now_ms: int = 0) -> list[str | int]:
        """The script's ARGV. ``now_ms`` is for tests: 0 is Redis' own clock."""
        if self._single is not None:
            return [now_ms, *self._single.spec()]
        # Written by hand, as an encoder for each batch would cost more than the batch's hits.
        specs = ",".join(map(_spec, self._specs))
        return [now_ms, f'{{"specs":[{specs}],"requests":[{",".join(self._requests)}]}}']

    @property
    def command(self) -> str:
        """The command that runs the script."""
        return "EVAL" if self.with_source else "EVALSHA"

    @property
    def packed(self) -> bytes:
        """What is sent: one ``EVALSHA`` or ``EVAL``."""
        if self._single is None or self.with_source:
            body = script() if self.with_source else sha()
            return command(self.command, body, len(self.keys), *self.keys, *self.arguments())
        (key,) = self.keys
        before, after = _around(self._single.spec())
        return before + bulk(key) + after

    def read(self, replies: Sequence[object]) -> Answers:
        """Each request's decisions, in order, by the one reply to `packed`.

        Raises what the script failed with, and `ValueError` on a reply that it would never give.
        """
        (reply,) = replies
        if isinstance(reply, Exception):
            raise reply
        hits = sum(self._widths)
        size = 1 + hits * REPLY_WIDTH
        if not isinstance(reply, list) or len(reply) < size:
            raise ValueError("the script's reply has another shape than its plan")
        errors = [_error(text) for text in reply[size:]]
        del reply[size:]
        if set(map(type, reply)) != {int}:
            raise ValueError("the script's reply holds something else than integers")
        if hits == 1 and not errors:
            at, allowed, remaining, reset, retry = reply
            self.server_ms = at
            told = (allowed == 1, remaining, reset, None if retry < 0 else retry, at, "store", None)
            return [self._in_windows([decided(told)], at)]
        numbers = iter(reply)
        at = self.server_ms = next(numbers)
        decisions = [
            decided(
                (allowed == 1, remaining, reset, None if retry < 0 else retry, at, "store", None)
            )
            for allowed, remaining, reset, retry in zip(*[numbers] * REPLY_WIDTH, strict=True)
        ]
        decisions = self._in_windows(decisions, at)
        if errors:
            return self._apart(reply, decisions, errors)
        if set(self._widths) == {1}:  # nearly always
            return [[decision] for decision in decisions]
        each = iter(decisions)
        return [list(islice(each, width)) for width in self._widths]

    def _in_windows(self, decisions: list[Decision], at_ms: int) -> list[Decision]:
        """The decisions, each with a time in the window that its key names.

        A hit that was sent as its window ended is decided after it. A refund by that time would be
        taken from the next window, which was not charged.
        """
        now_ms = self._now_ms
        if all(at_ms // period == now_ms // period for period in self._by_clock):
            return decisions
        hits = [hit for hits in self._hits for hit in hits]
        return [
            decision._replace(at_ms=now_ms)
            if isinstance(hit.quota, FixedWindow) and hit.quota.aligned
            else decision
            for hit, decision in zip(hits, decisions, strict=True)
        ]

    def _apart(
        self, reply: list[int], decisions: list[Decision], errors: list[Exception]
    ) -> Answers:
        """The answers if some requests failed alone: their hits are flagged -1."""
        answers: Answers = []
        place = 0
        for width in self._widths:
            flag, number = reply[1 + place * REPLY_WIDTH :][:2]
            if flag == -1 and not 1 <= number <= len(errors):
                raise ValueError("the script's reply names an error that it does not hold")
            own = decisions[place : place + width]
            answers.append(errors[number - 1] if flag == -1 else own)
            place += width
        return answers


#: How many replies belong to `trial`.
TRIAL_REPLIES = 2


def trial(*keys: str) -> bytes:
    """``EVAL``, which makes Redis know the script, then ``EVALSHA``; neither writes anything.

    Some proxies send a script where its keys are, so there may be some.
    """
    batch = Script([], prefix="", now_ms=0, with_source=True)
    batch.keys.update({key: number for number, key in enumerate(keys, 1)})
    by_source = batch.packed
    batch.with_source = False
    return by_source + batch.packed


def needs_source(by_source: object, by_sha: object) -> bool:
    """Whether each run must send the script, by the replies to `trial`.

    Raises the error of ``EVAL`` if the script can be run in neither way.
    """
    if isinstance(by_sha, Exception) and isinstance(by_source, Exception):
        raise by_source
    return isinstance(by_sha, Exception)


def ran_nothing(reply: object) -> bool:
    """Whether Redis ran no ``EVALSHA``: it does not know the script, or refuses the command.

    An error from within a script is not one of these: the script may have written before.
    """
    refused = isinstance(reply, ResponseError) and bool(_REFUSED.search(str(reply)))
    return refused or is_unknown(reply)


def is_unknown(reply: object) -> bool:
    """Whether Redis has ``EVALSHA`` and only lacks the script: it is new or was flushed."""
    return isinstance(reply, NoScriptError)


@lru_cache(maxsize=1024)
def _spec(quota: Quota) -> str:
    return json.dumps(quota.spec())


@lru_cache(maxsize=1024)
def _around(spec: tuple[str | int, ...]) -> tuple[bytes, bytes]:
    """What is sent before and after the key of a single plain hit."""
    key = "\0"  # no other argument holds it
    whole = command("EVALSHA", sha(), 1, key, 0, *spec)
    before, _, after = whole.partition(bulk(key))
    return before, after


def _error(text: object) -> Exception:
    """What one request failed with, by the text of Redis' error."""
    if not isinstance(text, (bytes, str)):
        raise ValueError("the script's reply has another shape than its plan")
    words = text if isinstance(text, str) else text.decode("utf-8", "replace")
    return _KINDS.get(words.partition(" ")[0], ResponseError)(words)
