"""The load of `btworker bench`: jobs, a few at a time, and meanwhile a look at /health/live again and again."""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from btworker.cli.board import Board, board, summary
from btworker.client import Client, ClientError, Job
from btworker.jobs import JobStatus

HEALTH_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class Measured:
    """One job. Seconds as its client saw them."""

    size_bytes: int
    upload_s: float
    first_text_s: float | None
    """From the end of the upload to the first segment; None where there was no text."""
    job: Job | None
    """As it ended; None where it was refused."""
    problem: str = ""
    """Why there is no result."""


@dataclass
class Measurement:
    """All of it."""

    url: str
    concurrency: int
    wall_s: float = 0.0
    """From the first byte sent to the last job's end."""
    jobs: list[Measured] = field(default_factory=list)
    health_ms: list[float] = field(default_factory=list)
    """How long /health/live took to answer, as often as it was asked."""
    unanswered: int = 0
    """How often it did not."""
    ping: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of what the worker runs on."""


class Load:
    """The files in turn, as so many jobs."""

    def __init__(
        self,
        client: Client,
        files: list[Path],
        options: Mapping[str, Any],
        *,
        jobs: int | None,
        concurrency: int | None,
    ) -> None:
        """Without `concurrency`: one job more than the worker does at once; without `jobs`: two rounds of that."""
        self._client = client
        self._files = files
        self._options = options
        self._jobs = jobs
        self._concurrency = concurrency
        self._begun: set[str] = set()

    async def run(self) -> Measurement:
        """Everything; the jobs are gone from the worker afterwards. Raises ClientError."""
        slots = int((await self._client.ping()).get("maxConcurrentJobs") or 1)
        found = Measurement(self._client.base_url, self._concurrency or slots + 1)
        jobs = self._jobs or 2 * found.concurrency
        try:
            async with self._watched(found):
                began_at = time.monotonic()
                turn = asyncio.Semaphore(found.concurrency)
                with board(rows=max(jobs, 2)) as bars:
                    files = enumerate(islice(cycle(self._files), jobs), start=1)
                    found.jobs = await _all(self._one(bars, turn, *item) for item in files)
                found.wall_s = time.monotonic() - began_at
            found.ping = await self._client.ping()
            found.versions = dict((await self._client.preflight()).get("versions") or {})
        finally:
            await self._clear()
        return found

    async def _one(self, bars: Board, turn: asyncio.Semaphore, number: int, path: Path) -> Measured:
        async with turn:
            row, began_at = bars.row(f"{number}. {path.name}"), time.monotonic()
            try:
                job = await self._client.send(
                    path, self._options, on_progress=row.sending, on_job=self._begun.add, withdraw=True
                )
                upload_s = time.monotonic() - began_at
                job, first_text_s = await asyncio.gather(
                    self._client.wait(job.id, on_update=row.working), self._first_text(job.id, time.monotonic())
                )
            except ClientError as error:
                row.failed(error.message)
                return Measured(0, 0.0, None, None, error.message)
            problem = "" if job.status is JobStatus.COMPLETE else job.error_message or f"it was {job.status.value}"
            if problem:
                row.failed(problem)
            else:
                row.done(summary(job))
            return Measured(sum(item.size_bytes for item in job.inputs), upload_s, first_text_s, job, problem)

    async def _first_text(self, job_id: str, uploaded_at: float) -> float | None:
        async for event in self._client.events(job_id):
            if event.name == "segment":
                return time.monotonic() - uploaded_at
        return None

    @asynccontextmanager
    async def _watched(self, found: Measurement) -> AsyncIterator[None]:
        async def look() -> None:
            while True:
                began_at = time.monotonic()
                try:
                    await self._client.alive()
                    found.health_ms.append(1000 * (time.monotonic() - began_at))
                except ClientError:
                    found.unanswered += 1
                await asyncio.sleep(HEALTH_EVERY_S)

        looking = asyncio.create_task(look(), name="health")
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.wait({looking})

    async def _clear(self) -> None:
        """Leave nothing on the worker, also where the measuring was stopped in the middle."""
        for job_id in self._begun:
            with suppress(ClientError, asyncio.TimeoutError):
                await self._client.cancel(job_id)
                await self._client.wait(job_id, timeout_s=10)
                await self._client.delete(job_id)


async def _all(works: Iterable[Coroutine[Any, Any, Measured]]) -> list[Measured]:
    """The results in order. Unlike gather(), it returns when all have ended, and asks each at most once to end."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    return [task.result() for task in tasks]
