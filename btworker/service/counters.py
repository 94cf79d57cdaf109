"""What the service counts, as plain numbers; metrics/service.py reads them at scrape time. Pure."""

from bisect import bisect_left
from collections import Counter

from btworker.accounts import audio_s_of
from btworker.errors import FAILURE_REASONS, ErrorCode
from btworker.jobs import Job, JobStatus
from btworker.service.traces import trace_id_of

JOB_BUCKETS_S = (1, 5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400, 28_800)
"""Seconds; from a tiny job to a day's recording on a slow box."""
MAX_STAGES = 8
"""Stages that are counted by name, the rest as "other": the names are the engine's, the bound is ours."""
MOST_OWNERS = 100
"""Keys that have series of their own, those whose jobs ended first."""
OTHERS = "other keys"
"""In place of an owner: no key has such an id."""
REALTIME_BUCKETS = (0.25, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)


class Histogram:
    """Counts per bucket (not cumulative; the last one is +Inf) and the sum of what was observed."""

    def __init__(self, buckets: tuple[float, ...]) -> None:
        self.buckets = buckets
        self.counts = [0] * (len(buckets) + 1)
        self.sum = 0.0
        self.exemplars: dict[int, tuple[float, str]] = {}
        """Bucket -> the last value of it that belongs to a trace, and the trace's id."""

    def observe(self, value: float, trace_id: str = "") -> None:
        """Count one value."""
        bucket = bisect_left(self.buckets, value)
        self.counts[bucket] += 1
        self.sum += value
        if trace_id:
            self.exemplars[bucket] = value, trace_id


JOB_ENDS = (
    (JobStatus.COMPLETE.value, ""),
    (JobStatus.CANCELED.value, FAILURE_REASONS[ErrorCode.CANCELED]),
    *((JobStatus.FAILED.value, reason) for reason in sorted({*FAILURE_REASONS.values()} - {"canceled"})),
)
"""Every (outcome, reason) there is. All count from 0, since rate() cannot see the 1 with which a series begins."""


OUTBOUND = tuple((what, outcome) for what in ("download", "output", "callback") for outcome in ("ok", "failed"))
"""Every (what, outcome) of what the worker asks of others."""


class JobCounters:
    """Totals since the start of this process."""

    def __init__(self) -> None:
        self.jobs: Counter[tuple[str, str]] = Counter(dict.fromkeys(JOB_ENDS, 0))
        """(outcome, reason) -> jobs; reason is "" for complete ones."""
        self.outbound: Counter[tuple[str, str]] = Counter(dict.fromkeys(OUTBOUND, 0))
        """(what, outcome) -> inputs fetched, and tries to push an output or to tell a job's end."""
        self.audio_s = 0.0
        self.owners: dict[str, tuple[int, float]] = {}
        """Owner -> jobs that ended and seconds of their audio; MOST_OWNERS, and OTHERS for the rest."""
        self.queue_s = Histogram(JOB_BUCKETS_S)
        self.realtime_factor = Histogram(REALTIME_BUCKETS)
        self.stage_s: dict[str, Histogram] = {}

    def ended(self, job: Job) -> None:
        """Count a job that has just ended."""
        reason = "" if job.error is None else FAILURE_REASONS.get(job.error.code, "internal")
        self.jobs[job.status.value, reason] += 1
        owner = job.owner if job.owner in self.owners or len(self.owners) < MOST_OWNERS else OTHERS
        jobs, audio_s = self.owners.get(owner, (0, 0.0))
        self.owners[owner] = jobs + 1, audio_s + audio_s_of(job)
        for stage, seconds in job.timings:
            name = stage if stage in self.stage_s or len(self.stage_s) < MAX_STAGES else "other"
            self.stage_s.setdefault(name, Histogram(JOB_BUCKETS_S)).observe(seconds, trace_id_of(job.trace))
        if job.status is JobStatus.COMPLETE:
            self._count_audio(job)

    def _count_audio(self, job: Job) -> None:
        audio_s = audio_s_of(job)
        work_s = sum(seconds for _, seconds in job.timings)
        self.audio_s += audio_s
        if work_s > 0:
            self.realtime_factor.observe(audio_s / work_s, trace_id_of(job.trace))
