"""Inputs that lie elsewhere: fetched as soon as the job is accepted, since URLs expire. Parent.

A job holds no slot meanwhile, and joins the queue when the last of its inputs is durable. A restart goes on with those
that were not.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from btworker.checkpoints import file_sha256
from btworker.config import Settings
from btworker.delivery.fetch import Fetched, Fetcher
from btworker.delivery.origin import Origin
from btworker.durable import sync_folder
from btworker.errors import BtworkerError, ErrorCode, ErrorInfo
from btworker.jobs import Input, Job, JobId, JobStatus
from btworker.locations import Source
from btworker.logs import get_logger
from btworker.service.job_tasks import JobTasks
from btworker.service.table import JobTable
from btworker.service.turns import Turns
from btworker.storage import DataFolder

log = get_logger()
SHARE = 10.0
"""Percent of a job that the download of its inputs is."""


class Downloads:
    """The downloads of all jobs; WORKER_DOWNLOADS files at once, of one key after the other. `origin` raises
    BtworkerError."""

    def __init__(
        self,
        *,
        table: JobTable,
        data: DataFolder,
        settings: Settings,
        fetcher: Fetcher,
        origin: Callable[[Source], Origin],
    ) -> None:
        self._table = table
        self._data = data
        self._fetcher = fetcher
        self._origin = origin
        self._turns = Turns(settings.downloads)
        self._tasks = JobTasks("download", self._broke)
        self.abort, self.stop = self._tasks.abort, self._tasks.stop

    def __len__(self) -> int:
        return len(self._tasks)

    def begin(self, job: Job) -> None:
        """Fetch the inputs of a queued job, then let it wait for its turn."""
        self._tasks.begin(job.id, self._run(job))

    async def _run(self, job: Job) -> None:
        log.info("download_started", workerJobId=job.id, totalFiles=len(job.inputs))
        try:
            fetched = await self._fetch_all(job)
        except BtworkerError as error:
            await self._fail(job.id, error.info)
            return
        except OSError as error:
            message = f"an input could not be kept ({error.strerror or type(error).__name__})"
            await self._fail(job.id, ErrorInfo(ErrorCode.DOWNLOAD_FAILED, message))
            return
        log.info("download_finished", workerJobId=job.id, totalFiles=len(job.inputs))
        inputs = tuple(
            replace(item, size_bytes=one.size_bytes, sha256=one.sha256)
            for item, one in zip(job.inputs, fetched, strict=True)
        )
        await self._table.fetched(replace(self._table.live[job.id], inputs=inputs))

    async def _broke(self, job_id: JobId) -> None:
        message = "fetching the inputs failed unexpectedly; the worker's log has details"
        await self._fail(job_id, ErrorInfo(ErrorCode.DOWNLOAD_FAILED, message))

    async def _fail(self, job_id: JobId, error: ErrorInfo) -> None:
        await self._table.end(self._table.live[job_id], JobStatus.FAILED, error)

    async def _fetch_all(self, job: Job) -> list[Fetched]:
        """Every input, in order; the first failure ends the others."""
        await self._data.run(self._prepare, job.id)
        shares = [0.0] * len(job.inputs)
        tasks = [
            asyncio.create_task(self._fetch(job, index, shares), name=f"download-{job.id}-{index}")
            for index in range(len(job.inputs))
        ]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _fetch(self, job: Job, index: int, shares: list[float]) -> Fetched:
        final, item = self._data.folder(job.id).input(index), job.inputs[index]

        def progressed(so_far: int, total: int | None) -> None:
            shares[index] = min(so_far / max(total or item.size_bytes, so_far, 1), 1.0)
            self._show(job.id, sum(shares) / len(shares))

        async with self._turns.place(job.owner):
            if await self._data.run(final.exists):  # an earlier run fetched it
                sha256 = await self._data.run(file_sha256, final)
                found = Fetched((await self._data.run(final.stat)).st_size, sha256)
            else:
                found = await self._counted(self._fetcher.fetch(self._origin(job.sources[index]), final, progressed))
        progressed(found.size_bytes, found.size_bytes)
        log.info("file_downloaded", workerJobId=job.id, **_about(item, index, found.size_bytes, len(job.inputs)))
        return found

    async def _counted(self, fetching: Awaitable[Fetched]) -> Fetched:
        outcome = "failed"
        try:
            found = await fetching
            outcome = "ok"
            return found
        finally:
            self._table.counters.outbound["download", outcome] += 1

    def _show(self, job_id: JobId, share: float) -> None:
        job = self._table.live.get(job_id)
        if job is not None:
            percent = round(max(job.progress.percent, SHARE * share), 1)
            self._table.live[job_id] = replace(job, progress=replace(job.progress, percent=percent))

    def _prepare(self, job_id: JobId) -> None:
        """Blocking: an empty place for what is to come, without the parts of an earlier run."""
        folder = self._data.folder(job_id)
        folder.inputs.mkdir(parents=True, exist_ok=True, mode=0o750)
        for part in folder.inputs.glob("*.part"):
            part.unlink()
        sync_folder(folder.path)
        sync_folder(folder.path.parent)


def _about(item: Input, index: int, size_bytes: int, total: int) -> dict[str, object]:
    size_mb = round(size_bytes / 2**20, 3)
    return {"filename": item.filename, "sizeMB": size_mb, "fileIndex": index, "totalFiles": total}
