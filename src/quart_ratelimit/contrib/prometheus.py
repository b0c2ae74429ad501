"""Decisions and the store as Prometheus metrics; ``pip install 'quart-ratelimit[prometheus]'``.

Source of the names' form: the Prometheus guide "Metric and label naming" (base units, ``_total``).
With several workers set ``PROMETHEUS_MULTIPROC_DIR`` to an empty folder before they start.
"""

from __future__ import annotations

import os
import weakref
from contextlib import suppress
from pathlib import Path

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
except ImportError as _error:  # pragma: no cover
    raise ImportError(
        "Prometheus metrics need their client: pip install 'quart-ratelimit[prometheus]'"
    ) from _error

from ..errors import ConfigurationError
from ..signals import Decided
from ._metrics import POLICIES, SECONDS, SIZES, Feed, Subscription

#: The feed of each registry; it stays when all are closed, as a registry takes a name but once.
_feeds: weakref.WeakKeyDictionary[CollectorRegistry, tuple[Feed, _Collectors]] = (
    weakref.WeakKeyDictionary()
)


class PrometheusMetrics:
    """Counts this process' decisions in a registry from its creation until `close`.

    No label names a client, unless a scope of yours does. Several of one registry, such as those
    of two apps, count each decision once. A registry that was closed counts on.

    ``registry``: a `prometheus_client.CollectorRegistry` (default: Prometheus' own).
    ``most_limits``: how many limits get a label of their own (default 100); the rest is "other".
    ``most_scopes``: how many scopes do, in a label ``scope`` of the decisions (default 0: there is
    no such label). A registry has that label or not, as its first metrics say; raises
    `ConfigurationError` for others.
    """

    def __init__(
        self,
        registry: CollectorRegistry = REGISTRY,
        *,
        most_limits: int = 100,
        most_scopes: int = 0,
    ) -> None:
        known = _feeds.get(registry)
        if known is None:
            collectors = _Collectors(registry, with_scope=most_scopes > 0)
            known = _feeds[registry] = (Feed(collectors), collectors)
        feed, collectors = known
        if collectors.with_scope != (most_scopes > 0):
            raise ConfigurationError(
                f"most_scopes={most_scopes}: this registry has metrics "
                f"{'with' if collectors.with_scope else 'without'} the label scope; write the same "
                "for all metrics of a registry"
            )
        collectors.register_where_missing(registry)
        self._subscription = Subscription(feed, most_limits, most_scopes)

    def close(self) -> None:
        """Stop counting."""
        self._subscription.close()


class _Collectors:
    """The metrics in one registry."""

    def __init__(self, registry: CollectorRegistry, *, with_scope: bool) -> None:
        #: Whether decisions have a label for their scope.
        self.with_scope = with_scope
        self._decisions = Counter(
            "ratelimit_decisions_total",
            "Hits that a limit allowed or refused, or would have refused outside shadow.",
            ["limit", "outcome", "scope"] if with_scope else ["limit", "outcome"],
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
            "Stores that are away and not called, added up over all workers.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._workers = Gauge(
            "ratelimit_workers",
            "Workers that share the counters, as far as known; each has its share in an outage.",
            multiprocess_mode="livemax",
            registry=registry,
        )

    def register_where_missing(self, registry: CollectorRegistry) -> None:
        """Add the metrics that someone has removed from their registry, as tests do."""
        for collector in vars(self).values():
            if isinstance(collector, (Counter, Gauge, Histogram)):
                with suppress(ValueError):  # it is there
                    registry.register(collector)

    def count_decision(self, limit: str, scope: str | None, event: Decided) -> None:
        """Count a decision, a near miss, and what a policy decided."""
        labels = (limit, event.outcome) if scope is None else (limit, event.outcome, scope)
        self._decisions.labels(*labels).inc()
        if event.near_limit:
            self._near.labels(limit).inc()
        if event.by in POLICIES:
            self._fallback.labels(limit, event.by).inc()

    def measure_exchange(self, seconds: float, *, answered: bool) -> None:
        """Record how long a call of the store took."""
        self._latency.labels(str(answered).lower()).observe(seconds)

    def measure_batch(self, size: int) -> None:
        """Record how many requests one batch held."""
        self._sizes.observe(size)

    def show_breakers(self, count: int, change: int) -> None:  # noqa: ARG002  # a gauge is set
        """Show how many stores are away."""
        self._breaker.set(count)

    def show_workers(self, count: int) -> None:
        """Show how many workers share the counters."""
        self._workers.set(count)


def exposition(registry: CollectorRegistry = REGISTRY) -> tuple[bytes, dict[str, str]]:
    """The metrics' text and its header, as a view returns them.

    The metrics of all workers when ``PROMETHEUS_MULTIPROC_DIR`` is set, else this process' own.
    """
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder:
        _forget_dead_workers(Path(folder))
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry), {"Content-Type": CONTENT_TYPE_LATEST}


def _forget_dead_workers(folder: Path) -> None:
    """Remove the gauges of workers that have ended.

    A worker that dies during an outage would be shown with an open breaker forever, and no server
    but Gunicorn can be set up to call `mark_process_dead`.
    """
    if os.name != "posix":  # elsewhere signal 0 is not a question
        return
    for file in folder.glob("gauge_live*_*.db"):
        pid = file.stem.rpartition("_")[2]
        if pid.isdecimal() and not _is_alive(int(pid)):
            with suppress(FileNotFoundError):  # another worker's scrape removed it first
                multiprocess.mark_process_dead(int(pid), str(folder))  # type: ignore[no-untyped-call]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it runs as another user
        return True
    return True
