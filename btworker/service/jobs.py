"""JobService: what the web asks for. Submit, look up, list, cancel, delete, and the life of the service's own tasks."""

import asyncio
import time
from collections.abc import Callable

from btworker.accounts import Account
from btworker.config import Settings
from btworker.errors import BtworkerError, ErrorCode
from btworker.jobs import Job, JobId, JobStatus
from btworker.keys import OPERATOR
from btworker.logs import get_logger
from btworker.pool import BoxSummary, Pool, WorkerState
from btworker.service.attempts import Attempts
from btworker.service.audit import AuditLog
from btworker.service.corrections import Corrections
from btworker.service.counters import JobCounters
from btworker.service.keys import Keys
from btworker.service.limits import KeyLimits
from btworker.service.live import Feeds
from btworker.service.live_jobs import LivePhase
from btworker.service.outbound import Outbound
from btworker.service.outlook import Outlooks
from btworker.service.own_tasks import OwnTasks
from btworker.service.records import JobPage, NewJob
from btworker.service.recovery import Recovery
from btworker.service.resumable import ResumableUploads
from btworker.service.retention import Retention
from btworker.service.room import Room
from btworker.service.search import SearchIndex, Words
from btworker.service.table import JobTable
from btworker.service.traces import TRACEPARENT, open_traces
from btworker.service.waiting import WaitingJobs
from btworker.storage import DataFolder
from btworker.store import Store

log = get_logger()
LAST_WORD_S = 5.0
"""Seconds that the disk has, at the end of the service, to take the state of a job that was interrupted."""


