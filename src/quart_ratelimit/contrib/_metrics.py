"""What both exporters share: signals connected once, names that are bounded, buckets."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Protocol

from ..signals import (
    Decided,
    Signal,
    batch_sent,
    fleet_known,
    limit_decided,
    store_asked,
    store_recovered,
    store_unavailable,
)
from ..stores.guard import stores_away

#: The label of limits and scopes past the bound.
OTHER = "other"
#: Characters of the longest limit and scope with a label: a client may choose a scope.
LONGEST_NAME = 256
#: `Decision.by` of the policies that decide while the store is away.
POLICIES = ("open", "closed", "local")
#: Bounds of buckets in seconds: a store answers in a millisecond or is given up after its deadline.
SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
#: Bounds of buckets in requests per batch.
SIZES = (1, 2, 5, 10, 20, 50, 100)


class Instruments(Protocol):
    """The metrics of one registry or meter."""

    def count_decision(self, limit: str, scope: str | None, event: Decided) -> None:
        """Count a decision; ``limit`` and ``scope`` are the bounded names, None: no scope."""

    def measure_exchange(self, seconds: float, *, answered: bool) -> None:
        """Record how long a call of the store took."""

    def measure_batch(self, size: int) -> None:
        """Record how many requests one batch held."""

    def show_breakers(self, count: int, change: int) -> None:
        """Show how many stores are away, and how many more than before."""

    def show_workers(self, count: int) -> None:
        """Show how many workers share the counters."""


class Feed:
    """Passes the signals of this process on to one set of instruments, while it is open.

    Each exporter of the same registry or meter shares one feed, so a decision is counted once.
    """

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments
        self._users = 0
        self._most_limits = self._most_scopes = 0
        self._names: set[str] = set()
        self._scopes: set[str] = set()
        # Weak: a store that was thrown away during an outage would be shown as away forever.
        self._away: weakref.WeakSet[object] = weakref.WeakSet()
        self._shown = 0
        #: Of each store that this process counts in, how many workers do.
        self._workers: weakref.WeakKeyDictionary[object, int] = weakref.WeakKeyDictionary()
        self._receivers: dict[Signal, Callable[..., None]] = {
            limit_decided: self._on_decided,
            store_asked: self._on_asked,
            batch_sent: self._on_batch,
            store_unavailable: self._on_unavailable,
            store_recovered: self._on_recovered,
            fleet_known: self._on_fleet,
        }

    def open(self, most_limits: int, most_scopes: int) -> None:
        """Add a user. Names are bounded by the highest numbers of all users."""
        self._most_limits = max(self._most_limits, most_limits)
        self._most_scopes = max(self._most_scopes, most_scopes)
        self._users += 1
        if self._users == 1:
            # What happened without a receiver.
            self._away.clear()
            self._away.update(stores_away())
            self._show_breakers_that_changed()
            for signal, receiver in self._receivers.items():
                signal.connect(receiver, weak=False)

    def close(self) -> None:
        """Remove a user; the last one disconnects the signals."""
        self._users -= 1
        if not self._users:
            for signal, receiver in self._receivers.items():
                signal.disconnect(receiver)

    def _on_decided(self, _: object, *, event: Decided, **__: object) -> None:
        limit = _bounded(event.limit, self._names, self._most_limits)
        scope = (
            _bounded(event.scope, self._scopes, self._most_scopes) if self._most_scopes else None
        )
        self._instruments.count_decision(limit, scope, event)

    def _on_asked(self, _: object, *, seconds: float, answered: bool) -> None:
        self._show_breakers_that_changed()  # a store that is away may be gone
        self._instruments.measure_exchange(seconds, answered=answered)

    def _on_batch(self, _: object, *, size: int) -> None:
        self._instruments.measure_batch(size)

    def _on_unavailable(self, store: object, **_: object) -> None:
        self._away.add(store)
        self._show_breakers()

    def _on_recovered(self, store: object) -> None:
        self._away.discard(store)
        self._show_breakers()

    def _on_fleet(self, fleet: object, *, workers: int) -> None:
        self._workers[fleet] = workers
        self._instruments.show_workers(max(self._workers.values()))

    def _show_breakers_that_changed(self) -> None:
        if len(self._away) != self._shown:
            self._show_breakers()

    def _show_breakers(self) -> None:
        count = len(self._away)
        self._instruments.show_breakers(count, count - self._shown)
        self._shown = count


def _bounded(name: str, known: set[str], most: int) -> str:
    """The name, or `OTHER`: limits made by a function, one per tenant, have no end of names."""
    if name not in known:
        if len(known) >= most or len(name) > LONGEST_NAME:
            return OTHER
        known.add(name)
    return name


class Subscription:
    """One exporter's share in the feed of its registry or meter, until `close`."""

    def __init__(self, feed: Feed, most_limits: int, most_scopes: int) -> None:
        self._feed: Feed | None = feed
        feed.open(most_limits, most_scopes)

    def close(self) -> None:
        """End the share; a second call changes nothing."""
        feed, self._feed = self._feed, None
        if feed is not None:
            feed.close()
