"""The live jobs and every change of their state: memory and row together, the row first.

A change of an accepted job is never given up: where the disk does not take it, it waits until the disk does.
Used by the event loop only. Each change is fenced by the attempt that it speaks of, so that a late word of an attempt
that is over changes nothing.
"""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from btworker.accounts import audio_s_of
from btworker.config import Settings
from btworker.errors import ErrorCode, ErrorInfo
from btworker.jobs import Job, JobId, JobStatus, Stage
from btworker.logs import get_logger
from btworker.service.counters import JobCounters
from btworker.service.live_jobs import LiveJobs, LivePhase
from btworker.service.pace import Pace
from btworker.service.progress import UNFINISHED_PERCENT
from btworker.service.waiting import WaitingJobs
from btworker.storage import DataFolder
from btworker.store import Store, is_disk_trouble

if TYPE_CHECKING:
    from btworker.service.spans import Spans

log = get_logger()
FIRST_RETRY_S, LONGEST_RETRY_S = 0.1, 5.0
"""Seconds between two attempts to write a change that the disk did not take."""
_END_EVENTS = {
    JobStatus.COMPLETE: "job_complete",
    JobStatus.FAILED: "job_failed",
    JobStatus.CANCELED: "job_canceled",
}


class JobTable:
    """Queued and running jobs in memory, as they are in the store, plus their progress, which is not stored.

    `changed` is called after each change, since a job may start now; `owing` with each job whose outputs or end are to
    be delivered.
    """

    def __init__(
        self,
        *,
        store: Store,
        data: DataFolder,
        settings: Settings,
        waiting: WaitingJobs,
        changed: Callable[[], None],
        owing: Callable[[Job], None],
        spans: "Spans | None" = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self.clock = clock
        self.spans = spans
        moved = None if spans is None else lambda was, job: spans.moved(was, job, clock())
        self.live = LiveJobs(moved, settings.rendition_bytes)
        self.waiting = waiting
        self.canceling: dict[JobId, str] = {}
        self.counters = JobCounters()
        self.pace = Pace()
        self._slots_since: dict[JobId, float] = {}
        """When the attempts at work began, by the clock."""
        self._ends: dict[JobId, asyncio.Event] = {}
        self._changed = changed
        self._owing = owing
        self._data = data
        self._scratch = settings.scratch_dir
        self._keep_inputs = settings.keep_inputs

    async def wait_for_end(self, job_id: JobId) -> None:
        """Return once the job is not alive any more."""
        while job_id in self.live:
            await self._ends.setdefault(job_id, asyncio.Event()).wait()

    def running(self) -> list[Job]:
        """Jobs that a worker has."""
        return self.live.working()

    def active(self) -> int:
        """Jobs that were accepted and are not past their work."""
        return len(self.live) - self.live.count(LivePhase.DELIVERING)

    def enqueue(self, job: Job) -> None:
        """Let a queued job wait for its turn."""
        job = replace(job, expected_audio_s=self.pace.audio_s(job))
        self.live[job.id] = job
        self.waiting.add(job)
        self._changed()

    async def begin_attempt(self, job: Job) -> Job | None:
        """queued -> running, the attempt counted on disk before anything starts; None when the row says otherwise."""
        now = self.clock()
        running = job.evolve(
            status=JobStatus.RUNNING,
            stage=Stage.INITIALIZING,
            stage_started_at=now,
            started_at=job.started_at or now,
            attempt=job.attempt + 1,
        )
        if not await _insist(running, lambda: self.store.start_attempt(running)):
            return None
        self.live[job.id] = running
        self._slots_since[job.id] = now
        return running

    def _without_slot(self, job: Job, now: float) -> Job:
        """The job with the seconds for which the attempt that is over held its slot."""
        seconds = max(now - self._slots_since.pop(job.id, now), 0.0)
        any_s, gpu_s = job.held_s
        return replace(job, held_s=(any_s + seconds, gpu_s + (seconds if job.gpu else 0.0)))

    async def requeue(self, job: Job, why: str, *, lost: bool) -> None:
        """running -> queued (or canceled, if that was asked for). `lost` spends one of its attempts."""
        now = self.clock()
        job = self._without_slot(job, now)
        queued = job.evolve(status=JobStatus.QUEUED, stage=Stage.QUEUED, stage_started_at=now, gpu=None)
        queued = queued.with_log(now, "warning", f"attempt {job.attempt} ended early: {why}; queued again")
        if not await _insist(queued, lambda: self.store.requeue(queued, lost=lost)):
            return
        log.warning("job_requeued", workerJobId=job.id, attempt=job.attempt, reason=why)
        if job.id in self.canceling:
            self.live[job.id] = queued
            await self.end_canceled(queued)
        else:
            self.enqueue(queued)

    async def fetched(self, job: Job) -> None:
        """All inputs are here, durable: the job waits for its turn. Its signed URLs are forgotten."""
        queued = job.evolve(stage=Stage.QUEUED, stage_started_at=self.clock(), sources=())
        if await _insist(queued, lambda: self.store.note(queued)):
            self.enqueue(queued)

    async def requeue_all(self, why: str, *, within_s: float) -> None:
        """running -> queued for every job, for a start that follows; the disk has so long for each."""
        for job in self.running():
            try:
                await asyncio.wait_for(self.requeue(job, why, lost=False), within_s)
            except asyncio.TimeoutError:
                return  # the next start finds the job running, and queues it

    async def note(self, job: Job) -> None:
        """Keep what changed in a job beside its state."""
        if await _insist(job, lambda: self.store.note(job)) and job.id in self.live:
            self.live[job.id] = job

    async def deliver(self, job: Job) -> None:
        """The work is done and its results are committed: from here on, only their delivery is ever repeated."""
        now = self.clock()
        job = self._without_slot(job, now)
        progress = replace(job.progress, percent=UNFINISHED_PERCENT)
        uploading = job.evolve(stage=Stage.UPLOADING, stage_started_at=now, progress=progress)
        if not await _insist(uploading, lambda: self.store.note(uploading)):
            return
        self.live[job.id] = uploading
        self._changed()
        await self._tidy(job.id, with_outputs=False)
        self._owing(uploading)

    async def end_canceled(self, job: Job, reason: str = "canceled") -> None:
        """The job ends as canceled, for the reason that was given with the request."""
        why = self.canceling.get(job.id, reason)
        await self.end(job, JobStatus.CANCELED, ErrorInfo(ErrorCode.CANCELED, why))

    async def end(self, job: Job, status: JobStatus, error: ErrorInfo | None = None) -> None:
        """Publish a job's end in one transaction, then forget what only a live job needs."""
        now = self.clock()
        undelivered = error is not None and error.code is ErrorCode.DELIVERY_FAILED
        keeps_outputs = status is JobStatus.COMPLETE or undelivered
        job = self._without_slot(job, now)
        ended = job.evolve(
            status=status,
            error=error,
            stage=Stage.COMPLETE,
            stage_started_at=now,
            finished_at=now,
            progress=replace(job.progress, percent=100.0) if status is JobStatus.COMPLETE else job.progress,
            renditions=job.renditions if keeps_outputs else (),
        )
        published = await _insist(ended, lambda: self.store.finish(ended, was=job.status))
        if published:
            self.counters.ended(ended)
            if self.spans is not None:
                self.spans.ended(ended)
            self.pace.learn(ended)
            self.waiting.settle(ended.id, audio_s_of(ended) * ended.options.expected_channels)
            detail = {} if error is None else {"code": error.code.value, "message": error.message}
            seconds = round(now - job.created_at, 3)
            log.info(_END_EVENTS[status], workerJobId=job.id, attempt=job.attempt, seconds=seconds, **detail)
        self.live.pop(job.id, None)
        self.canceling.pop(job.id, None)
        if (waited_for := self._ends.pop(job.id, None)) is not None:
            waited_for.set()
        self._changed()
        await self._tidy(job.id, with_outputs=published and not keeps_outputs)
        if published and ended.owes_callback:
            self._owing(ended)

    async def _tidy(self, job_id: JobId, *, with_outputs: bool) -> None:
        inputs = not self._keep_inputs
        await self._data.run(
            self._data.remove_remains, job_id, self._scratch, with_inputs=inputs, with_outputs=with_outputs
        )


async def _insist(job: Job, write: Callable[[], Awaitable[bool]]) -> bool:
    """Write a change until the disk takes it; what the store says then."""
    delay_s = FIRST_RETRY_S
    while True:
        try:
            return await write()
        except sqlite3.OperationalError as error:
            if not is_disk_trouble(error):
                raise
            log.warning("store_waits_for_disk", workerJobId=job.id, status=job.status.value, detail=str(error))
        await asyncio.sleep(delay_s)
        delay_s = min(2 * delay_s, LONGEST_RETRY_S)
