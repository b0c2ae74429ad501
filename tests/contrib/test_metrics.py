"""Prometheus and OpenTelemetry: what they report is what happened, with labels that are bounded."""

import asyncio
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from quart_ratelimit import FixedWindow, Hit
from quart_ratelimit.signals import (
    batch_sent,
    send_decided,
    store_asked,
    store_recovered,
    store_unavailable,
)
from quart_ratelimit.stores import MemoryStore

from ..support.serving import hypercorn, load

prometheus = pytest.importorskip("quart_ratelimit.contrib.prometheus")
otel = pytest.importorskip("quart_ratelimit.contrib.opentelemetry")
parser = pytest.importorskip("prometheus_client.parser")
sdk = pytest.importorskip("opentelemetry.sdk.metrics")

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(text: str) -> Samples:
    """The samples of Prometheus text, by its own parser."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples.get((name, frozenset(labels.items())), 0)


@pytest.fixture
def scrape() -> Iterator[Any]:
    from prometheus_client import CollectorRegistry

    registry = CollectorRegistry()
    metrics = prometheus.PrometheusMetrics(registry, most_limits=2)
    yield lambda: read(prometheus.exposition(registry)[0].decode())
    metrics.close()


async def decide(*quotas: FixedWindow) -> None:
    store = MemoryStore()
    for quota in quotas:
        hits = [Hit(quota, "ann")]
        send_decided(None, hits, await store.hit(hits))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_scrape_under_load_is_what_the_load_counted(
    redis_url: str, tmp_path: Path, workers: int
) -> None:
    env = {"REDIS_URL": redis_url}
    if workers > 1:
        env["PROMETHEUS_MULTIPROC_DIR"] = str(tmp_path)
    counted: Counter[int] = Counter()
    scraped = []
    with hypercorn("-w", str(workers), app="tests.support.metered:app", env=env) as port:

        def ask() -> Samples:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
                return read(response.read().decode())

        async def run() -> None:
            loads = [load(port, "/data", 100, 8, f"127.0.0.{n}") for n in (2, 3, 4)]
            under = asyncio.ensure_future(asyncio.gather(*loads))
            while not under.done():
                scraped.append(await asyncio.to_thread(ask))
                await asyncio.sleep(0.02)
            for statuses in await under:
                counted.update(statuses)

        asyncio.run(run())
        samples = ask()
    assert counted == {200: 120, 429: 180}
    limit = "40 per 1 hour"
    decisions = "ratelimit_decisions_total"
    assert value(samples, decisions, limit=limit, outcome="allowed") == counted[200]
    assert value(samples, decisions, limit=limit, outcome="refused") == counted[429]
    assert value(samples, "ratelimit_near_limit_total", limit=limit) == 3 * 8
    batches = value(samples, "ratelimit_batch_size_sum")
    assert batches == value(samples, "ratelimit_store_seconds_count", answered="true")
    assert 120 <= batches <= 300  # a refusal that is remembered asks nobody
    assert value(samples, "ratelimit_breaker_open") == 0
    seen = [value(each, decisions, limit=limit, outcome="refused") for each in scraped]
    assert seen == sorted(seen)
    assert "127.0.0" not in "".join(map(repr, samples))


async def test_limits_past_the_bound_share_a_label(scrape: Any) -> None:
    await decide(*[FixedWindow(100, 60, name=f"tenant {n}") for n in range(5)])
    samples = scrape()
    limits = {dict(labels)["limit"] for name, labels in samples if "limit" in dict(labels)}
    assert limits == {"tenant 0", "tenant 1", "other"}
    assert value(samples, "ratelimit_decisions_total", limit="other", outcome="allowed") == 3


async def test_what_a_limit_in_shadow_would_refuse_is_told_apart(scrape: Any) -> None:
    store, hits = MemoryStore(), [Hit(FixedWindow(1, 60), "ann")]
    for _ in range(3):
        send_decided(None, hits, await store.hit(hits), shadow=True)
    samples, labels = scrape(), {"limit": "1 per 1 minute"}
    found = [
        value(samples, "ratelimit_decisions_total", **labels, outcome=outcome)
        for outcome in ("allowed", "shadow", "refused")
    ]
    assert found == [1, 2, 0]


async def test_policies_and_the_breaker_are_counted(scrape: Any) -> None:
    store, hits = MemoryStore(), [Hit(FixedWindow(9, 60), "ann")]
    decisions = [one._replace(by="local") for one in await store.hit(hits)]
    send_decided(None, hits, decisions)
    store_unavailable.send_safely(store, policy="local")
    away = scrape()
    store_recovered.send_safely(store)
    limit = "9 per 1 minute"
    assert value(away, "ratelimit_fallback_total", limit=limit, policy="local") == 1
    assert value(away, "ratelimit_breaker_open") == 1
    assert value(scrape(), "ratelimit_breaker_open") == 0


async def test_what_is_closed_counts_no_more() -> None:
    from prometheus_client import CollectorRegistry

    registry = CollectorRegistry()
    prometheus.PrometheusMetrics(registry).close()
    await decide(FixedWindow(9, 60))
    assert not [name for name, _ in read(prometheus.exposition(registry)[0].decode())
                if name == "ratelimit_decisions_total"]  # fmt: skip


async def test_opentelemetry_reports_the_same() -> None:
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    provider = sdk.MeterProvider([reader])
    metrics = otel.OpenTelemetryMetrics(provider.get_meter("test"), most_limits=1)
    await decide(*[FixedWindow(9, 60, name="login")] * 2, FixedWindow(1, 60, name="tenant"))
    store_asked.send_safely(None, seconds=0.25, answered=False)
    batch_sent.send_safely(None, size=7)
    store = MemoryStore()
    store_unavailable.send_safely(store, policy="open")
    metrics.close()
    await decide(FixedWindow(9, 60))
    found = {
        metric.name: [
            (dict(point.attributes), getattr(point, "value", getattr(point, "sum", None)))
            for point in metric.data.data_points
        ]
        for resource in reader.get_metrics_data().resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    provider.shutdown()
    assert found == {
        "ratelimit.decisions": [
            ({"limit": "login", "outcome": "allowed"}, 2),
            ({"limit": "other", "outcome": "allowed"}, 1),
        ],
        "ratelimit.near_limit": [({"limit": "other"}, 1)],
        "ratelimit.store.duration": [({"answered": False}, 0.25)],
        "ratelimit.batch.size": [({}, 7)],
        "ratelimit.breaker.open": [({}, 1)],
    }
