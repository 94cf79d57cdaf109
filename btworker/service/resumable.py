"""Uploads that survive their connection: begun, gone on with, finished, forgotten. Parent; for web/tus/handlers.py.

    <data>/uploads/<id>/info.json   length, metadata, times, the job that it became
                        data        the bytes; how many there are is how far the upload is
                        unverified  there while bytes arrive whose checksum is not known: where they begin

Every byte in `data` is one that came. After a crash the file's size is the offset, but for unverified bytes.
"""

import asyncio
import hashlib
import os
import re
import secrets
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from weakref import WeakValueDictionary

from pydantic import TypeAdapter

from btworker.checkpoints import file_sha256
from btworker.config import Settings
from btworker.durable import sync_folder, write_durably
from btworker.errors import BtworkerError, ErrorCode
from btworker.keys import OPERATOR
from btworker.logs import get_logger
from btworker.receiving.received_file import ReceivedFile
from btworker.storage import DataFolder

log = get_logger()
UPLOAD_ID = re.compile(r"up_[0-9a-f]{32}")
SWEEP_S = 300.0


@dataclass(frozen=True, slots=True)
class Resumable:
    """An upload as it is on the disk. Times are seconds since the epoch."""

    id: str
    length: int | None
    """None until the client knows it."""
    metadata: str
    """As it was sent."""
    touched_at: float
    job_id: str | None = None
    gone: bool = False
    """Expired or deleted: only this record is left, to say so."""
    owner: str = OPERATOR
    """Id of the key that began it."""
    needs: tuple[str, ...] = ()
    """Ids of uploads that its job takes along: kept as long as this one is."""


_RECORD = TypeAdapter(Resumable)


class ResumableUploads:
    """All of them. Methods are called from the event loop; files are touched in the file executor."""

    def __init__(self, *, data: DataFolder, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._data = data
        self._settings = settings
        self._clock = clock
        self._root = data.root / "uploads"
        self._known: dict[str, Resumable] = {}
        self._offsets: dict[str, int] = {}
        self._hashes: dict[str, tuple[int, hashlib._Hash]] = {}
        """How far each hash is; those of uploads that this process received."""
        self._writing: set[str] = set()
        self._holds: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """Of uploads that become jobs right now."""

    async def start(self) -> None:
        """Find what an earlier run left."""
        for record, offset in await self._data.run(self._scan):
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
            await self._data.run(self._make, record)
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
                await self._data.run(write_durably, self._unverified(record.id), str(offset).encode())
            async with self._receiving(record, offset, verified=verified) as file:
                yield file
        finally:
            self._writing.discard(record.id)

    @asynccontextmanager
    async def _receiving(self, record: Resumable, offset: int, *, verified: bool) -> AsyncIterator[ReceivedFile]:
        at, sha256 = self._hashes.pop(record.id, (-1, hashlib.sha256()))
        file = ReceivedFile(self._data, self._settings, self._path(record.id), start_bytes=offset, sha256=sha256.copy())
        whole = False
        try:
            yield file
            whole = True
        finally:
            ending = asyncio.create_task(self._end(record, file, offset, keep=whole or verified), name="upload-end")
            await asyncio.shield(ending)
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
            self._offsets[record.id] = await self._data.run(self._settled, record.id, None if keep else offset)
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
        return await self._data.run(file_sha256, self._path(record.id))

    async def lend(self, record: Resumable, target: Path) -> None:
        """Give a complete upload a second name, as a job's input: not a byte is copied, where the file system can."""
        await self._data.run(_linked, self._path(record.id), target)

    async def became(self, record: Resumable, job_id: str) -> None:
        """The job is durable: its input is the job's alone from here on."""
        await self._drop(replace(record, job_id=job_id, touched_at=self._clock()))

    async def _expire(self, record: Resumable) -> None:
        if record.gone or record.job_id is not None:
            del self._known[record.id]
            self._offsets.pop(record.id, None)
            await self._data.run(shutil.rmtree, self._root / record.id, ignore_errors=True)
            return
        log.info("upload_expired", uploadId=record.id, bytes=self.offset(record))
        await self._drop(replace(record, gone=True, touched_at=self._clock()))

    async def _drop(self, record: Resumable) -> None:
        await self._keep(record)
        self._hashes.pop(record.id, None)
        await self._data.run(self._path(record.id).unlink, missing_ok=True)

    async def _keep(self, record: Resumable) -> Resumable:
        await self._data.run(self._write, record)
        self._known[record.id] = record
        return record

    # blocking

    def _path(self, upload_id: str) -> Path:
        return self._root / upload_id / "data"

    def _unverified(self, upload_id: str) -> Path:
        return self._root / upload_id / "unverified"

    def _make(self, record: Resumable) -> None:
        folder = self._root / record.id
        folder.mkdir(parents=True, mode=0o750)
        self._path(record.id).touch(mode=0o640)
        self._write(record)
        sync_folder(folder)
        sync_folder(self._root)

    def _write(self, record: Resumable) -> None:
        path = self._root / record.id / "info.json"
        part = path.with_suffix(".part")
        write_durably(part, _RECORD.dump_json(record))
        os.replace(part, path)

    def _settled(self, upload_id: str, back_to: int | None) -> int:
        """The size of the file, once it is cut where it has to be."""
        path = self._path(upload_id)
        if back_to is not None:
            os.truncate(path, back_to)
        self._unverified(upload_id).unlink(missing_ok=True)
        return path.stat().st_size

    def _scan(self) -> list[tuple[Resumable, int]]:
        found = []
        for folder in sorted(self._root.glob("up_*")):
            try:
                record = _RECORD.validate_json((folder / "info.json").read_bytes())
                found.append((record, 0 if record.gone or record.job_id else self._found(record.id)))
            except (OSError, ValueError):  # a crash while it was made: no client knows of it
                shutil.rmtree(folder, ignore_errors=True)
        return found

    def _found(self, upload_id: str) -> int:
        mark = self._unverified(upload_id)
        return self._settled(upload_id, int(mark.read_text()) if mark.exists() else None)


def _linked(source: Path, target: Path) -> None:
    """Blocking. Some file systems know one name for a file only."""
    try:
        os.link(source, target)
    except PermissionError:
        shutil.copyfile(source, target)
        with target.open("rb") as file:
            os.fsync(file.fileno())
