"""One file on its way from the network to the disk: hashed while it is written, durable before it has its name. Parent.

    add(bytes) --> gathered to a large buffer --> file executor: SHA-256 in one thread, the write in another
                   (meanwhile the next ones are gathered; at most MAX_IN_FLIGHT buffers wait for the disk)

A large body's bytes take a shorter way, past the loop (`pour`, intake.py).

A thread cannot be cancelled: whoever gives up waits for the write under way, and only then deletes.
"""

import asyncio
import hashlib
import os
from collections import deque
from collections.abc import Callable, Coroutine
from pathlib import Path

from aiofiles.threadpool import wrap

from btworker.config import Settings
from btworker.durable import write_synced
from btworker.errors import BtworkerError, ErrorCode
from btworker.receiving.direct_file import FILE_MODE, DirectFile
from btworker.receiving.intake import Intake
from btworker.receiving.wire import Receivers, Wire
from btworker.storage import DataFolder

MAX_IN_FLIGHT = 4
"""Buffers handed over and not yet written: enough to go on receiving while the disk takes a breath."""

SMALL_BYTES = 2**16
"""Files up to which nothing is written before all of their upload is there: then in one go, with its folders."""


class ReceivedFile:
    """A file that is being received into `final` (under the name `final`.part until it is complete)."""

    def __init__(
        self,
        data: DataFolder,
        settings: Settings,
        final: Path,
        *,
        start_bytes: int | None = None,
        sha256: "hashlib._Hash | None" = None,
        before: Callable[[], None] = lambda: None,
    ) -> None:
        """With `start_bytes` and the hash of what is there, `final` itself is gone on with, and ends by `keep`.

        `before` is called, blocking, before the file is opened.
        """
        self.size_bytes = start_bytes or 0
        self._data = data
        self._final = final
        self._start_bytes = start_bytes
        self._part = final.with_name(f"{final.name}.part") if start_bytes is None else final
        self._settings = settings
        self._before = before
        self._buffer: list[bytes] = []
        self._buffered_bytes = 0
        self._file: DirectFile | None = None
        self._writes: deque[asyncio.Future[None]] = deque()
        self._sha256 = sha256 or hashlib.sha256()

    @property
    def sha256(self) -> "hashlib._Hash":
        """Of all that came; whole after `keep`."""
        return self._sha256

    @property
    def is_kept(self) -> bool:
        """All of it that is on the disk is durable: it was kept, or the disk was full."""
        return self._file is not None and self._file.is_kept

    async def add(self, data: bytes) -> None:
        """Take more bytes; waits only when the disk is MAX_IN_FLIGHT buffers behind."""
        self._buffer.append(data)
        self._buffered_bytes += len(data)
        self.size_bytes += len(data)
        if self._buffered_bytes >= self._settings.upload_chunk_bytes:
            while len(self._writes) >= MAX_IN_FLIGHT:
                await self._settle()
            before = self._writes[-1] if self._writes else None
            self._start(self._write(self._take(), before), name="upload-write")

    async def pour(
        self, wire: Wire, receivers: Receivers, *, delimiter: bytes = b"", digest: "hashlib._Hash | None" = None
    ) -> bytes:
        """Take the rest of the file from its connection itself, in one of the receivers' threads; what came behind it.

        It ends before the delimiter, where there is one, or at the body's end. `digest` sees its bytes, too. Raises
        FILE_TOO_LARGE, IDLE_TIMEOUT, BAD_MULTIPART, DISK_FULL, OSError; what came is kept for `keep` all the same.
        """
        while self._writes:
            await self._settle()
        before, size_bytes = self._take(), self.size_bytes
        behind = b""

        def pour() -> None:
            nonlocal behind
            file = self._take_in(before)
            hashes = [self._sha256] if digest is None else [self._sha256, digest]
            intake = Intake(wire, file, hashes, delimiter, self._data.executor)
            try:
                if not intake.run(self._settings.max_file_bytes - size_bytes):
                    raise too_large(self._settings)
            except BtworkerError:
                if not wire.is_stopped:
                    raise
            finally:
                self.size_bytes = size_bytes + intake.taken_bytes
            behind = intake.behind

        self._start(receivers.run(pour), name="upload-pour")
        try:
            await self._settle()
        except asyncio.CancelledError:
            wire.stop()
            raise
        return behind

    async def finish(self) -> str:
        """Everything is on the disk under its name when this returns; the SHA-256 in hex."""
        while self._writes:
            await self._settle()
        self._writes.append(self._data.run(self._finish, self._take()))
        await self._settle()
        return self._sha256.hexdigest()

    def end_small(self) -> str | None:
        """The SHA-256 in hex of a file of at most SMALL_BYTES, which is then held for `store`; None where some of it is
        on the disk, or it is larger, so that it is to be finished."""
        if self._file is not None or self._writes or self.size_bytes > SMALL_BYTES:
            return None
        self._hash(self._buffer)
        return self._sha256.hexdigest()

    def store(self) -> None:
        """Blocking, after `end_small`: the file is durable under its name, once its folder is."""
        write_synced(self._part, b"".join(self._take()), mode=FILE_MODE)
        os.replace(self._part, self._final)

    async def keep(self) -> None:
        """All that came is on the disk when this returns, under the name that the file had; its hash goes on, too."""
        while self._writes:
            await self._settle()
        self._writes.append(self._data.run(self._keep, self._take()))
        await self._settle()

    async def abandon(self) -> None:
        """Wait for the writes under way and close; deleting the folder is the caller's."""
        if self._writes:
            await asyncio.wait(self._writes)
        for write in self._writes:
            write.exception()  # seen: whoever gives up has its own reason
        if self._file is not None:
            await self._data.run(self._file.close)

    async def _settle(self) -> None:
        """Wait for the oldest write, without taking it along when this task is cancelled. Raises its error."""
        await asyncio.wait({self._writes[0]})
        self._writes.popleft().result()

    def _start(self, work: Coroutine[None, None, None], *, name: str) -> None:
        self._writes.append(asyncio.create_task(work, name=name))

    async def _write(self, buffer: list[bytes], before: asyncio.Future[None] | None) -> None:
        """Hash and write one buffer, after the one before it; its error is ours, too."""
        if before is not None:
            await asyncio.wait({before})
            before.result()
        if self._file is None:
            self._file = await self._data.run(self._open)
        writing = wrap(self._file, executor=self._data.executor).writelines(buffer)
        results = await asyncio.gather(self._data.run(self._hash, buffer), writing, return_exceptions=True)
        for error in results:
            if error is not None:
                raise error

    def _hash(self, buffer: list[bytes]) -> None:
        """Blocking; releases the GIL. Buffers are handed over one after the other, so their order holds."""
        for data in buffer:
            self._sha256.update(data)

    def _take(self) -> list[bytes]:
        buffer, self._buffer, self._buffered_bytes = self._buffer, [], 0
        return buffer

    def _open(self) -> DirectFile:
        self._before()
        return DirectFile(
            self._part,
            buffer_bytes=self._settings.upload_chunk_bytes,
            reserve_bytes=self._settings.disk_reserve_bytes,
            start_bytes=self._start_bytes,
        )

    def _take_in(self, rest: list[bytes]) -> DirectFile:
        """Blocking: hash what was gathered and hand it to the file, opened first where it is not."""
        file = self._file = self._file or self._open()
        self._hash(rest)
        file.writelines(rest)
        return file

    def _keep(self, rest: list[bytes]) -> None:
        try:
            self._take_in(rest)
        finally:
            if self._file is not None:
                self._file.keep()

    def _finish(self, rest: list[bytes]) -> None:
        """Blocking: the last write and the publication in one hop, so that a small file costs a single one."""
        self._take_in(rest).publish(self._part, self._final)


def too_large(settings: Settings) -> BtworkerError:
    """The refusal of a file above the limit."""
    message = f"a file may have at most {settings.max_file_mb} MB here (WORKER_MAX_FILE_MB)"
    return BtworkerError(ErrorCode.FILE_TOO_LARGE, message)
