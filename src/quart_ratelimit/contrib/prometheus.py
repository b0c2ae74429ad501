"""Decisions and the store as Prometheus metrics; ``pip install 'quart-ratelimit[prometheus]'``.

Source of the names' form: the Prometheus guide "Metric and label naming" (base units, ``_total``).
With several workers set ``PROMETHEUS_MULTIPROC_DIR`` to an empty folder before they start.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

try:
    from prometheus_client import (
        CONTENT_TYPE_LATEST,
        REGISTRY,
        CollectorRegistry,
        Counter,
        Gauge,
        Histogram,
        generate_latest,
        multiprocess,
    )
except ImportError as error:  # pragma: no cover
    raise ImportError(
        "Prometheus metrics need their client: pip install 'quart-ratelimit[prometheus]'"
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

#: Seconds: a store answers in a millisecond or is given up after its deadline.
SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
#: Requests in one batch.
SIZES = (1, 2, 5, 10, 20, 50, 100)


class PrometheusMetrics:
    """Counts in a registry from when it is made until `close`; one a process and registry.

    No label names a client. At most ``most_limits`` limits are told apart, the rest is "other".
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY, *, most_limits: int = 100) -> None:
        self._names = Names(most_limits)
        self._decisions = Counter(
            "ratelimit_decisions_total",
            "Hits that a limit allowed or refused, or would refuse were it not in shadow.",
            ["limit", "outcome"],
            registry=registry,
        )
        self._near = Counter(
            "ratelimit_near_limit_total",
            "Hits allowed with less than a fifth of the limit left.",
            ["limit"],
            registry=registry,
        )
        self._fallback = Counter(
            "ratelimit_fallback_total",
            "Hits that a policy decided while the store was away.",
            ["limit", "policy"],
            registry=registry,
        )
        self._latency = Histogram(
            "ratelimit_store_seconds",
            "Time until the store answered or was given up.",
            ["answered"],
            buckets=SECONDS,
            registry=registry,
        )
        self._sizes = Histogram(
            "ratelimit_batch_size", "Requests in one batch.", buckets=SIZES, registry=registry
        )
        self._breaker = Gauge(
            "ratelimit_breaker_open",
            "Workers that do not ask the store, as it is away.",
            multiprocess_mode="livesum",
            registry=registry,
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
        """Stop counting."""
        for signal, receiver in self._receivers.items():
            signal.disconnect(receiver)

    def _on_decided(self, _: Any, *, event: Decided, **__: Any) -> None:
        limit = self._names.bounded(event.limit)
        self._decisions.labels(limit, event.outcome).inc()
        if event.near_limit:
            self._near.labels(limit).inc()
        if event.by in ("open", "closed", "local"):
            self._fallback.labels(limit, event.by).inc()

    def _on_asked(self, _: Any, *, seconds: float, answered: bool) -> None:
        self._latency.labels(str(answered).lower()).observe(seconds)

    def _on_batch(self, _: Any, *, size: int) -> None:
        self._sizes.observe(size)

    def _on_unavailable(self, _: Any, **__: Any) -> None:
        self._breaker.set(1)

    def _on_recovered(self, _: Any) -> None:
        self._breaker.set(0)


def exposition(registry: CollectorRegistry = REGISTRY) -> tuple[bytes, dict[str, str]]:
    """The metrics' text and its header, as a view returns them; those of all workers together.

    All workers' when ``PROMETHEUS_MULTIPROC_DIR`` is set, else this process' own.
    """
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry), {"Content-Type": CONTENT_TYPE_LATEST}
