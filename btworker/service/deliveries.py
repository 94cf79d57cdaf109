"""What is sent of jobs: their outputs pushed one at a time, then their end; tried again for a day, over restarts.

    work done --> outputs pushed, or put into a bucket, each noted on disk --> callback, if any --> complete
                     ^ again, where the callback's answer counts fewer than were accepted
    failed, canceled, or a webhook's job ----------------> callback

Each step that was reached is committed before the next, so that nothing is sent twice unless something broke. A
delivery holds no slot, and a receiver that is away costs a timer. Parent.
"""

import asyncio
from dataclasses import replace

from btworker.config import Settings
from btworker.delivery.http import backoff_s
from btworker.delivery.push import Courier, NotTakenError, host_of, reported_status
from btworker.errors import ErrorCode, ErrorInfo
from btworker.jobs import Job, JobId, JobStatus, Output
from btworker.logs import get_logger
from btworker.service.job_tasks import JobTasks
from btworker.service.table import JobTable

log = get_logger()
FIRST_RETRY_S, LONGEST_RETRY_S = 0.5, 600.0
"""A controller knows our job's id only once its own request has returned: its first refusals are soon over."""
MOST_ROUNDS = 3
"""How often all outputs are pushed where the receiver keeps losing some."""


class Deliveries:
    """The deliveries under way, a task each."""

    def __init__(self, *, table: JobTable, settings: Settings, courier: Courier) -> None:
        self._table = table
        self._courier = courier
        self._patience_s = settings.delivery_hours * 3600
        self._tasks = JobTasks("delivery", self._broke)
        self.abort, self.stop = self._tasks.abort, self._tasks.stop

    def __len__(self) -> int:
        return len(self._tasks)

    def begin(self, job: Job) -> None:
        """Deliver, or go on where an earlier run had come to."""
        self._tasks.begin(job.id, self._run(job))

    async def _broke(self, job_id: JobId) -> None:
        job = self._table.live.get(job_id) or await self._table.store.get(job_id)
        if job is not None and job.delivery is not None and (job.delivers or job.owes_callback):
            await self._give_up(job, "an unexpected error; the worker's log has details")

    async def _run(self, job: Job) -> None:
        if job.required_delivery.began_at is None:
            job = await self._note(job, began_at=self._table.clock())
        try:
            job = await self._push_all(job)
            await self._call_back(job)
        except _GaveUpError as given_up:
            await self._give_up(given_up.job, given_up.reason)

    async def _push_all(self, job: Job) -> Job:
        """Every output that was not accepted yet."""
        if job.delivers and len(job.required_delivery.accepted) < len(job.outputs):
            log.info("upload_started", workerJobId=job.id, totalFiles=len(job.outputs))
            while len(done := job.required_delivery.accepted) < len(job.outputs):
                job = await self._push(job, job.outputs[len(done)])
            log.info("upload_finished", workerJobId=job.id, totalFiles=len(job.outputs))
        return job

    async def _push(self, job: Job, output: Output) -> Job:
        while True:
            try:
                await self._courier.push(job, output)
            except NotTakenError as error:
                self._table.counters.outbound["output", "failed"] += 1
                log.warning("upload_failed", workerJobId=job.id, filename=output.filename, reason=str(error))
                job = await self._after_failure(job, error)
                continue
            self._table.counters.outbound["output", "ok"] += 1
            log.info(
                "output_uploaded",
                workerJobId=job.id,
                filename=output.filename,
                sizeMB=round(output.size_bytes / 2**20, 3),
            )
            accepted = (*job.required_delivery.accepted, output.filename)
            return await self._tried(job, accepted=accepted, failures=0, last_error=None)

    async def _call_back(self, job: Job) -> None:
        """The callback, and what its answer asks for; the job is complete after the first word on it."""
        while job.required_delivery.callback_url is not None:
            try:
                answer = await self._courier.call_back(job)
            except NotTakenError as error:
                self._table.counters.outbound["callback", "failed"] += 1
                log.warning("callback_failed", workerJobId=job.id, reason=str(error))
                if job.delivers:  # all outputs were accepted: nothing is gained by keeping that back
                    await self._complete(job, error)
                    return
                job = await self._after_failure(job, error)
                continue
            self._table.counters.outbound["callback", "ok"] += 1
            log.info("callback_sent", workerJobId=job.id, status=reported_status(job).value)
            job = await self._tried(job, failures=0, last_error=None)
            if not self._is_short(job, answer.outputs_received):
                break
            log.warning("outputs_lost", workerJobId=job.id, received=answer.outputs_received, sent=len(job.outputs))
            job = await self._push_again(job)
        now = self._table.clock()
        job = replace(job, delivery=replace(job.required_delivery, callback_at=now))
        if job.delivers:
            await self._table.end(job, JobStatus.COMPLETE)
        else:
            await self._table.note(job)

    def _is_short(self, job: Job, received: int | None) -> bool:
        """The receiver counts fewer outputs than it accepted, and has not been sent them too often."""
        delivery = job.required_delivery
        accepted = len(delivery.accepted)
        return (
            delivery.to_controller
            and received is not None
            and received < len(job.outputs) <= accepted < MOST_ROUNDS * len(job.outputs)
        )

    async def _push_again(self, job: Job) -> Job:
        """All of them: the count does not say which one was lost, and a repeat overwrites nothing."""
        for output in job.outputs:
            job = await self._push(job, output)
        return job

    async def _complete(self, job: Job, error: NotTakenError) -> None:
        """The end is committed, and its own delivery (begun by it) goes on with the callback."""
        tried = replace(
            job.required_delivery, attempts=job.required_delivery.attempts + 1, failures=1, last_error=str(error)
        )
        await self._table.end(replace(job, delivery=tried), JobStatus.COMPLETE)

    async def _after_failure(self, job: Job, error: NotTakenError) -> Job:
        """Wait before the next try, or give up."""
        job = await self._tried(job, failures=job.required_delivery.failures + 1, last_error=str(error))
        delivery = job.required_delivery
        if error.hopeless:
            raise _GaveUpError(job, str(error))
        if self._table.clock() - (delivery.began_at or 0.0) > self._patience_s:
            raise _GaveUpError(job, f"{error}; that went on for {self._patience_s / 3600:g} h (WORKER_DELIVERY_HOURS)")
        await asyncio.sleep(backoff_s(delivery.failures, first_s=FIRST_RETRY_S, longest_s=LONGEST_RETRY_S))
        return job

    async def _give_up(self, job: Job, reason: str) -> None:
        ended = replace(job.required_delivery, gave_up_at=self._table.clock())
        log.warning("delivery_failed", workerJobId=job.id, host=host_of(ended), reason=reason)
        if job.delivers:  # the end is still sent: the callback may be taken where the outputs were not
            error = ErrorInfo(ErrorCode.DELIVERY_FAILED, f"the outputs could not be delivered: {reason}")
            if ended.callback_url is not None:
                ended = replace(ended, gave_up_at=None, began_at=None, failures=0)
            await self._table.end(replace(job, delivery=ended), JobStatus.FAILED, error)
        else:
            await self._table.note(replace(job, delivery=ended))

    async def _tried(self, job: Job, **changes: object) -> Job:
        return await self._note(job, attempts=job.required_delivery.attempts + 1, **changes)

    async def _note(self, job: Job, **changes: object) -> Job:
        noted = replace(job, delivery=replace(job.required_delivery, **changes))  # type: ignore[arg-type]  # by name
        await self._table.note(noted)
        return noted


class _GaveUpError(Exception):
    """Nothing more is tried."""

    def __init__(self, job: Job, reason: str) -> None:
        super().__init__(reason)
        self.job = job
        self.reason = reason
