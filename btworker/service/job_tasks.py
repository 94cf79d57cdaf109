"""Tasks beside the queue, one for each job that has one: begun, broken off, and never lost in silence. Parent."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine

from btworker.jobs import JobId
from btworker.logs import get_logger

log = get_logger()


class JobTasks:
    """At most one task a job; `failed` gets the job's id where one ended with an error that nobody expected."""

    def __init__(self, name: str, failed: Callable[[JobId], Awaitable[None]]) -> None:
        self._name = name
        self._failed = failed
        self._tasks: dict[JobId, asyncio.Task[None]] = {}

    def begin(self, job_id: JobId, work: Coroutine[None, None, None]) -> None:
        """Run `work`, after what runs for this job already."""
        self._tasks[job_id] = asyncio.create_task(
            self._run(job_id, work, self._tasks.get(job_id)), name=f"{self._name}-{job_id}"
        )

    def __len__(self) -> int:
        return len(self._tasks)

    async def abort(self, job_id: JobId) -> bool:
        """Break a job's task off, and wait for its end; False where there is none."""
        task = self._tasks.get(job_id)
        if task is None:
            return False
        task.cancel()
        await asyncio.wait({task})
        return True

    async def stop(self) -> None:
        """Break all off; the next start of the service goes on."""
        await asyncio.gather(*(self.abort(job_id) for job_id in list(self._tasks)))

    async def _run(self, job_id: JobId, work: Coroutine[None, None, None], earlier: asyncio.Task[None] | None) -> None:
        try:
            task = asyncio.create_task(_after(earlier, work), name=f"{self._name}-work-{job_id}")
            try:
                await asyncio.wait({task})
            finally:
                task.cancel()
                await asyncio.wait({task})
            if not task.cancelled() and (error := task.exception()) is not None:
                log.error(
                    "job_task_broke", task=self._name, workerJobId=job_id, error=type(error).__name__, exc_info=error
                )
                await self._failed(job_id)
        finally:
            if self._tasks.get(job_id) is asyncio.current_task():
                del self._tasks[job_id]


async def _after(earlier: asyncio.Task[None] | None, work: Coroutine[None, None, None]) -> None:
    try:
        if earlier is not None:
            await asyncio.wait({earlier})
        await work
    finally:
        work.close()
