"""Inputs of jobs that wait, fetched beside the work of others, so that no child waits for the line. Runs in the box;
prefetching.py in the front end says which.

What is fetched here gives way to what an attempt waits for, takes no room that jobs at work may need, and goes when its
lease ends: the job is to start elsewhere, or never.
"""

import asyncio
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import aiohttp

from btworker.config import Settings
from btworker.errors import BtworkerError
from btworker.fleet.courier import Courier
from btworker.fleet.front_end import LEASE_S, FencedError, FrontEnd
from btworker.fleet.leases import PREFETCHES, path_of
from btworker.fleet.records import Prefetch
from btworker.job_folder import JobFolder
from btworker.jobs import Input, JobId
from btworker.logs import get_logger

log = get_logger()


class PrefetchedInputs:
    """Those of one job, in a folder that its attempt takes over; `over` is done once nobody wants them, and they are
    gone."""

    def __init__(self, courier: Courier, inputs: tuple[Input, ...], folder: Path, *, lease_s: float) -> None:
        self.folder = folder
        self.courier = courier
        self._size_bytes = sum(one.size_bytes for one in inputs)
        self._fetching = asyncio.create_task(courier.fetch(inputs), name="prefetch")
        self._lease = asyncio.create_task(courier.hold(lease_s), name="prefetch-lease")
        self.is_ending = False
        self.over = asyncio.create_task(self._run(), name="prefetch-over")

    @property
    def missing_bytes(self) -> int:
        """Bytes that are still to come."""
        return 0 if self._fetching.done() else max(self._size_bytes - self.courier.fetched_bytes, 0)

    async def complete(self) -> set[str]:
        """Fetch what is missing, for an attempt that waits for it and holds the lease; the names of what is here."""
        self.over.cancel()
        self._lease.cancel()
        self.courier.may_fetch.set()
        with suppress(FencedError, BtworkerError, OSError):  # the attempt asks for the rest, and reports what is wrong
            await self._fetching
        return self.courier.inputs

    async def drop(self) -> None:
        """Clear them away."""
        self.over.cancel()
        await asyncio.gather(self.over, return_exceptions=True)
        await self._clear()

    async def _run(self) -> None:
        await asyncio.wait({self._fetching, self._lease}, return_when=asyncio.FIRST_EXCEPTION)
        self.is_ending = True
        await self._clear()

    async def _clear(self) -> None:
        for task in (self._fetching, self._lease):
            task.cancel()
        await asyncio.gather(self._fetching, self._lease, return_exceptions=True)
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)


class BoxPrefetches:
    """All of a box. `folder` is that of its jobs; every `lease_s` seconds they are asked for."""

    def __init__(self, settings: Settings, folder: Path, *, lease_s: float = LEASE_S) -> None:
        self._settings = settings
        self._folder = folder
        self._lease_s = lease_s
        self._of: dict[JobId, PrefetchedInputs] = {}
        self._urgent = 0
        """Attempts that wait for their inputs."""

    async def begin(
        self, order: Prefetch, *, session: aiohttp.ClientSession, address: str, at_work: Iterable[int]
    ) -> None:
        """Fetch the inputs of a job, where there is room. `at_work`: bytes of the largest input of each job here."""
        await self.drop(order.job_id)
        size_bytes = sum(one.size_bytes for one in order.inputs)
        if not await asyncio.to_thread(self._has_room, size_bytes, tuple(at_work)):
            log.warning(
                "no_prefetch", workerJobId=order.job_id, message="this box has no room for another job's inputs"
            )
            return
        folder = self._folder / f"{order.job_id}.next-{order.number}"
        url = address + path_of(order.job_id, order.number, PREFETCHES)
        courier = Courier(FrontEnd(session, url, order.ticket), JobFolder(folder))
        if self._urgent:
            courier.may_fetch.clear()
        inputs = self._of[order.job_id] = PrefetchedInputs(courier, order.inputs, folder, lease_s=self._lease_s)
        inputs.over.add_done_callback(partial(self._forget, order.job_id, inputs))

    def take(self, job_id: JobId) -> PrefetchedInputs | None:
        """Hand over the inputs of a job that starts here, as far as they are here."""
        inputs = self._of.pop(job_id, None)
        return None if inputs is None or inputs.is_ending else inputs

    async def drop(self, job_id: JobId) -> None:
        """Clear the inputs of a job away, if there are any."""
        if (inputs := self._of.pop(job_id, None)) is not None:
            await inputs.drop()

    async def drop_all(self) -> None:
        """Clear everything away."""
        for job_id in list(self._of):
            await self.drop(job_id)

    @property
    def gives_way(self) -> bool:
        """Whether an attempt waits for its own inputs."""
        return self._urgent > 0

    @contextmanager
    def giving_way(self) -> Iterator[None]:
        """Fetch nothing while an attempt waits for its own inputs: both share a line."""
        self._urgent += 1
        for inputs in self._of.values():
            inputs.courier.may_fetch.clear()
        try:
            yield
        finally:
            self._urgent -= 1
            for inputs in self._of.values() if not self._urgent else ():
                inputs.courier.may_fetch.set()

    def _forget(self, job_id: JobId, inputs: PrefetchedInputs, _over: "asyncio.Task[None]") -> None:
        if self._of.get(job_id) is inputs:
            del self._of[job_id]

    def _has_room(self, size_bytes: int, at_work: tuple[int, ...]) -> bool:
        """Whether the jobs at work can still be decoded beside so many bytes more. Blocking."""
        settings, folder = self._settings, self._folder
        shares_disk = settings.scratch_dir.stat().st_dev == folder.stat().st_dev
        needed = size_bytes + sum(inputs.missing_bytes for inputs in self._of.values())
        needed += sum(map(settings.decoded_bytes, at_work)) if shares_disk else 0
        return shutil.disk_usage(folder).free - needed >= settings.disk_reserve_bytes
