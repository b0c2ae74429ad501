"""Decisions and the store as OpenTelemetry metrics; ``pip install 'quart-ratelimit[otel]'``.

Source of the names' form: OpenTelemetry's semantic conventions, "Metrics" (dots, units apart).
"""

from __future__ import annotations

import time
import weakref
from functools import lru_cache

try:
    from opentelemetry.metrics import Meter, MeterProvider, get_meter_provider
    from opentelemetry.trace import SpanKind, StatusCode, Tracer, get_tracer
except ImportError as _error:  # pragma: no cover
    raise ImportError(
        "OpenTelemetry metrics need its API: pip install 'quart-ratelimit[otel]'"
    ) from _error

from ..signals import Decided, store_asked
from ._metrics import POLICIES, SECONDS, SIZES, Feed, Subscription

#: The feed of each meter; it stays when all are closed, as a meter's instruments do.
_feeds: weakref.WeakKeyDictionary[Meter, Feed] = weakref.WeakKeyDictionary()


class OpenTelemetryMetrics:
    """Reports this process' decisions to a meter from its creation until `close`.

    No attribute names a client. Several of one meter, such as two apps', count each
    decision once.

    ``meter``: an `opentelemetry.metrics.Meter` (default: the global provider's).
    ``most_limits``: how many limits get an attribute of their own (default 100); the rest is
    "other".
    ``most_scopes``: how many scopes do, in an attribute ``scope`` of the decisions (default 0:
    there is no such attribute).
    """

    def __init__(
        self, meter: Meter | None = None, *, most_limits: int = 100, most_scopes: int = 0
    ) -> None:
        if meter is None:
            meter = _default_meter(get_meter_provider())
        feed = _feeds.get(meter)
        if feed is None:
            feed = _feeds[meter] = Feed(_Instruments(meter))
        self._subscription = Subscription(feed, most_limits, most_scopes)

    def close(self) -> None:
        """Stop reporting."""
        self._subscription.close()


class OpenTelemetrySpans:
    """Reports each call of the store as a span of the current trace, until `close`.

    ``tracer``: an `opentelemetry.trace.Tracer` (default: the global provider's).
    """

    def __init__(self, tracer: Tracer | None = None) -> None:
        self._tracer = get_tracer("quart_ratelimit") if tracer is None else tracer
        store_asked.connect(self._on_asked, weak=False)

    def close(self) -> None:
        """Stop reporting."""
        store_asked.disconnect(self._on_asked)

    def _on_asked(self, _: object, *, seconds: float, answered: bool) -> None:
        end = time.time_ns()
        start = end - int(seconds * 1e9)
        span = self._tracer.start_span("ratelimit store", start_time=start, kind=SpanKind.CLIENT)
        span.set_attribute("ratelimit.answered", answered)
        if not answered:
            span.set_status(StatusCode.ERROR)
        span.end(end)


@lru_cache(maxsize=1)
def _default_meter(provider: MeterProvider) -> Meter:
    """The provider's meter: the same one for each app, as a proxy makes a new one per call."""
    return provider.get_meter("quart_ratelimit")


class _Instruments:
    """The instruments of one meter."""

    def __init__(self, meter: Meter) -> None:
        self._decisions = meter.create_counter(
            "ratelimit.decisions",
            "{hit}",
            "Hits that a limit allowed or refused, or would have refused outside shadow.",
        )
        self._near = meter.create_counter(
            "ratelimit.near_limit", "{hit}", "Hits allowed with less than a fifth left."
        )
        self._fallback = meter.create_counter(
            "ratelimit.fallback", "{hit}", "Hits that a policy decided."
        )
        self._latency = meter.create_histogram(
            "ratelimit.store.duration",
            "s",
            "Time until the store answered or was given up.",
            explicit_bucket_boundaries_advisory=SECONDS,
        )
        self._sizes = meter.create_histogram(
            "ratelimit.batch.size",
            "{request}",
            "Requests in one batch.",
            explicit_bucket_boundaries_advisory=SIZES,
        )
        self._breaker = meter.create_up_down_counter(
            "ratelimit.breaker.open", "{store}", "Stores that are away and not called."
        )
        self._workers = meter.create_gauge(
            "ratelimit.workers", "{worker}", "Workers that share the counters, as it knows."
        )

    def count_decision(self, limit: str, scope: str | None, event: Decided) -> None:
        """Count a decision, a near miss, and what a policy decided."""
        own = {} if scope is None else {"scope": scope}
        self._decisions.add(1, {"limit": limit, "outcome": event.outcome, **own})
        if event.near_limit:
            self._near.add(1, {"limit": limit})
        if event.by in POLICIES:
            self._fallback.add(1, {"limit": limit, "policy": event.by})

    def measure_exchange(self, seconds: float, *, answered: bool) -> None:
        """Record how long a call of the store took."""
        self._latency.record(seconds, {"answered": answered})

    def measure_batch(self, size: int) -> None:
        """Record how many requests one batch held."""
        self._sizes.record(size)

    def show_breakers(self, count: int, change: int) -> None:  # noqa: ARG002  # a sum is changed
        """Show how many stores are away."""
        if change:
            self._breaker.add(change)

    def show_workers(self, count: int) -> None:
        """Show how many workers share the counters."""
        self._workers.set(count)
