"""Limits that code checks itself, as they were seen: no decorator declares them.

Each worker keeps those that it has seen, and writes new ones to the store along with a batch that
goes out anyway, so that the command line lists and clears them as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

from ..clients.keys import KeyForm
from ..clock import Clock, monotonic_ms
from ..errors import InvalidLimit
from ..quotas import ALGORITHMS, Quota
from ..stores.piggyback import CarryingStore, Command, pairs_of

#: Limits that one worker keeps, and at which it adds none to those in the store.
MOST, MOST_SHARED = 200, 1000
#: Characters of the longest form of a key that is kept: a scope may come from a client.
LONGEST = 256
#: How long the store keeps them, and how often a worker writes its own again, in ms.
KEPT_MS, AGAIN_MS = 86_400_000, 21_600_000
#: After how long it writes again what had no reply, in ms.
RETRY_MS = 10_000


class SeenLimit(NamedTuple):
    """One quota that code charges, and its keys."""

    #: What charges it: "hit", "in_flight", "messages" or "block".
    kind: str
    quota: Quota
    form: KeyForm


class Seen:
    """The limits that code of one limiter was seen to check; a `Piggyback` of its stores."""

    key_name = "seen"

    def __init__(self, *, now_ms: Clock = monotonic_ms) -> None:
        self._now_ms = now_ms
        self._known: dict[tuple[str, str, KeyForm], SeenLimit] = {}
        #: None: there is nothing to write.
        self._due_ms: int | None = None
        self._unsent: list[SeenLimit] = []
        #: How many of these a batch has taken along, whose reply is not here; None: nothing went.
        self._sending: int | None = None
        self._reads = False

    @property
    def limits(self) -> list[SeenLimit]:
        """What is known."""
        return list(self._known.values())

    def note(self, kind: str, quotas: Iterable[Quota], form: KeyForm) -> None:
        """Remember what is charged now, if it is new and there is room."""
        for quota in quotas:
            name = (kind, quota.tag, form)
            if name not in self._known:
                self._add(SeenLimit(kind, quota, form))

    def share(self, store: object) -> None:
        """Write to this store what is seen, if its batches take commands along."""
        if isinstance(store, CarryingStore) and self not in store.piggybacks:
            store.piggybacks.append(self)

    async def load(self, store: object) -> None:
        """Add what all workers wrote to the store. Raises `StoreError`."""
        if isinstance(store, CarryingStore):
            self.share(store)
            self._reads = True
            try:
                await store.carry()
            finally:
                self._reads = False

    def is_due(self) -> bool:
        """Whether there is something to write or to read."""
        return self._reads or (self._due_ms is not None and self._now_ms() >= self._due_ms)

    def commands(self, key: str, now_ms: int) -> Sequence[Command]:  # noqa: ARG002
        """Write what is new, or everything again; read all if that is wanted."""
        found: list[Command] = [("HLEN", key)]
        if self._reads:
            found.append(("HGETALL", key))
        if self._due_ms is not None and self._now_ms() >= self._due_ms:
            written = self._unsent or list(self._known.values())
            self._sending = len(self._unsent)
            self._due_ms = self._now_ms() + RETRY_MS
            if written:
                flat = [text for one in written for text in _written(one)]
                found += [("HSET", key, *flat), ("PEXPIRE", key, KEPT_MS)]
        return found

    def read(self, replies: Sequence[object], now_ms: int) -> None:  # noqa: ARG002
        """Note what the store has."""
        count = replies[0]
        if self._sending is not None:
            if not any(isinstance(reply, Exception) for reply in replies):
                del self._unsent[: self._sending]
            else:  # no right to these commands, for instance
                self._unsent = []
            self._sending = None
            self._due_ms = self._now_ms() + (0 if self._unsent else AGAIN_MS)
        if isinstance(count, int) and count >= MOST_SHARED:
            self._due_ms = None
        if not self._reads:
            return
        self._reads = False
        for value in pairs_of(replies[1]).values():
            one = _read(value)
            if one is not None:
                self._known.setdefault((one.kind, one.quota.tag, one.form), one)

    def _add(self, one: SeenLimit) -> None:
        length = sum(map(len, one.form.before)) + len(one.form.scope or "")
        if len(self._known) >= MOST or length > LONGEST:
            return
        self._known[one.kind, one.quota.tag, one.form] = one
        self._unsent.append(one)
        self._due_ms = self._now_ms()


def quota_fields(quota: Quota) -> dict[str, object]:
    """A quota for JSON; `quota_of` makes it again."""
    given = {field.name: getattr(quota, field.name) for field in fields(quota) if field.init}
    return {"algorithm": quota.algorithm, **given}


def quota_of(given: dict[str, Any]) -> Quota:
    """The quota of these fields. Raises `KeyError`, `TypeError`, and `InvalidLimit`."""
    values: dict[str, Any] = {
        name: tuple(one) if isinstance(one, list) else one for name, one in given.items()
    }
    algorithm: str = values.pop("algorithm")
    return ALGORITHMS[algorithm](**values)


def _written(one: SeenLimit) -> tuple[str, str]:
    """The field and the value of one limit."""
    value = {"kind": one.kind, "quota": quota_fields(one.quota), "form": one.form[:2]}
    return f"{one.kind}|{one.quota.tag}|{one.form}", json.dumps(value)


def _read(value: object) -> SeenLimit | None:
    """What `_written` wrote; None if another version of the package wrote it."""
    try:
        found = json.loads(value)  # type: ignore[arg-type]
        before, scope = found["form"]
        form = KeyForm(tuple(map(str, before)), scope)
        return SeenLimit(str(found["kind"]), quota_of(found["quota"]), form)
    except (AttributeError, InvalidLimit, KeyError, TypeError, ValueError):
        return None
