"""The store that large files go through between front end and boxes, where WORKER_FLEET_STORE names one. Front end.

    <folder>/<job id>/in/<hash of the name>          inputs: put once, here; boxes read them by presigned addresses
    <folder>/<job id>/<attempt>/<hash of the name>   what an attempt made: put by its box, by a presigned address; the
                                                     front end takes it in behind the fence, then it goes

All of it is a copy: once no box may read a job's files any more, whatever lies under its id is deleted, also what a box
that was fenced puts later. What takes longer than a request should is asked for again (NotYetError).
"""

import asyncio
import hashlib
import re
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from btworker.config import Settings
from btworker.config.stores import load_stores
from btworker.delivery.buckets import Buckets, StoreRefusedError
from btworker.fleet.files import LEAST_STORED_BYTES, NotYetError
from btworker.fleet.leases import TICKET_S, Leases
from btworker.jobs import JobId
from btworker.locations import S3Object, S3Prefix, folder_like
from btworker.logs import get_logger

log = get_logger()
ANSWER_S = 20.0
"""Seconds after which a box has to ask again, far below those after which it would think that nobody is there."""
GRACE_S = 10.0
"""Seconds for which a job's objects stay when no box wants them: where its box was lost, the next one soon does."""
PUTS_AT_ONCE = 4
"""Inputs put at once: a few fill any line, and each holds 16 MB."""
SWEEP_S = 2.0
RETRY_S = 60.0
LIST_S = TICKET_S
"""Seconds between two looks for objects that nobody here knows of: addresses end by then."""
BINARY = "application/octet-stream"
_OURS = re.compile(r"wk_[A-Za-z0-9_-]{1,64}/(in|\d{1,9})/[0-9a-f]{32}")
"""Keys in the folder that are made here: no other object is ever deleted."""


