"""What of an input by URL is here already, over breaks of the line and restarts of the worker. Parent; fetch.py's.

    in/<n>.part           the bytes so far
       <n>.version.part   which file they are of: the validator that its server gave

A worker that was killed may have written the last block beyond what came: after a restart it is asked for again.
"""

import hashlib
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from btworker.config import Settings
from btworker.errors import BtworkerError
from btworker.receiving.direct_file import ALIGNMENT
from btworker.receiving.received_file import ReceivedFile
from btworker.storage import DataFolder, sync_folder, write_durably

READ_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that lies, durable, under its name."""

    size_bytes: int
    sha256: str


class Arrival:
    """One file on its way to `final`. `moved_at` is when a byte came last, by time.monotonic."""

    def __init__(self, data: DataFolder, settings: Settings, final: Path) -> None:
        self.validator: str | None = None
        """A strong ETag, or the time of the last change: the rest is asked for only of the same file."""
        self.moved_at = time.monotonic()
        self._data = data
        self._settings = settings
        self._final = final
        self._part = final.with_name(f"{final.name}.part")
        self._version = final.with_name(f"{final.name}.version.part")
        self._file: ReceivedFile | None = None

    @property
    def size_bytes(self) -> int:
        """Bytes that came."""
        return 0 if self._file is None else self._file.size_bytes

    async def take_up(self) -> None:
        """Go on with what an earlier run of the worker left."""
        validator, size_bytes, sha256 = await self._data.run(self._found)
        if validator is not None and size_bytes > 0:
            self.validator = validator
            self._file = ReceivedFile(self._data, self._settings, self._final, start_bytes=size_bytes, sha256=sha256)

    async def begin(self, validator: str | None) -> None:
        """Begin anew, with a file of this version."""
        await self.drop()
        if validator is not None:
            await self._data.run(write_durably, self._version, validator.encode())
        self.validator = validator
        self._file = ReceivedFile(self._data, self._settings, self._final)

    async def add(self, data: bytes) -> None:
        """Take more bytes, after `begin` or `take_up`. Raises OSError, DISK_FULL."""
        assert self._file is not None  # noqa: S101 - see above
        await self._file.add(data)
        self.moved_at = time.monotonic()

    async def finish(self) -> Fetched:
        """All of it came, and is durable under its name."""
        assert self._file is not None  # noqa: S101 - an empty file is refused before
        sha256 = await self._file.finish()
        size_bytes, self._file = self._file.size_bytes, None
        await self._data.run(self._version.unlink, missing_ok=True)
        return Fetched(size_bytes, sha256)

    async def drop(self) -> None:
        """Leave nothing of it."""
        file, self._file = self._file, None
        if file is not None:
            await file.abandon()
        await self._data.run(self._unlink)

    async def keep(self) -> None:
        """Leave what came for the next start; nothing of it where the disk does not take it."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError, BtworkerError):
                await file.keep()
            await file.abandon()

    def _unlink(self) -> None:
        """Blocking. The bytes are gone for certain before there is a word of another version."""
        for path in (self._part, self._version):
            if path.exists():
                path.unlink()
                sync_folder(path.parent)

    def _found(self) -> "tuple[str | None, int, hashlib._Hash]":
        """Blocking: version, bytes and their hash."""
        sha256 = hashlib.sha256()
        try:
            validator = self._version.read_text("utf-8")
            left = whole = max(self._part.stat().st_size - 1, 0) // ALIGNMENT * ALIGNMENT
            with self._part.open("rb") as file:
                while left and (data := file.read(min(READ_BYTES, left))):
                    sha256.update(data)
                    left -= len(data)
        except (FileNotFoundError, ValueError):
            return None, 0, sha256
        return validator or None, whole - left, sha256
