"""What a start makes of an earlier run's end, however that came: kill -9, power loss, a full disk. Parent.

Files without a row go or are put aside (leftovers.py), rows without an end go on. No row is changed between the start
and the first request: a full disk takes no change, and must not keep the service from answering.
"""

from btworker.config import Settings
from btworker.errors import ErrorCode, ErrorInfo
from btworker.jobs import Job, JobStatus
from btworker.leftovers import Leftovers, clear_up, put_aside
from btworker.logs import get_logger
from btworker.service.table import JobTable
from btworker.storage import DataFolder

log = get_logger()
TAUGHT_BY = 200
"""Finished jobs of earlier runs from which it is learned how long a job takes here."""
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
        """Clear leftovers up and queue what waits; returns the jobs whose rows have to change, for `requeue`."""
        removed = await self._clear_up()
        await self._data.run(self._data.sweep_scratch, self._settings.scratch_dir)
        unfinished = await self._table.store.unfinished()
        ended, _ = await self._table.store.page(status=JobStatus.COMPLETE, limit=TAUGHT_BY, before=None)
        for job in reversed(ended):
            self._table.pace.learn(job)
        await self._data.run(self._put_newer_results_aside, unfinished)
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
        if unfinished or removed:
            log.info("jobs_recovered", unfinished=len(unfinished), orphansRemoved=removed)
        return interrupted

    async def _clear_up(self) -> int:
        """See leftovers.py; returns how many folders were deleted."""
        store = self._table.store
        found = await self._data.run(clear_up, self._data, await store.ids(), table_is_new=store.is_new)
        if store.is_new and found.aside is not None:
            _warn(found, "jobs_without_table", "the job table is new, so the files of earlier jobs are not its own")
        else:
            _warn(found, "jobs_without_row", "the job table (was it lost, or restored?) does not know these jobs")
        return found.removed

    def _put_newer_results_aside(self, unfinished: list[Job]) -> None:
        """Blocking. A table from a backup still waits for jobs that have ended since: their results are not to be
        deleted with the failure that follows."""
        ended = [
            job.id
            for job in unfinished
            if not job.delivers and self._data.folder(job.id).has_results() and not self._data.has_inputs(job)
        ]
        what = "the job table (was it restored?) is older than the results of these jobs"
        _warn(put_aside(self._data, ended), "results_without_row", what)

    async def owing(self) -> list[Job]:
        """Jobs whose inputs are to be fetched, or whose callback is still to be sent; after `take_up`."""
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


def _warn(found: Leftovers, event: str, what: str) -> None:
    """One line on what was put aside, with the place where it is."""
    if found.aside is not None:
        message = f"{what}: nothing of them was deleted, they are in {found.aside} (docs/backup.md)"
        log.warning(event, jobs=found.put_aside, message=message)
    if found.stuck:
        message = f"{what}: they could not be put aside, and are left in the jobs folder"
        log.warning(event, jobs=found.stuck, message=message)