class FleetStore:
    """See the module's docstring."""

    def __init__(self, buckets: Buckets, folder: S3Prefix, leases: Leases, *, grace_s: float) -> None:
        self._buckets = buckets
        self._folder = folder
        self._leases = leases
        self._grace_s = grace_s
        self._works: dict[JobId, dict[str, asyncio.Task[Any]]] = {}
        """What is being done for a job, or was; a job that has none has no objects."""
        self._may_put = asyncio.Semaphore(PUTS_AT_ONCE)
        self._unwanted_since: dict[JobId, float] = {}
        self._sweeping: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, settings: Settings, leases: Leases, *, grace_s: float = GRACE_S) -> "FleetStore | None":
        """The store that the settings name."""
        if settings.fleet_folder is None:
            return None
        stores, agent = load_stores(settings.stores_file), f"bulk-transcribe-worker/{settings.build_commit}"
        buckets = Buckets(stores, user_agent=agent, idle_s=settings.download_idle_s)
        return cls(buckets, settings.fleet_folder, leases, grace_s=grace_s)

    async def start(self) -> None:
        """Begin to look for what nobody wants."""
        self._sweeping = asyncio.create_task(self._sweep_for_ever(), name="fleet-store")

    async def stop(self) -> None:
        """Break off what goes on."""
        works = [work for of_job in self._works.values() for work in of_job.values()]
        tasks = works if self._sweeping is None else [*works, self._sweeping]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def input_addresses(self, job_id: JobId, files: Sequence[tuple[str, int, Path]]) -> dict[str, str]:
        """Addresses of a job's large inputs, by name, which are put here where they are not yet. `files`: names, sizes
        in bytes, paths. Those that the store does not take have none. Raises NotYetError."""
        large = [(name, path) for name, size_bytes, path in files if size_bytes >= LEAST_STORED_BYTES]
        if not large:
            return {}
        there = await self.settle(job_id, "in", lambda: self._put(job_id, large))
        return {name: await self._sign("GET", _input_key(job_id, name)) for name in there}

    async def result_address(self, job_id: JobId, attempt: int, name: str) -> str:
        """Where an attempt's box puts what it made. `name` is that of the file, and of the piece of it."""
        self._works.setdefault(job_id, {})
        return await self._sign("PUT", _result_key(job_id, attempt, name))

    def result(self, job_id: JobId, attempt: int, name: str) -> AsyncIterator[bytes]:
        """What it put there. Raises StoreRefusedError."""
        return self._buckets.content(self._object(_result_key(job_id, attempt, name)))

    async def delete_result(self, job_id: JobId, attempt: int, name: str) -> None:
        """It was taken in; where the store is away just now, the job's end deletes it."""
        with suppress(StoreRefusedError):
            await self._delete([self._object(_result_key(job_id, attempt, name)).key])

    async def settle(self, job_id: JobId, what: str, make: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Do a thing once for a job, however often it is asked for. Raises what it raises, NotYetError."""
        works = self._works.setdefault(job_id, {})
        work = works.get(what)
        if work is None or work.cancelled():
            work = works[what] = asyncio.create_task(make(), name=f"fleet-store-{job_id}")
        await asyncio.wait({work}, timeout=ANSWER_S)
        if not work.done() or work.cancelled():
            raise NotYetError
        if work.exception() is not None:  # the next one who asks begins anew
            works.pop(what, None)
        return work.result()

    async def sweep(self) -> None:
        """Delete the objects of jobs that no box has wanted for a while."""
        now = time.monotonic()
        wanted = {job_id for job_id in self._works if self._leases.wants(job_id)}
        unwanted = self._works.keys() - wanted
        self._unwanted_since = {job_id: self._unwanted_since.get(job_id, now) for job_id in unwanted}
        for job_id in [job_id for job_id, since in self._unwanted_since.items() if now - since >= self._grace_s]:
            await self._forget(job_id)

    async def find_unknown(self) -> None:
        """Look for objects of jobs that nobody here knows of: of an earlier run, or put after their job's end."""
        for key in await self._keys():
            self._works.setdefault(JobId(key[len(self._root) :].partition("/")[0]), {})

    async def _forget(self, job_id: JobId) -> None:
        for work in self._works.pop(job_id).values():
            work.cancel()
        try:
            await self._delete(await self._keys(job_id))
        except StoreRefusedError:
            self._works.setdefault(job_id, {})
            raise

    async def _sweep_for_ever(self) -> None:
        looked_at = float("-inf")
        while True:
            try:
                if time.monotonic() - looked_at > LIST_S:
                    await self.find_unknown()
                    looked_at = time.monotonic()
                await self.sweep()
            except StoreRefusedError as error:
                log.warning("fleet_store_failed", message=f"{error}; what is in the fleet's folder stays")
                await asyncio.sleep(RETRY_S)
            await asyncio.sleep(SWEEP_S)

    async def _put(self, job_id: JobId, files: Sequence[tuple[str, Path]]) -> list[str]:
        """Put files into the store; the names of those that are there."""
        there = []
        for name, path in files:
            try:
                async with self._may_put:
                    await self._buckets.put_object(path, self._object(_input_key(job_id, name)), BINARY)
                there.append(name)
            except StoreRefusedError as error:
                log.warning("fleet_store_failed", workerJobId=job_id, message=f"{error}; it comes from here instead")
        return there

    async def _keys(self, job_id: str = "") -> list[str]:
        """Keys of all objects, or of those of a job; what somebody else put into the folder is none of them."""
        found = await self._buckets.keys(S3Prefix(self._folder.store, self._folder.bucket, f"{self._root}{job_id}"))
        return [key for key in found if _OURS.fullmatch(key.removeprefix(self._root))]

    async def _delete(self, keys: Sequence[str]) -> None:
        if keys:
            await self._buckets.delete(self._folder, keys)

    async def _sign(self, method: Any, key: str) -> str:
        return await self._buckets.sign(method, self._object(key), lifetime_s=TICKET_S)

    def _object(self, key: str) -> S3Object:
        return S3Object(self._folder.store, self._folder.bucket, f"{self._root}{key}")

    @property
    def _root(self) -> str:
        return folder_like(self._folder.prefix)


def _input_key(job_id: JobId, name: str) -> str:
    return f"{job_id}/in/{_hashed(name)}"


def _result_key(job_id: JobId, attempt: int, name: str) -> str:
    return f"{job_id}/{attempt}/{_hashed(name)}"


def _hashed(name: str) -> str:
    """A name that is fit for a key, whatever it is."""
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]
