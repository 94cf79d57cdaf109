"""What the service asks of others: a guarded HTTP session, the operator's buckets, downloads and deliveries. Parent."""

import asyncio

from btworker.config import Settings
from btworker.config.stores import load_stores
from btworker.delivery.buckets import Buckets
from btworker.delivery.fetch import Fetcher
from btworker.delivery.guard import Guard
from btworker.delivery.http import open_session
from btworker.delivery.origin import Origin
from btworker.delivery.push import Courier
from btworker.delivery.urls import UrlOrigin
from btworker.jobs import Job, JobId
from btworker.locations import S3Object, Source
from btworker.service.deliveries import Deliveries
from btworker.service.downloads import Downloads
from btworker.service.table import JobTable
from btworker.storage import DataFolder


class Outbound:
    """Made inside the event loop, closed once by `close`."""

    def __init__(self, *, table: JobTable, data: DataFolder, settings: Settings) -> None:
        self.guard = Guard(settings.allowed_hosts)
        user_agent = f"bulk-transcribe-worker/{settings.build_commit}"
        self._idle_s = settings.download_idle_s
        self.buckets = Buckets(load_stores(settings.stores_file), user_agent=user_agent, idle_s=self._idle_s)
        self._session = open_session(self.guard, user_agent=user_agent)
        fetcher = Fetcher(data=data, settings=settings)
        courier = Courier(session=self._session, guard=self.guard, buckets=self.buckets, data=data, settings=settings)
        self._downloads = Downloads(table=table, data=data, settings=settings, fetcher=fetcher, origin=self._origin)
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

    def _origin(self, source: Source) -> Origin:
        if isinstance(source, S3Object):
            return self.buckets.origin(source)
        return UrlOrigin(source, session=self._session, guard=self.guard, idle_s=self._idle_s)

    async def close(self) -> None:
        """Break everything off; the next start goes on."""
        await asyncio.gather(self._downloads.stop(), self._deliveries.stop())
        await self._session.close()
