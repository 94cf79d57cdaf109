"""Attempts: waiting jobs go to workers that have a slot, and the pool's one stream of events comes back.

Two tasks of the service, `dispatch` and `pump`; the only code that decides what the end of an attempt means. A job that
was in a child which died runs alone from then on, so that it is the death of nobody else; and only a death alone spends
one of its attempts.
"""

import asyncio
from dataclasses import replace

from btworker.config import Settings
from btworker.errors import ErrorCode, ErrorInfo
from btworker.jobs import Job, JobStatus, Stage
from btworker.logs import get_logger
from btworker.messages import Blame, Failed, Finished, JobEvent, RunTask, Warned, WindowDone, WorkerLost
from btworker.pool import HelpBegun, Pool, RoomChanged
from btworker.service import progress
from btworker.service.table import JobTable
from btworker.service.traces import trace_id_of
from btworker.storage import DataFolder

log = get_logger()


class Attempts:
    """Starts attempts and ends them."""

    def __init__(self, *, table: JobTable, pool: Pool, data: DataFolder, settings: Settings) -> None:
        self._table = table
        self._pool = pool
        self._data = data
        self._settings = settings
        self._wake = asyncio.Event()
        self.draining = False

    def wake(self) -> None:
        """Something changed that may let a waiting job start."""
        self._wake.set()

    async def wait_for_change(self) -> None:
        """Return after the next change; for a drain that waits for the last job."""
        await self._wake.wait()
        self._wake.clear()

    async def dispatch(self) -> None:
        """Give waiting jobs to workers, for ever; ends when the service drains."""
        while not self.draining:
            await self.wait_for_change()
            while (found := self._next()) is not None:
                await self._start(*found)

    def _next(self) -> tuple[Job, bool] | None:
        """The job that starts, and whether it may take a place for clips."""
        if self.draining:
            return None
        job_id = self._pool.pick((self._table.live[waiting] for waiting in self._table.waiting), self._goes_beside)
        if job_id is None:
            return None
        job = self._table.live[job_id]
        is_clip = self._goes_beside(job)
        self._table.waiting.take(job_id)
        return job, is_clip

    def _goes_beside(self, job: Job) -> bool:
        """Whether a job may take a place for clips: see WORKER_SHORT_SLOTS."""
        is_open = self._settings.short_slots != "auto" or self._table.waiting.has_several_owners
        return is_open and self._settings.is_clip(job.expected_audio_s)

    async def _start(self, job: Job, is_clip: bool) -> None:  # noqa: FBT001 - as `_next` gives them
        running = await self._table.begin_attempt(job)
        if running is None:
            self._table.waiting.settle(job.id, 0.0)
            return
        losses = await self._table.store.losses(job.id) if running.attempt > 1 else 0
        if job.id in self._table.canceling:  # nothing is awaited from here to `send`, or a cancel could slip in between
            await self._table.end_canceled(running)
            return
        folder = self._data.folder(job.id).path
        task = RunTask(job.id, running.attempt, folder, job.inputs, job.options, losses, job.alone, is_clip)
        worker = self._pool.send(task)
        if worker is None:  # the child died meanwhile; nothing was begun
            await self._table.requeue(running, "no worker was free", lost=False)
            return
        running = running.evolve(gpu=worker.device.name)
        if worker.box:
            running = running.with_log(
                self._table.clock(), "info", f"attempt {running.attempt} runs on the box {worker.box}"
            )
        self._table.live[job.id] = running
        if running.attempt == 1:  # a later attempt waited for its own predecessor, not for its turn
            self._table.counters.queue_s.observe(self._table.clock() - job.created_at, trace_id_of(job.trace))
        log.info(
            "job_started",
            workerJobId=job.id,
            requestId=job.request_id,
            attempt=running.attempt,
            worker=worker.index,
            childPid=worker.pid,
            **({"box": worker.box} if worker.box else {}),
        )

    async def pump(self) -> None:
        """Handle the pool's events one after the other, until the pool has stopped."""
        async for event in self._pool.events():
            if isinstance(event, RoomChanged):
                self.wake()
            else:
                await self.on_event(event)

    async def on_event(self, event: JobEvent | HelpBegun) -> None:
        """The single return path of a running job. An attempt that is over changes nothing any more."""
        job = self._table.live.get(event.job_id)
        if job is None or job.status is not JobStatus.RUNNING or job.attempt != event.attempt or job.delivers:
            return
        match event:
            case Finished():
                await self._on_finished(progress.completed(job, event))
            case Failed():
                await self._on_failed(job, event)
            case WorkerLost():
                await self._on_lost(job, event)
            case _:
                self._log(event)
                self._table.live[job.id] = progress.after(job, event, self._table.clock())

    async def _on_finished(self, job: Job) -> None:
        """A job is complete only once its outputs are where they were asked to go."""
        if job.delivery is not None and job.delivery.takes_outputs and job.id not in self._table.canceling:
            await self._table.deliver(job)
        else:
            await self._table.end(job, JobStatus.COMPLETE)

    def _log(self, event: JobEvent | HelpBegun) -> None:
        if isinstance(event, Warned):
            log.warning("job_warning", workerJobId=event.job_id, attempt=event.attempt, message=event.message)
        elif isinstance(event, WindowDone) and self._settings.log_progress:
            log.info(
                "window_done",
                workerJobId=event.job_id,
                attempt=event.attempt,
                index=event.index,
                secondsDone=event.seconds_done,
            )

    async def _on_failed(self, job: Job, event: Failed) -> None:
        if event.error.code is ErrorCode.CANCELED:
            await self._table.end_canceled(job, event.error.message)
        elif event.fatal and await self._table.store.losses(job.id) + 1 < self._settings.max_attempts:
            await self._table.requeue(replace(job, alone=True), event.error.message, lost=True)
        else:
            await self._table.end(job, JobStatus.FAILED, event.error)

    async def _on_lost(self, job: Job, event: WorkerLost) -> None:
        """A death in diarization has one more attempt than others: the child then leaves speakers out."""
        lonely = replace(job, alone=True)
        losses = await self._table.store.losses(job.id) + 1
        if job.id in self._table.canceling:
            await self._table.end_canceled(job)
        elif event.blame is Blame.NONE:
            await self._table.requeue(job, f"its process {event.message}", lost=False)
        elif event.blame is Blame.SHARED:
            await self._table.requeue(lonely, progress.shared_sentence(event), lost=False)
        elif losses >= self._settings.max_attempts + (job.stage is Stage.DIARIZING):
            error = ErrorInfo(event.code, progress.lost_sentence(event, losses))
            await self._table.end(job, JobStatus.FAILED, error)
        else:
            await self._table.requeue(lonely, f"its process {event.message}", lost=True)
