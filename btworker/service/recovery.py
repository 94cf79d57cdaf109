"""What a start makes of an earlier run's end, however that came: kill -9, power loss, a full disk. Parent.

Files without a row go, rows without an end go on. Only reading stands between the start and the first request; the
changes of rows come after it, since a full disk takes none and must not keep the service from answering.
"""

from btworker.config import Settings
from btworker.errors import ErrorCode, ErrorInfo
from btworker.jobs import Job, JobStatus
from btworker.logs import get_logger
from btworker.service.table import JobTable
from btworker.storage import DataFolder

log = get_logger()
MAX_INTERRUPTIONS = 10
"""Starts beyond WORKER_MAX_ATTEMPTS for a job under which the service itself died: bounds one that kills the box."""
NO_INPUTS = "the uploaded files of this job are not there any more; send them again"


class Recovery:
    """Used once, at the start."""

    def __init__(self, *, table: JobTable, data: DataFolder, settings: Settings) -> None:
        self._table = table
        self._data = data
        self._settings = settings

    async def take_up(self) -> list[Job]:
        """Remove orphans and queue what waits; returns the jobs whose rows have to change, for `requeue`."""
        if self._table.store.is_new and (aside := await self._data.run(self._data.set_aside)) is not None:
            # Somebody moved a damaged table away, as its error says: their results must not go with it
            log.warning(
                "jobs_without_table", message=f"the job table is new, so the files of earlier jobs are in {aside}"
            )
        swept = await self._data.run(self._data.sweep, await self._table.store.ids())
        await self._data.run(self._data.sweep_scratch, self._settings.scratch_dir)
        unfinished = await self._table.store.unfinished()
        whole = await self._data.run(lambda: {job.id for job in unfinished if self._data.has_inputs(job)})
        interrupted = []
        for job in unfinished:
            self._table.live[job.id] = job
            if job.sources or job.delivers:
                continue
            if job.status is JobStatus.QUEUED and job.id in whole:
                self._table.enqueue(job)
            else:
                interrupted.append(job)
        if unfinished or swept:
            log.info("jobs_recovered", unfinished=len(unfinished), orphansRemoved=swept)
        return interrupted

    async def owing(self) -> list[Job]:
        """Jobs whose inputs are to be fetched, or of which somebody is still to be told; after `take_up`."""
        live = [job for job in self._table.live.values() if job.sources or job.delivers]
        return live + await self._table.store.owing()

    async def requeue(self, interrupted: list[Job]) -> None:
        """Give each of them its state: queued again, or failed where it cannot run or killed the service too often."""
        for job in interrupted:
            if not await self._data.run(self._data.has_inputs, job):
                # Deleted by hand, or a row that was refused: its commit failed, and the crash came before it was undone
                await self._table.end(job, JobStatus.FAILED, ErrorInfo(ErrorCode.PROCESSING_ERROR, NO_INPUTS))
            elif job.attempt >= self._settings.max_attempts + MAX_INTERRUPTIONS:
                message = f"the service itself died {job.attempt} times while this job ran; it is not tried again"
                await self._table.end(job, JobStatus.FAILED, ErrorInfo(ErrorCode.WORKER_CRASHED, message))
            else:
                await self._table.requeue(job, "the service was interrupted", lost=False)