class JobService:
    """See the module's docstring. `clock` gives seconds since the epoch."""

    def __init__(
        self,
        *,
        settings: Settings,
        store: Store,
        pool: Pool,
        data: DataFolder,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.data = data
        self._pool = pool
        self._store = store
        self.audit = AuditLog(data.root / "audit", most_mb=settings.audit_mb, files=settings.audit_files, clock=clock)
        """Who did what."""
        self.keys = Keys(store, settings.tokens, clock, self.audit)
        """Who may call."""
        self.spans = open_traces(settings)
        self._table = JobTable(
            store=store,
            data=data,
            settings=settings,
            waiting=WaitingJobs(
                self.keys.weight_of, short_s=settings.short_s, head_start_s=settings.max_audio_hours * 3600
            ),
            changed=self._wake,
            owing=lambda job: self.outbound.deliver(job),  # noqa: PLW0108 - made below
            spans=self.spans,
            clock=clock,
        )
        self._attempts = Attempts(table=self._table, pool=pool, data=data, settings=settings)
        self._recovery = Recovery(table=self._table, data=data, settings=settings)
        self.resumable = ResumableUploads(data=data, settings=settings, clock=clock)
        """Uploads that survive their connection."""
        self.limits = KeyLimits(self.keys, self._table, self.resumable, settings, clock)
        """What single keys may use."""
        self.room = Room(self._table, pool, settings)
        """What the work takes of the disk."""
        self.outlooks = Outlooks(self._table, pool, clock)
        """What waiting jobs wait for, and for how long."""
        self.corrections = Corrections(store, data, settings, clock)
        """What people correct in transcripts."""
        self._search = SearchIndex(store, data, settings)
        self.feeds = Feeds(self.get, data, self.outlooks.waiting_for)
        """Jobs as their subscribers see them."""
        self.outbound = Outbound(table=self._table, data=data, settings=settings)
        """Where jobs may send this worker, and what is on its way."""
        self._retention = Retention(table=self._table, data=data, settings=settings)
        self._tasks = OwnTasks(may_end=lambda: self.draining)

    # life

    @property
    def failed(self) -> "asyncio.Future[None]":
        """Gets the exception when one of the service's own tasks fails: the service must then stop."""
        return self._tasks.failed

    async def start(self) -> None:
        """Take up what an earlier run left, start the pool and the service's own tasks."""
        await self.keys.load()
        interrupted = await self._recovery.take_up()
        await self.resumable.start()
        await self._pool.start()
        for job in await self._recovery.owing():
            self.outbound.begin(job)
        self._tasks.watch(self._recovery.requeue(interrupted), name="recovery", ends=True)
        self._tasks.watch_each(self._attempts.pump, self._attempts.dispatch, self._search.run)
        self._tasks.watch_each(self._retention.run, self.resumable.sweep)

    def _wake(self) -> None:
        """Something changed in the table."""
        self._attempts.wake()
        self._search.wake()

    def begin_drain(self) -> None:
        """Accept and start nothing more; what runs goes on."""
        if not self.draining:
            log.info("drain_started", running=len(self._table.running()), queued=self.waiting())
        self._attempts.draining = True
        self._attempts.wake()

    async def drain(self, *, grace_s: float) -> None:
        """Accept nothing more and give the running jobs at most `grace_s` seconds."""
        self.begin_drain()
        try:
            await asyncio.wait_for(self._wait_until_idle(), grace_s)
        except asyncio.TimeoutError:
            log.warning("drain_timed_out", running=len(self._table.running()))

    async def stop(self) -> None:
        """Stop the pool and the service's tasks; what still runs goes back into the queue and keeps its attempts."""
        self.begin_drain()
        await self._pool.stop()
        await self._tasks.stop()
        await self.outbound.close()
        await self.data.run(self.audit.close)
        await self._table.requeue_all("the service stopped", within_s=LAST_WORD_S)
        if self.spans is not None:
            await asyncio.to_thread(self.spans.close)

    async def _wait_until_idle(self) -> None:
        while self._table.running():
            await self._attempts.wait_for_change()

    # what clients ask

    def check_accepts(self, owner: str) -> None:
        """Raise DRAINING or QUEUE_FULL when a new job would be refused: for a look before the body is read."""
        if self.draining:
            raise BtworkerError(ErrorCode.DRAINING, "the worker is shutting down; try again in a minute, or elsewhere")
        self.limits.check_waiting(owner)

    async def submit(self, new: NewJob, *, arrived_bytes: int = 0) -> tuple[Job, bool]:
        """Accept a job: durable when this returns. With a known idempotency key: that job, and False. `arrived_bytes`
        of its inputs are no upload that was counted when it was announced. Raises DRAINING, QUEUE_FULL, QUOTA_EXCEEDED.

        A controller's job is never refused: its controller goes by activeJobs, and gives a refused job up.
        """
        if not new.sources or new.owner != OPERATOR:
            self.check_accepts(new.owner)
        with self.limits.coming(new.owner):
            async with self.limits.counting(new.owner, arrived_bytes):
                return await self._accept(new)

    async def _accept(self, new: NewJob) -> tuple[Job, bool]:
        job = new.job(self._table.clock(), TRACEPARENT.get())
        stored, created = await self._store.insert(job, accepted=self.data.accept)
        if created:
            about = {"key": self.keys.name_of(stored.owner), "files": len(stored.inputs)}
            log.info("job_accepted", workerJobId=stored.id, model=stored.options.model, **about)
            if stored.sources:
                self._table.live[stored.id] = stored
                self.outbound.begin(stored)
            else:
                self._table.enqueue(stored)
        return self._live(stored), created

    async def by_key(self, key: str, owner: str) -> Job | None:
        """The live or complete job that this owner submitted with this Idempotency-Key."""
        job = await self._store.by_key(key, owner)
        return None if job is None else self._live(job)

    async def get(self, job_id: str) -> Job:
        """One job. Raises NOT_FOUND."""
        job = self._table.live.get(JobId(job_id)) or await self._store.get(JobId(job_id))
        if job is None:
            raise BtworkerError(ErrorCode.NOT_FOUND, "there is no such job")
        return job

    async def ended(self, job_id: str) -> Job:
        """The job, once it has ended. Raises NOT_FOUND."""
        await self._table.wait_for_end(JobId(job_id))
        return await self.get(job_id)

    async def page(
        self, *, status: JobStatus | None, limit: int, cursor: int | None, owner: str | None = None, words: Words = ()
    ) -> JobPage:
        """Jobs (of one owner, or of all; with all of these words), newest first."""
        jobs, following = await self._store.page(status=status, limit=limit, before=cursor, owner=owner, words=words)
        return JobPage(tuple(self._live(job) for job in jobs), following)

    async def usage(self, first: str, last: str, *, owner: str | None) -> list[Account]:
        """What was used on these days, by one owner or by all."""
        return await self._store.usage(first, last, owner)

    async def cancel(self, job_id: str, reason: str) -> Job:
        """Ask for a job's end: a waiting job ends at once, a running one soon, a finished one stays as it is."""
        job = await self.get(job_id)
        if job.status.finished or job.id in self._table.canceling:
            return job
        log.info("cancel_requested", workerJobId=job.id, reason=reason)
        self._table.canceling[job.id] = reason
        if self._table.waiting.discard(job.id):
            await self._table.end_canceled(job)
        elif await self.outbound.abort(job.id):
            await self._end_left(job.id)
        else:  # running, or on its way to a worker: Attempts looks at `canceling` before it sends
            self._pool.cancel(job.id)
        return await self.get(job_id)

    async def _end_left(self, job_id: JobId) -> None:
        """Cancel a job whose download or delivery was broken off, unless that had just come to its end."""
        job = self._table.live.get(job_id)
        if job is None:
            return
        if job.status is JobStatus.QUEUED or job.delivers:
            self._table.waiting.discard(job_id)
            await self._table.end_canceled(job)
        else:
            self._pool.cancel(job_id)

    async def delete(self, job_id: str) -> None:
        """Forget a job and its files. Raises NOT_FOUND, and CONFLICT while it waits or runs."""
        job = await self.get(job_id)
        if not job.status.finished:
            raise BtworkerError(ErrorCode.CONFLICT, f"the job is {job.status.value}; cancel it first, then delete it")
        await self.outbound.abort(job.id)
        await self._retention.forget(job.id)

    def _live(self, job: Job) -> Job:
        return self._table.live.get(job.id, job)

    # what ping, ready and metrics ask

    @property
    def draining(self) -> bool:
        """The service accepts nothing more."""
        return self._attempts.draining

    @property
    def slots(self) -> int:
        """Jobs that can be at work at once."""
        return self._pool.slots

    @property
    def counters(self) -> JobCounters:
        """Totals since the start."""
        return self._table.counters

    def workers(self) -> tuple[WorkerState, ...]:
        """The pool's workers."""
        return self._pool.workers()

    def boxes(self) -> tuple[BoxSummary, ...] | None:
        """The boxes of a fleet; None where there is no fleet."""
        return self._pool.boxes()

    def active(self) -> int:
        """Jobs that were accepted and are not past their work: what a controller counts."""
        return self._table.active()

    def waiting(self) -> int:
        """Jobs that wait for their turn: those that WORKER_QUEUE_LIMIT bounds."""
        return len(self._table.waiting)

    def waiting_by_owner(self) -> dict[str, int]:
        """The same for each owner that has any."""
        return self._table.waiting.by_owner()

    def queued(self) -> int:
        """Jobs that wait for their inputs or their turn."""
        return self._table.live.count(LivePhase.WAITING)

    def running(self) -> int:
        """Jobs that a worker has."""
        return self._table.live.count(LivePhase.WORKING)

    def oldest_waiting_at(self) -> float | None:
        """When the job that has waited longest was accepted, in seconds since the epoch."""
        return self._table.live.oldest_waiting_at()

    async def check_store(self) -> None:
        """Raises sqlite3.Error when the job table cannot be written."""
        await self._store.check_writable()
