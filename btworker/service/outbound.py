"""What the service asks of others, put together: one guarded HTTP session, the downloads and the deliveries. Parent."""

import asyncio

from btworker.config import Settings
from btworker.delivery.fetch import Fetcher
from btworker.delivery.guard import Guard
from btworker.delivery.http import open_session
from btworker.delivery.push import Courier
from btworker.jobs import Job, JobId
from btworker.service.deliveries import Deliveries
from btworker.service.downloads import Downloads
from btworker.service.table import JobTable
from btworker.storage import DataFolder


class Outbound:
    """Made inside the event loop, closed once by `close`."""

    def __init__(self, *, table: JobTable, data: DataFolder, settings: Settings) -> None:
        self.guard = Guard(settings.allowed_hosts)
        self._session = open_session(self.guard, user_agent=f"bulk-transcribe-worker/{settings.build_commit}")
        fetcher = Fetcher(session=self._session, guard=self.guard, data=data, settings=settings)
        courier = Courier(session=self._session, guard=self.guard, data=data, settings=settings)
        self._downloads = Downloads(table=table, data=data, settings=settings, fetcher=fetcher)
        self._deliveries = Deliveries(table=table, settings=settings, courier=courier)

    def pending(self) -> dict[str, int]:
        """How many jobs have inputs to fetch, or words to tell."""
        return {"download": len(self._downloads), "delivery": len(self._deliveries)}

    def begin(self, job: Job) -> None:
        """Fetch what a new job names, or go on telling what another one owes."""
        if job.sources:
            self._downloads.begin(job)
        else:
            self.deliver(job)

    def deliver(self, job: Job) -> None:
        """Deliver what is owed of a job: its outputs, or word of its end."""
        self._deliveries.begin(job)

    async def abort(self, job_id: JobId) -> bool:
        """Break off what goes on for a job, for its cancel or deletion; False where nothing does."""
        left = await asyncio.gather(self._downloads.abort(job_id), self._deliveries.abort(job_id))
        return any(left)

    async def close(self) -> None:
        """Break everything off; the next start goes on."""
        await asyncio.gather(self._downloads.stop(), self._deliveries.stop())
        await self._session.close()
