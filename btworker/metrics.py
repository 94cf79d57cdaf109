"""Prometheus metrics, in a registry of our own. Parent only.

HTTP and uploads are counted here as they happen; jobs, queue and workers are read from the service's own counters at
scrape time. Labels are closed lists: route patterns and codes, never a path, an id or a name.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from btworker import __version__
from btworker.jobs import JobStatus
from btworker.service import JobService
from btworker.service.counters import Histogram as PlainHistogram

CONTENT_TYPE = CONTENT_TYPE_LATEST
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
REQUEST_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600)


class Metrics:
    """All metrics of one worker."""

    def __init__(self, service: JobService) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_ServiceCollector(service))
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
        self._upload_bytes = Counter("btworker_upload_bytes", "Bytes of request bodies read.", registry=self._registry)
        self._uploading = Gauge("btworker_uploads_in_progress", "Uploads being received.", registry=self._registry)
        self._disk_free = Gauge("btworker_disk_free_bytes", "Bytes free on the data disk.", registry=self._registry)
        self._lag = Gauge(
            "btworker_event_loop_lag_seconds", "Longest delay of the event loop since the last scrape.",
            registry=self._registry,
        )  # fmt: skip
        self._longest_lag_s = 0.0

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
        """Count one upload: accepted, known, refused, aborted or failed."""
        self._uploads.labels(outcome).inc()

    def upload_bytes(self, count: int) -> None:
        """Count bytes of a body that were read."""
        self._upload_bytes.inc(count)

    def loop_lag(self, seconds: float) -> None:
        """The event loop was this late."""
        self._longest_lag_s = max(self._longest_lag_s, seconds)

    def scrape(self, *, disk_free_bytes: int | None) -> bytes:
        """The exposition text, CONTENT_TYPE."""
        if disk_free_bytes is not None:
            self._disk_free.set(disk_free_bytes)
        self._lag.set(self._longest_lag_s)
        self._longest_lag_s = 0.0
        return generate_latest(self._registry)


class _ServiceCollector(Collector):
    """Reads the service when it is asked."""

    def __init__(self, service: JobService) -> None:
        self._service = service

    def describe(self) -> Iterable[Metric]:
        """Nothing to clash with: the registry need not collect at registration."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Every metric that is the service's own."""
        yield from self._jobs()
        yield from self._workers()
        counters = self._service.counters
        yield _histogram("btworker_job_queue_seconds", "Seconds from acceptance to start.", counters.queue_s)
        yield _histogram(
            "btworker_realtime_factor", "Seconds of audio per second of work, by job.", counters.realtime_factor
        )
        stages = HistogramMetricFamily("btworker_job_duration_seconds", "Seconds of work by stage.", labels=("stage",))
        for stage, plain in sorted(counters.stage_s.items()):
            stages.add_metric((stage,), _buckets(plain), plain.sum)
        yield stages

    def _jobs(self) -> Iterator[Metric]:
        ended = CounterMetricFamily("btworker_jobs", "Jobs that ended.", labels=("outcome", "reason"))
        for labels, count in sorted(self._service.counters.jobs.items()):
            ended.add_metric(labels, count)
        yield ended
        live = GaugeMetricFamily("btworker_jobs", "Jobs that wait or run.", labels=("state",))
        for status in (JobStatus.QUEUED, JobStatus.RUNNING):
            live.add_metric((status.value,), self._service.count(status))
        yield live
        oldest = self._service.oldest_waiting_at()
        yield GaugeMetricFamily(
            "btworker_queue_oldest_timestamp_seconds", "When the oldest waiting job came; 0 = none waits.", oldest or 0
        )
        yield CounterMetricFamily(
            "btworker_audio_seconds", "Seconds of audio transcribed.", self._service.counters.audio_s
        )
        yield GaugeMetricFamily("btworker_draining", "1 while shutting down.", int(self._service.draining))

    def _workers(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("btworker_worker_up", "Workers that can take jobs.", labels=("gpu",))
        restarts = CounterMetricFamily("btworker_worker_restarts", "Children started again.", labels=("gpu",))
        workers = self._service.workers()
        for gpu in sorted({worker.device.label for worker in workers}):
            own = [worker for worker in workers if worker.device.label == gpu]
            up.add_metric((gpu,), sum(worker.ready for worker in own))
            restarts.add_metric((gpu,), sum(worker.restarts for worker in own))
        yield up
        yield restarts


def _histogram(name: str, text: str, plain: PlainHistogram) -> Metric:
    return HistogramMetricFamily(name, text, buckets=_buckets(plain), sum_value=plain.sum)


def _buckets(plain: PlainHistogram) -> list[tuple[str, float]]:
    """Cumulative counts with their upper bounds, as Prometheus wants them."""
    total = 0
    pairs: list[tuple[str, float]] = []
    for bound, count in zip((*map(float, plain.buckets), float("inf")), plain.counts, strict=True):
        total += count
        pairs.append(("+Inf" if bound == float("inf") else str(bound), total))
    return pairs
