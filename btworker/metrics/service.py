"""Jobs, queue and workers, read from the service's own counters when a scrape asks. Parent only."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from btworker.jobs import JobStatus
from btworker.pool import RESTART_REASONS, BoxStatus, BoxSummary, Phase, WorkerState
from btworker.service import JobService
from btworker.service.counters import OTHERS, Histogram

MOST_BOXES = 100
"""Boxes that have series of their own, those that joined first: names that come and go cannot fill Prometheus."""
OTHER_BOXES = "other boxes"
"""In place of a box: none has such a name."""
BOX_METRICS: tuple[tuple[str, str, Callable[[BoxSummary], int]], ...] = (
    ("btworker_box_up", "Boxes with a worker that can take jobs.", lambda box: box.ready > 0),
    ("btworker_box_drained", "Boxes that are to get no new jobs.", lambda box: box.status is BoxStatus.DRAINED),
    ("btworker_box_refused", "Boxes of another version, without jobs.", lambda box: box.status is BoxStatus.REFUSED),
    ("btworker_box_slots", "Jobs that a box can have at once.", lambda box: box.slots),
    ("btworker_box_jobs", "Jobs that a box has.", lambda box: box.jobs),
)


class ServiceCollector(Collector):
    """Reads the service when it is asked."""

    def __init__(self, service: JobService) -> None:
        self._service = service

    def describe(self) -> Iterable[Metric]:
        """Nothing to clash with: the registry need not collect at registration."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Every metric that is the service's own."""
        yield from self._jobs()
        yield from self._queue()
        yield from self._keys()
        yield from self._outbound()
        yield from self._workers()
        yield from self._boxes()
        yield from self._times()
        yield GaugeMetricFamily("btworker_draining", "1 while shutting down.", int(self._service.draining))

    def _jobs(self) -> Iterator[Metric]:
        ended = CounterMetricFamily("btworker_jobs", "Jobs that ended.", labels=("outcome", "reason"))
        for labels, count in sorted(self._service.counters.jobs.items()):
            ended.add_metric(labels, count)
        yield ended
        live = GaugeMetricFamily("btworker_jobs", "Jobs that wait or run.", labels=("state",))
        live.add_metric((JobStatus.QUEUED.value,), self._service.queued())
        live.add_metric((JobStatus.RUNNING.value,), self._service.running())
        yield live

    def _queue(self) -> Iterator[Metric]:
        oldest = self._service.oldest_waiting_at()
        yield GaugeMetricFamily(
            "btworker_queue_oldest_timestamp_seconds", "When the oldest waiting job came; 0 = none waits.", oldest or 0
        )

    def _keys(self) -> Iterator[Metric]:
        """By name; MOST_OWNERS have series of their own, so that keys that come and go cannot fill Prometheus."""
        jobs = CounterMetricFamily("btworker_key_jobs", "Jobs that ended, by key.", labels=("key",))
        audio = CounterMetricFamily("btworker_key_audio_seconds", "Seconds of audio, by key.", labels=("key",))
        waits = GaugeMetricFamily("btworker_key_waiting_jobs", "Jobs that wait, by key.", labels=("key",))
        counters, waiting, listed = self._service.counters.owners, self._service.waiting_by_owner(), 0
        for owner, (count, audio_s) in sorted(counters.items()):
            name = OTHERS if owner == OTHERS else self._service.keys.label_of(owner)
            jobs.add_metric((name,), count)
            audio.add_metric((name,), audio_s)
            if owner != OTHERS:
                waits.add_metric((name,), waiting.get(owner, 0))
                listed += waiting.get(owner, 0)
        waits.add_metric((OTHERS,), sum(waiting.values()) - listed)
        yield from (jobs, audio, waits)

    def _outbound(self) -> Iterator[Metric]:
        asked = CounterMetricFamily(
            "btworker_outbound_requests", "Downloads, pushes of outputs and callbacks.", labels=("what", "outcome")
        )
        for labels, count in sorted(self._service.counters.outbound.items()):
            asked.add_metric(labels, count)
        yield asked
        pending = GaugeMetricFamily("btworker_outbound_jobs", "Jobs with something to fetch or tell.", labels=("what",))
        for what, jobs in self._service.outbound.pending().items():
            pending.add_metric((what,), jobs)
        yield pending

    def _times(self) -> Iterator[Metric]:
        counters = self._service.counters
        yield CounterMetricFamily("btworker_audio_seconds", "Seconds of audio transcribed.", counters.audio_s)
        yield _histogram("btworker_job_queue_seconds", "Seconds from acceptance to the first start.", counters.queue_s)
        yield _histogram(
            "btworker_realtime_factor", "Seconds of audio per second of work, by job.", counters.realtime_factor
        )
        stages = HistogramMetricFamily("btworker_job_duration_seconds", "Seconds of work by stage.", labels=("stage",))
        for stage, plain in sorted(counters.stage_s.items()):
            stages.add_metric((stage,), _buckets(plain), plain.sum)
        yield stages

    def _workers(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("btworker_worker_up", "Workers that can take jobs.", labels=("gpu",))
        resting = GaugeMetricFamily(
            "btworker_worker_quarantined", "Workers whose GPU failed job after job and is left alone.", labels=("gpu",)
        )
        unloaded = GaugeMetricFamily(
            "btworker_worker_unloaded",
            "Workers whose child ended for want of jobs; the next job starts it.",
            labels=("gpu",),
        )
        progress = GaugeMetricFamily(
            "btworker_worker_last_progress_timestamp_seconds",
            "When a worker of this GPU last got a job or said anything about one; 0 = not yet.",
            labels=("gpu",),
        )
        restarts = CounterMetricFamily(
            "btworker_worker_restarts", "Children lost and replaced, by why.", labels=("gpu", "reason")
        )
        for gpu, workers in sorted(self._workers_by_gpu().items()):
            up.add_metric((gpu,), sum(worker.ready for worker in workers))
            resting.add_metric((gpu,), sum(worker.phase is Phase.QUARANTINED for worker in workers))
            unloaded.add_metric((gpu,), sum(worker.phase is Phase.UNLOADED for worker in workers))
            progress.add_metric((gpu,), max(worker.last_progress_at or 0 for worker in workers))
            counts = Counter(dict.fromkeys(RESTART_REASONS, 0))
            for worker in workers:
                counts.update(dict(worker.restarts))
            for reason, count in counts.items():
                restarts.add_metric((gpu, reason), count)
        yield from (up, resting, unloaded, progress, restarts)

    def _boxes(self) -> Iterator[Metric]:
        """Those of a fleet, each and in sum; nothing where there is none."""
        boxes = self._service.boxes()
        if boxes is None:
            return
        states = GaugeMetricFamily("btworker_fleet_boxes", "Boxes of the fleet by state.", labels=("state",))
        counts = Counter(box.status for box in boxes)
        for status in BoxStatus:
            states.add_metric((status.value,), counts[status])
        named = [(box.box, [box]) for box in boxes[:MOST_BOXES]]
        if others := list(boxes[MOST_BOXES:]):
            named.append((OTHER_BOXES, others))
        yield states
        for name, text, value in BOX_METRICS:
            family = GaugeMetricFamily(name, text, labels=("box",))
            for label, summaries in named:
                family.add_metric((label,), sum(map(value, summaries)))
            yield family

    def _workers_by_gpu(self) -> dict[str, list[WorkerState]]:
        """By GPU; workers of boxes without series of their own together."""
        others = {box.box for box in (self._service.boxes() or ())[MOST_BOXES:]}
        found: dict[str, list[WorkerState]] = {}
        for worker in self._service.workers():
            found.setdefault(OTHER_BOXES if worker.box in others else worker.label, []).append(worker)
        return found


def _histogram(name: str, text: str, plain: Histogram) -> Metric:
    return HistogramMetricFamily(name, text, buckets=_buckets(plain), sum_value=plain.sum)


def _buckets(plain: Histogram) -> list[tuple[str, float] | tuple[str, float, Exemplar]]:
    """Cumulative counts with their upper bounds, as Prometheus wants them, and the trace of one value in each."""
    total = 0
    found: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
    for place, count in enumerate(plain.counts):
        total += count
        bound = str(float(plain.buckets[place])) if place < len(plain.buckets) else "+Inf"
        value, trace_id = plain.exemplars.get(place, (0.0, ""))
        found.append((bound, total, Exemplar({"trace_id": trace_id}, value)) if trace_id else (bound, total))
    return found
