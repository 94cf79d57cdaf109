"""How long finished jobs are kept, and how a job is forgotten. Parent.

The folder's name says first that it is to be deleted: wherever a crash comes, the next start deletes the rest. Only
finished jobs have a time of their end, so that no waiting or running job is ever touched.
"""

import asyncio
import sqlite3

from btworker.config import Settings
from btworker.jobs import JobId
from btworker.logs import get_logger
from btworker.service.table import JobTable
from btworker.storage import DataFolder
from btworker.store import is_disk_trouble

log = get_logger()
INTERVAL_S = 600.0
BATCH = 100


class Retention:
    """Forgets what is older than WORKER_RETENTION_HOURS."""

    def __init__(self, *, table: JobTable, data: DataFolder, settings: Settings) -> None:
        self._table = table
        self._data = data
        self._settings = settings

    async def run(self) -> None:
        """Look every few minutes, for ever; the first time at once."""
        if not self._settings.keep_inputs:
            await self._data.run(self._data.sweep_inputs, await self._table.store.finished_ids())
        while True:
            try:
                await self._finish_deletions()
                await self._expire()
            except sqlite3.OperationalError as error:
                if not is_disk_trouble(error):
                    raise
                log.warning("retention_failed", detail=str(error))
            await asyncio.sleep(INTERVAL_S)

    async def _finish_deletions(self) -> None:
        """Those that a crash, or a disk that took no change, came into."""
        for job_id in await self._data.run(self._data.doomed):
            await self.forget(job_id)

    async def _expire(self) -> None:
        horizon = self._table.clock() - self._settings.retention_hours * 3600
        while expired := await self._table.store.finished_before(horizon, BATCH):
            for job_id in expired:
                await self.forget(job_id)
                log.info("job_expired", workerJobId=job_id)

    async def forget(self, job_id: JobId) -> None:
        """Delete the row and the files of a finished job."""
        await self._data.run(self._data.doom, job_id)
        try:
            await self._table.store.delete(job_id)
        except sqlite3.OperationalError as error:
            if not is_disk_trouble(error):
                raise
            # A disk without room takes no row's end either: the files, which are to go anyway, make some
            await self._data.run(self._data.remove, job_id)
            await self._table.store.delete(job_id)
            return
        await self._data.run(self._data.remove, job_id)
