"""Prometheus and OpenTelemetry: what they report is what happened, with labels that are bounded."""

import asyncio
import json
import os
import re
import subprocess
import sys
import urllib.request
import weakref
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from quart_ratelimit import ConfigurationError, FixedWindow, Hit, StoreError
from quart_ratelimit.signals import (
    batch_sent,
    send_decided,
    store_asked,
    store_recovered,
    store_unavailable,
)
from quart_ratelimit.stores import GuardedStore, MemoryStore, guard
from quart_ratelimit.stores.breaker import Breaker

from ..support.apps import Clock
from ..support.serving import ROOT, hypercorn, load

prometheus = pytest.importorskip("quart_ratelimit.contrib.prometheus")
otel = pytest.importorskip("quart_ratelimit.contrib.opentelemetry")
parser = pytest.importorskip("prometheus_client.parser")
sdk = pytest.importorskip("opentelemetry.sdk.metrics")

DECISIONS = "ratelimit_decisions_total"
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


@pytest.fixture(autouse=True)
def nothing_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores of other tests are of no concern here."""
    monkeypatch.setattr(guard, "_away", weakref.WeakSet())


@pytest.fixture
def scrape() -> Iterator[Any]:
    from prometheus_client import CollectorRegistry

    registry = CollectorRegistry()
    metrics = prometheus.PrometheusMetrics(registry, most_limits=2)
    yield lambda: read(prometheus.exposition(registry)[0].decode())
    metrics.close()


def points(reader: Any) -> Any:
    """What an OpenTelemetry reader holds of the only metric that has values."""
    (resource,) = reader.get_metrics_data().resource_metrics
    (scope,) = resource.scope_metrics
    (metric,) = scope.metrics
    return metric.data.data_points


async def decide(*quotas: FixedWindow) -> None:
    store = MemoryStore()
    for quota in quotas:
        hits = [Hit(quota, "ann")]
        send_decided(None, hits, await store.hit(hits))


def sums(samples: Samples) -> Samples:
    """The counts of decisions."""
    return {name: count for name, count in samples.items() if name[0] == DECISIONS}


@pytest.mark.parametrize("workers", [1, 4])
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

        def worker() -> bytes:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/worker") as response:
                return bytes(response.read())

        async def run() -> None:
            loads = [load(port, "/data", 100, 8, f"127.0.0.{n}") for n in (2, 3, 4)]
            under = asyncio.ensure_future(asyncio.gather(*loads))
            while not under.done():
                scraped.append(await asyncio.to_thread(ask))
                await asyncio.sleep(0.02)
            for statuses in await under:
                counted.update(statuses)

        asyncio.run(run())
        samples, *others = [ask() for _ in range(8)]  # each by a connection of its own
        pids = {worker() for _ in range(20)}
    assert counted == {200: 120, 429: 180}
    assert workers == 1 or len(pids) > 1
    assert [sums(one) for one in others] == [sums(samples)] * 7  # whichever worker answers
    limit = "40 per 1 hour"
    assert value(samples, DECISIONS, limit=limit, outcome="allowed") == counted[200]
    assert value(samples, DECISIONS, limit=limit, outcome="refused") == counted[429]
    assert value(samples, "ratelimit_near_limit_total", limit=limit) == 3 * 8
    batches = value(samples, "ratelimit_batch_size_sum")
    assert batches == value(samples, "ratelimit_store_seconds_count", answered="true")
    assert 120 <= batches <= 300  # a refusal that is remembered asks nobody
    assert value(samples, "ratelimit_breaker_open") == 0
    assert 1 <= value(samples, "ratelimit_workers") <= 4
    seen = [value(each, DECISIONS, limit=limit, outcome="refused") for each in scraped]
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


@pytest.mark.parametrize("most_limits", [100, 1])
async def test_prometheus_counts_on_in_a_registry_that_was_closed(most_limits: int) -> None:
    from prometheus_client import CollectorRegistry

    registry = CollectorRegistry()
    for _ in range(2):
        metrics = prometheus.PrometheusMetrics(registry, most_limits=most_limits)
        await decide(FixedWindow(9, 60, name="login"))
        metrics.close()
        metrics.close()  # a second call changes nothing
        await decide(FixedWindow(9, 60, name="login"))
    samples = read(prometheus.exposition(registry)[0].decode())
    labels = {"limit": "login", "outcome": "allowed"}
    assert value(samples, "ratelimit_decisions_total", **labels) == 2


async def test_two_apps_of_one_process_share_prometheus_and_no_decision_counts_twice() -> None:
    from prometheus_client import CollectorRegistry

    registry = CollectorRegistry()
    first, second = (prometheus.PrometheusMetrics(registry, most_limits=n) for n in (1, 2))
    quotas = [FixedWindow(9, 60, name=name) for name in ("login", "search", "export")]
    await decide(*quotas)
    first.close()
    await decide(*quotas)
    second.close()
    await decide(*quotas)
    samples = read(prometheus.exposition(registry)[0].decode())
    counts = {
        dict(labels)["limit"]: count
        for (name, labels), count in samples.items()
        if name == "ratelimit_decisions_total"
    }
    assert counts == {"login": 2, "search": 2, "other": 2}


async def test_a_store_that_answers_again_leaves_another_ones_breaker_open(scrape: Any) -> None:
    near, far = MemoryStore(), MemoryStore()
    for store in (near, near, far):
        store_unavailable.send_safely(store, policy="local")
    assert value(scrape(), "ratelimit_breaker_open") == 2
    store_recovered.send_safely(near)
    assert value(scrape(), "ratelimit_breaker_open") == 1
    store_recovered.send_safely(near)
    assert value(scrape(), "ratelimit_breaker_open") == 1
    store_recovered.send_safely(far)
    assert value(scrape(), "ratelimit_breaker_open") == 0


async def test_a_store_that_is_gone_is_not_away(scrape: Any) -> None:
    store_unavailable.send_safely(MemoryStore(), policy="local")
    other = MemoryStore()
    store_unavailable.send_safely(other, policy="local")
    assert value(scrape(), "ratelimit_breaker_open") == 1


WORKER = """
import sys
from quart_ratelimit.contrib.prometheus import PrometheusMetrics
from quart_ratelimit.signals import store_unavailable
from quart_ratelimit.stores import MemoryStore
metrics, store = PrometheusMetrics(), MemoryStore()
store_unavailable.send_safely(store, policy="local")
print("away", flush=True)
sys.stdin.read()
"""
SCRAPE = """
from quart_ratelimit.contrib.prometheus import exposition
print(exposition()[0].decode())
"""


def test_a_worker_that_died_in_an_outage_is_counted_no_more(tmp_path: Path) -> None:
    env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}

    def breakers() -> float:
        command = [sys.executable, "-c", SCRAPE]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        return value(read(done.stdout), "ratelimit_breaker_open")

    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER],
            env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        for _ in range(2)
    ]  # fmt: skip
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "away\n"
        assert breakers() == 2
        workers[0].kill()
        workers[0].communicate()
        assert breakers() == 1
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


async def test_opentelemetry_measures_durations_in_buckets_of_seconds() -> None:
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    provider = sdk.MeterProvider([reader])
    metrics = otel.OpenTelemetryMetrics(provider.get_meter("test"))
    for seconds in (0.0004, 0.003, 0.2):
        store_asked.send_safely(None, seconds=seconds, answered=True)
    metrics.close()
    (point,) = points(reader)
    provider.shutdown()
    assert point.explicit_bounds[:3] == (0.0005, 0.001, 0.002)
    assert [count for count in point.bucket_counts if count] == [1, 1, 1]


async def test_two_apps_of_one_process_share_a_meter_and_no_decision_counts_twice() -> None:
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    provider = sdk.MeterProvider([reader])
    meter = provider.get_meter("test")
    first, second = otel.OpenTelemetryMetrics(meter), otel.OpenTelemetryMetrics(meter)
    await decide(FixedWindow(9, 60))
    first.close()
    second.close()
    (point,) = points(reader)
    provider.shutdown()
    assert point.value == 1


def test_a_registry_that_was_emptied_counts_again() -> None:
    from prometheus_client import CollectorRegistry

    registry = CollectorRegistry()
    prometheus.PrometheusMetrics(registry).close()
    for collector in list(registry._collector_to_names):
        registry.unregister(collector)
    for metrics in [prometheus.PrometheusMetrics(registry) for _ in range(2)]:
        metrics.close()
    text = prometheus.exposition(registry)[0].decode()
    assert text.count("# TYPE ratelimit_decisions_total counter") == 1


class Away(MemoryStore):
    """A store that does not answer while it is away."""

    is_away = True

    async def hit(self, hits: Any) -> Any:
        if self.is_away:
            raise StoreError("away")
        return await super().hit(hits)


async def test_metrics_that_begin_in_an_outage_show_it_and_its_end() -> None:
    from prometheus_client import CollectorRegistry

    stores, clock = [Away(), Away()], Clock()
    guards = [GuardedStore(store, breaker=Breaker(now_ms=clock)) for store in stores]
    for one in guards:
        for _ in range(20):
            await one.hit([Hit(FixedWindow(9, 60), "ann")])
    registry = CollectorRegistry()

    def breakers() -> float:
        return value(read(prometheus.exposition(registry)[0].decode()), "ratelimit_breaker_open")

    metrics = prometheus.PrometheusMetrics(registry)
    assert breakers() == 2
    metrics.close()
    stores[0].is_away = False
    clock.forward(60)
    assert (await guards[0].hit([Hit(FixedWindow(9, 60), "ann")]))[0].by == "store"
    metrics = prometheus.PrometheusMetrics(registry)  # it heard nothing of that meanwhile
    assert breakers() == 1
    metrics.close()


@pytest.mark.parametrize(
    ("most", "scopes"), [(0, {None}), (2, {"shop", "cart", "other"}), (9, {"shop", "cart", "pay"})]
)
async def test_scopes_have_a_label_if_that_is_wanted(most: int, scopes: set[Any]) -> None:
    from prometheus_client import CollectorRegistry

    registry = CollectorRegistry()
    metrics = prometheus.PrometheusMetrics(registry, most_scopes=most)
    store, hits = MemoryStore(), [Hit(FixedWindow(99, 60), "ann")]
    for scope in ("shop", "cart", "pay"):
        send_decided(None, hits, await store.hit(hits), [scope])
    metrics.close()
    samples = read(prometheus.exposition(registry)[0].decode())
    labels = [dict(one) for name, one in samples if name == "ratelimit_decisions_total"]
    assert {one.get("scope") for one in labels} == scopes


def test_one_registry_has_the_label_or_not() -> None:
    from prometheus_client import CollectorRegistry

    registry = CollectorRegistry()
    prometheus.PrometheusMetrics(registry).close()
    with pytest.raises(ConfigurationError, match="most_scopes=5"):
        prometheus.PrometheusMetrics(registry, most_scopes=5)


async def test_opentelemetry_has_the_scope_as_an_attribute() -> None:
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    provider = sdk.MeterProvider([reader])
    metrics = otel.OpenTelemetryMetrics(provider.get_meter("test"), most_scopes=1)
    store, hits = MemoryStore(), [Hit(FixedWindow(99, 60), "ann")]
    for scope in ("shop", "cart"):
        send_decided(None, hits, await store.hit(hits), [scope])
    metrics.close()
    found = points(reader)
    provider.shutdown()
    assert [point.attributes["scope"] for point in found] == ["shop", "other"]


async def test_a_call_of_the_store_is_a_span_of_the_trace() -> None:
    trace = pytest.importorskip("opentelemetry.sdk.trace")
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), trace.TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    spans = otel.OpenTelemetrySpans(tracer)
    with tracer.start_as_current_span("request"):
        store_asked.send_safely(None, seconds=0.25, answered=True)
        store_asked.send_safely(None, seconds=0.05, answered=False)
    spans.close()
    store_asked.send_safely(None, seconds=0.05, answered=False)
    first, second, request = exporter.get_finished_spans()
    assert first.parent.span_id == request.context.span_id
    assert round((first.end_time - first.start_time) / 1e9, 3) == 0.25
    assert [one.status.is_ok for one in (first, second)] == [True, False]


# What is ready for Grafana and Prometheus

STATIC = ROOT / "docs" / "_static"


def expressions() -> list[str]:
    yaml = pytest.importorskip("yaml")
    board = json.loads((STATIC / "grafana.json").read_text("utf-8"))
    alerts = yaml.safe_load((STATIC / "alerts.yml").read_text("utf-8"))
    rules = [rule for group in alerts["groups"] for rule in group["rules"]]
    assert len(rules) == 3
    targets = [target for panel in board["panels"] for target in panel["targets"]]
    return [one["expr"] for one in (*rules, *targets)]


def test_the_dashboard_and_the_alerts_ask_for_metrics_that_there_are(scrape: Any) -> None:
    """Their PromQL was parsed by Prometheus' own grammar as well, which no package here has."""
    names = {name for name, _ in scrape()}
    for event in ("ratelimit_decisions", "ratelimit_near_limit", "ratelimit_fallback"):
        names.add(f"{event}_total")  # they appear with their first label
    names |= {f"ratelimit_store_seconds_{part}" for part in ("bucket", "sum", "count")}
    labels = {"limit", "outcome", "policy", "answered", "le"}
    for text in expressions():
        assert set(re.findall(r"\bratelimit_\w+", text)) <= names
        for named in re.findall(r"by \(([^)]*)\)", text):
            assert set(named.split(", ")) <= labels
        assert text.count("(") == text.count(")")
