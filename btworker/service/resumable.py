"""Uploads that survive their connection: begun, gone on with, finished, forgotten. Parent; for web/tus/handlers.py.

How they lie on the disk: resumable_files.py.
"""

import asyncio
import hashlib
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from weakref import WeakValueDictionary

from btworker.config import Settings
from btworker.errors import BtworkerError, ErrorCode
from btworker.keys import OPERATOR
from btworker.logs import get_logger
from btworker.receiving.received_file import ReceivedFile
from btworker.service.resumable_files import Resumable, ResumableFiles
from btworker.service.unbroken import unbroken
from btworker.storage import DataFolder

log = get_logger()
SWEEP_S = 300.0


class ResumableUploads:
    """All of them. Methods are called from the event loop; files are touched in the file executor."""

    def __init__(self, *, data: DataFolder, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._data = data
        self._settings = settings
        self._clock = clock
        self._files = ResumableFiles(data.root / "uploads")
        self._known: dict[str, Resumable] = {}
        self._offsets: dict[str, int] = {}
        self._hashes: dict[str, tuple[int, hashlib._Hash]] = {}
        """How far each hash is; those of uploads that this process received."""
        self._writing: set[str] = set()
        self._holds: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """Of uploads that become jobs right now."""

    async def start(self) -> None:
        """Find what an earlier run left."""
        for record, offset in await self._data.run(self._files.scan):
            self._known[record.id], self._offsets[record.id] = record, offset

    async def sweep(self) -> None:
        """Forget what has expired, again and again."""
        while True:
            await self.forget()
            await asyncio.sleep(SWEEP_S)

    async def forget(self) -> None:
        """Forget what has expired."""
        kept = self._writing | {upload_id for one in self._here() for upload_id in one.needs}
        for record in list(self._known.values()):
            if self._clock() >= self.expires_at(record) and record.id not in kept:
                await self._expire(record)

    def expires_at(self, record: Resumable) -> float:
        """When an upload is forgotten, unless something comes of it."""
        return record.touched_at + self._settings.resumable_hours * 3600

    def get(self, upload_id: str) -> Resumable:
        """Raises NOT_FOUND, GONE."""
        record = self._known.get(upload_id)
        if record is None:
            raise BtworkerError(ErrorCode.NOT_FOUND, "there is no such upload")
        if record.gone:
            raise BtworkerError(ErrorCode.GONE, "the upload has expired, or was deleted")
        return record

    def owner_of(self, upload_id: str) -> str | None:
        """Whose an upload is, also one that is gone; None where there is none."""
        record = self._known.get(upload_id)
        return None if record is None else record.owner

    def begun(self) -> Counter[str]:
        """How many uploads of each owner are no jobs yet."""
        return Counter(one.owner for one in self._here())

    def stored_bytes(self, owner: str) -> int:
        """Bytes of an owner's uploads that are no jobs yet, those that are announced as well."""
        return sum(max(one.length or 0, self._offsets[one.id]) for one in self._here() if one.owner == owner)

    def _here(self) -> Iterator[Resumable]:
        return (one for one in self._known.values() if not one.gone and one.job_id is None)

    def offset(self, record: Resumable) -> int:
        """Bytes that are durable."""
        return record.length or 0 if record.job_id is not None else self._offsets[record.id]

    def is_complete(self, record: Resumable) -> bool:
        """All its bytes are here."""
        return record.id not in self._writing and record.length is not None and self.offset(record) == record.length

    async def create(
        self, *, length: int | None, metadata: str, owner: str = OPERATOR, needs: tuple[str, ...] = ()
    ) -> Resumable:
        """Begin an upload, durably; `begun` and `stored_bytes` count it from the call on."""
        record = Resumable(f"up_{secrets.token_hex(16)}", length, metadata, self._clock(), owner=owner, needs=needs)
        self._known[record.id], self._offsets[record.id] = record, 0
        made = False
        try:
            await self._data.run(self._files.make, record)
            made = True
        finally:
            if not made:
                del self._known[record.id], self._offsets[record.id]
        self._hashes[record.id] = (0, hashlib.sha256())
        return record

    async def set_length(self, record: Resumable, length: int) -> Resumable:
        """Once, for an upload that began without one. Raises CONFLICT."""
        if record.length not in (None, length) or length < self.offset(record):
            raise BtworkerError(ErrorCode.CONFLICT, "the upload has another length")
        return await self._keep(replace(record, length=length))

    @asynccontextmanager
    async def writing(self, record: Resumable, *, offset: int, verified: bool) -> AsyncIterator[ReceivedFile]:
        """A file to add bytes to, from `offset` on. What came is kept at the end, whatever ended it; with
        `verified=False` only where the block ends without an error. Raises LOCKED, CONFLICT.
        """
        if record.id in self._writing:
            raise BtworkerError(ErrorCode.LOCKED, "another request writes to this upload; try again in a moment")
        if offset != self.offset(record) or record.job_id is not None:
            message = f"the upload is at {self.offset(record)}, not at {offset}"
            raise BtworkerError(ErrorCode.CONFLICT, message, param="Upload-Offset")
        self._writing.add(record.id)
        try:
            if not verified:
                await self._data.run(self._files.distrust, record.id, offset)
            async with self._receiving(record, offset, verified=verified) as file:
                yield file
        finally:
            self._writing.discard(record.id)

    @asynccontextmanager
    async def _receiving(self, record: Resumable, offset: int, *, verified: bool) -> AsyncIterator[ReceivedFile]:
        at, sha256 = self._hashes.pop(record.id, (-1, hashlib.sha256()))
        file = ReceivedFile(
            self._data, self._settings, self._files.data(record.id), start_bytes=offset, sha256=sha256.copy()
        )
        whole = False
        try:
            yield file
            whole = True
        finally:
            await unbroken(self._end(record, file, offset, keep=whole or verified), name="upload-end")
            if at == offset:
                kept = file.size_bytes == self._offsets[record.id]
                self._hashes[record.id] = (file.size_bytes, file.sha256) if kept else (offset, sha256)

    async def _end(self, record: Resumable, file: ReceivedFile, offset: int, *, keep: bool) -> None:
        """Make durable what came, or take it back; the file's size is the truth, also where the disk was full."""
        try:
            if keep:
                await file.keep()
        finally:
            await file.abandon()
            back_to = None if keep and file.is_kept else offset  # what an fsync that failed left may not be there
            self._offsets[record.id] = await self._data.run(self._files.settle, record.id, back_to)
            await self._keep(replace(self._known[record.id], touched_at=self._clock()))

    @asynccontextmanager
    async def held(self, upload_ids: Iterable[str]) -> AsyncIterator[None]:
        """One request at a time makes a job of these, and none deletes them meanwhile."""
        async with AsyncExitStack() as stack:
            for upload_id in sorted(set(upload_ids)):
                await stack.enter_async_context(self._holds.setdefault(upload_id, asyncio.Lock()))
            yield

    async def terminate(self, record: Resumable) -> None:
        """Delete what came. Raises LOCKED, also while it is about to become a job."""
        hold = self._holds.get(record.id)
        if record.id in self._writing or (hold is not None and hold.locked()):
            raise BtworkerError(ErrorCode.LOCKED, "another request writes to this upload; try again in a moment")
        await self._drop(replace(record, gone=True, touched_at=self._clock()))

    async def sha256(self, record: Resumable) -> str:
        """Of a complete upload; read again only where a restart came between."""
        at, known = self._hashes.get(record.id, (-1, None))
        if known is not None and at == record.length:
            return known.hexdigest()
        return await self._data.run(self._files.sha256, record.id)

    async def lend(self, record: Resumable, target: Path) -> None:
        """Give a complete upload a second name, as a job's input: not a byte is copied, where the file system can."""
        await self._data.run(self._files.lend, record.id, target)

    async def became(self, record: Resumable, job_id: str) -> None:
        """The job is durable: its input is the job's alone from here on."""
        await self._drop(replace(record, job_id=job_id, touched_at=self._clock()))

    async def _expire(self, record: Resumable) -> None:
        if record.gone or record.job_id is not None:
            del self._known[record.id]
            self._offsets.pop(record.id, None)
            await self._data.run(self._files.remove, record.id)
            return
        log.info("upload_expired", uploadId=record.id, bytes=self.offset(record))
        await self._drop(replace(record, gone=True, touched_at=self._clock()))

    async def _drop(self, record: Resumable) -> None:
        await self._keep(record)
        self._hashes.pop(record.id, None)
        await self._data.run(self._files.drop, record.id)

    async def _keep(self, record: Resumable) -> Resumable:
        await self._data.run(self._files.write, record)
        self._known[record.id] = record
        return record
