"""Decisions and the store as OpenTelemetry metrics; ``pip install 'quart-ratelimit[otel]'``.

Source of the names' form: OpenTelemetry's semantic conventions, "Metrics" (dots, units apart).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

try:
    from opentelemetry.metrics import Meter, get_meter
except ImportError as error:  # pragma: no cover
    raise ImportError(
        "OpenTelemetry metrics need its API: pip install 'quart-ratelimit[otel]'"
    ) from error

from ..signals import (
    Decided,
    Signal,
    batch_sent,
    limit_decided,
    store_asked,
    store_recovered,
    store_unavailable,
)
from ._metrics import Names


class OpenTelemetryMetrics:
    """Reports to a meter, by default the global provider's, from when it is made until `close`.

    No attribute names a client. At most ``most_limits`` limits are told apart, the rest is "other".
    """

    def __init__(self, meter: Meter | None = None, *, most_limits: int = 100) -> None:
        meter = get_meter("quart_ratelimit") if meter is None else meter
        self._names = Names(most_limits)
        self._away: set[int] = set()
        self._decisions = meter.create_counter(
            "ratelimit.decisions",
            "{hit}",
            "Hits that a limit allowed or refused, or would refuse were it not in shadow.",
        )
        self._near = meter.create_counter(
            "ratelimit.near_limit", "{hit}", "Hits allowed with less than a fifth left."
        )
        self._fallback = meter.create_counter(
            "ratelimit.fallback", "{hit}", "Hits that a policy decided."
        )
        self._latency = meter.create_histogram(
            "ratelimit.store.duration", "s", "Time until the store answered or was given up."
        )
        self._sizes = meter.create_histogram(
            "ratelimit.batch.size", "{request}", "Requests in one batch."
        )
        self._breaker = meter.create_up_down_counter(
            "ratelimit.breaker.open", "{store}", "Stores that are away and not asked."
        )
        self._receivers: dict[Signal, Callable[..., None]] = {
            limit_decided: self._on_decided,
            store_asked: self._on_asked,
            batch_sent: self._on_batch,
            store_unavailable: self._on_unavailable,
            store_recovered: self._on_recovered,
        }
        for signal, receiver in self._receivers.items():
            signal.connect(receiver, weak=False)

    def close(self) -> None:
        """Stop reporting."""
        for signal, receiver in self._receivers.items():
            signal.disconnect(receiver)

    def _on_decided(self, _: Any, *, event: Decided, **__: Any) -> None:
        limit = self._names.bounded(event.limit)
        self._decisions.add(1, {"limit": limit, "outcome": event.outcome})
        if event.near_limit:
            self._near.add(1, {"limit": limit})
        if event.by in ("open", "closed", "local"):
            self._fallback.add(1, {"limit": limit, "policy": event.by})

    def _on_asked(self, _: Any, *, seconds: float, answered: bool) -> None:
        self._latency.record(seconds, {"answered": answered})

    def _on_batch(self, _: Any, *, size: int) -> None:
        self._sizes.record(size)

    def _on_unavailable(self, store: Any, **_: Any) -> None:
        if id(store) not in self._away:
            self._away.add(id(store))
            self._breaker.add(1)

    def _on_recovered(self, store: Any) -> None:
        if id(store) in self._away:
            self._away.discard(id(store))
            self._breaker.add(-1)
