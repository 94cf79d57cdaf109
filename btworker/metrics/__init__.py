"""Prometheus metrics, in a registry of our own. Parent only.

HTTP and uploads are counted here as they happen; jobs, queue and workers are read from the service's own counters at
scrape time (service.py), disk and GPUs from the look that comes with the scrape (machine.py). Labels are closed lists:
route patterns and codes, never a path, an id or a name. docs/metrics.md explains each metric to an operator.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from btworker import __version__
from btworker.metrics.lag import RecentMax
from btworker.metrics.log_lines import LogLines
from btworker.metrics.machine import Machine, MachineCollector
from btworker.metrics.service import ServiceCollector
from btworker.service import JobService

__all__ = ["CONTENT_TYPES", "METHODS", "Machine", "Metrics"]

CONTENT_TYPES = (CONTENT_TYPE_LATEST, openmetrics.CONTENT_TYPE_LATEST)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
UPLOAD_OUTCOMES = ("accepted", "known", "refused", "aborted", "failed")
REQUEST_BUCKETS_S = (0.005, 0.025, 0.1, 0.5, 2.5, 10, 60, 600)
"""Few, since each costs a series per route: an answer at once, a slow one, and uploads that take their time."""
LAG_WINDOW_S = 30.0


class Metrics:
    """All metrics of one worker."""

    def __init__(self, service: JobService) -> None:
        # Each counter would get a second series with the time of its first use, which no Prometheus 2 reads.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.log_lines = LogLines()
        self._lag = RecentMax(window_s=LAG_WINDOW_S, clock=time.monotonic)
        self._machine = MachineCollector()
        self._has_traces = service.spans is not None
        self._registry = CollectorRegistry()
        self._registry.register(ServiceCollector(service))
        self._registry.register(self._machine)
        self._registry.register(_OwnCollector(self.log_lines, self._lag))
        ProcessCollector(registry=self._registry)
        build = Gauge("btworker_build_info", "What runs here.", ("version", "commit"), registry=self._registry)
        build.labels(__version__, service.settings.build_commit).set(1)
        self._requests = Counter(
            "btworker_http_requests", "Requests answered.", ("method", "route", "code"), registry=self._registry
        )
        self._request_s = Histogram(
            "btworker_http_request_duration_seconds",
            "Seconds from a request's headers to the end of its answer.",
            ("route",),
            registry=self._registry,
            buckets=REQUEST_BUCKETS_S,
        )
        self._uploads = Counter("btworker_uploads", "Uploads by how they ended.", ("outcome",), registry=self._registry)
        for outcome in UPLOAD_OUTCOMES:
            self._uploads.labels(outcome)
        self._upload_bytes = Counter("btworker_upload_bytes", "Bytes of request bodies read.", registry=self._registry)
        self._uploading = Gauge("btworker_uploads_in_progress", "Uploads being received.", registry=self._registry)

    def request_done(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request. `route` is a pattern, or "other"."""
        self._requests.labels(method if method in METHODS else "other", route, str(status)).inc()
        self._request_s.labels(route).observe(seconds)

    @contextmanager
    def upload(self) -> Iterator[None]:
        """An upload is under way."""
        with self._uploading.track_inprogress():
            yield

    def upload_done(self, outcome: str) -> None:
        """Count one upload: one of UPLOAD_OUTCOMES."""
        self._uploads.labels(outcome).inc()

    def upload_bytes(self, count: int) -> None:
        """Count bytes of a body that were read."""
        self._upload_bytes.inc(count)

    def loop_lag(self, seconds: float) -> None:
        """The event loop was this late."""
        self._lag.observe(seconds)

    def scrape(self, machine: Machine, accept: str = "") -> tuple[bytes, str]:
        """The exposition and its type: the text format; OpenMetrics, which alone has exemplars, where a client takes it
        and there are traces."""
        self._machine.seen = machine
        if self._has_traces and "application/openmetrics-text" in accept:
            text = openmetrics.generate_latest(self._registry)  # type: ignore[no-untyped-call]
            return text, openmetrics.CONTENT_TYPE_LATEST
        return generate_latest(self._registry), CONTENT_TYPE_LATEST


class _OwnCollector(Collector):
    """What this process observes of itself, beside process_*."""

    def __init__(self, log_lines: LogLines, lag: RecentMax) -> None:
        self._log_lines = log_lines
        self._lag = lag

    def describe(self) -> Iterable[Metric]:
        """Nothing to clash with: the registry need not collect at registration."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Log lines and the event loop's lateness."""
        lines = CounterMetricFamily(
            "btworker_log_messages", "Log lines of the front end since it listens.", labels=("level",)
        )
        for level, count in self._log_lines.counts.items():
            lines.add_metric((level,), count)
        yield lines
        yield GaugeMetricFamily(
            "btworker_event_loop_lag_seconds",
            "Longest delay of the event loop in about the last minute.",
            self._lag.value,
        )
