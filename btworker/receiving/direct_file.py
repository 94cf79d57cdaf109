"""A new file that is written past the page cache (O_DIRECT), for uploads of many GB. Blocking; file executor only.

Written through the cache, a 6 GiB upload costs more CPU in the kernel than its hash does, is throttled with everything
else on the box once too many pages are dirty, and pushes out what others had cached. Here the disk reads our own
aligned buffer. Where the file system does not know O_DIRECT, the same code writes through the cache.
"""

import contextlib
import errno
import fcntl
import io
import mmap
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from btworker.durable import publish
from btworker.errors import BtworkerError, ErrorCode

ALIGNMENT = 4096
"""What O_DIRECT asks of addresses, offsets and lengths: a multiple of any disk's logical block."""
FILE_MODE = 0o640
ROOM_CHECK_BYTES = 64 * 2**20
"""How many bytes are written between two looks at the disk's free space."""


class DirectFile(io.FileIO):
    """Collects bytes in one aligned buffer and writes it whenever it is full; `publish` writes the rest."""

    def __init__(self, path: Path, *, buffer_bytes: int, reserve_bytes: int, start_bytes: int | None = None) -> None:
        """A new file, or with `start_bytes` one that is there and goes on at this place; what lay behind it is cut."""
        super().__init__(path, "xb" if start_bytes is None else "r+b", opener=_open_direct)
        self.is_kept = False
        """All that is in it is durable."""
        self._buffer = mmap.mmap(-1, -(-buffer_bytes // ALIGNMENT) * ALIGNMENT)
        self._filled_bytes = 0
        self._size_bytes = 0
        self._folder = path.parent
        self._reserve_bytes = reserve_bytes
        self._unchecked_bytes = 0
        if start_bytes is not None:
            self._go_on(path, start_bytes)

    def _go_on(self, path: Path, start_bytes: int) -> None:
        """Writes begin at a block: its first bytes are taken back into the buffer."""
        os.ftruncate(self.fileno(), start_bytes)
        self._filled_bytes = start_bytes % ALIGNMENT
        self._size_bytes = start_bytes - self._filled_bytes
        with open(path, "rb", buffering=0) as begun:
            self._buffer[: self._filled_bytes] = os.pread(begun.fileno(), self._filled_bytes, self._size_bytes)
        os.lseek(self.fileno(), self._size_bytes, os.SEEK_SET)

    @property
    def buffer_bytes(self) -> int:
        """How many bytes are gathered for a write."""
        return len(self._buffer)

    def move_rest(self, target: memoryview) -> int:
        """Move the gathered bytes to the front of `target`; how many. They and what follows come back by `write_block`,
        or by `writelines`."""
        count, self._filled_bytes = self._filled_bytes, 0
        target[:count] = self._buffer[:count]
        return count

    def write_block(self, block: memoryview) -> None:
        """Write aligned memory, a multiple of ALIGNMENT, while nothing is gathered. Raises DISK_FULL, OSError."""
        self._write_all(block)
        self._size_bytes += len(block)
        self._check_room(len(block))

    def writelines(self, lines: Iterable[bytes | memoryview]) -> None:  # type: ignore[override] # only ever these here
        """Take all of each. Raises DISK_FULL, OSError."""
        for line in lines:
            view = memoryview(line)
            while view:
                taken = min(len(view), len(self._buffer) - self._filled_bytes)
                self._buffer[self._filled_bytes : self._filled_bytes + taken] = view[:taken]
                self._filled_bytes += taken
                view = view[taken:]
                if self._filled_bytes == len(self._buffer):
                    self._flush_buffer()

    def publish(self, part: Path, final: Path) -> None:
        """Write the rest, fsync, close, and give the file its name, durably."""
        if self._filled_bytes:
            self._flush_buffer()
        os.ftruncate(self.fileno(), self._size_bytes)  # the last block was written whole
        os.fsync(self.fileno())
        self.close()
        publish(part, final)

    def keep(self) -> None:
        """Write the rest, fsync and close; the file keeps its name, and can be gone on with.

        Not a byte more than came is ever in the file: whoever finds it after a crash goes by its size. What is there
        when the disk gets full is durable, too.
        """
        flags = fcntl.fcntl(self.fileno(), fcntl.F_GETFL)
        fcntl.fcntl(self.fileno(), fcntl.F_SETFL, flags & ~os.O_DIRECT)
        try:
            self._write_rest()
        finally:
            os.fsync(self.fileno())
            self.is_kept = True
        self.close()

    def _write_rest(self) -> None:
        with memoryview(self._buffer) as view:
            written = 0
            while written < self._filled_bytes:
                written += os.write(self.fileno(), view[written : self._filled_bytes])

    def close(self) -> None:
        """Close the file and free the buffer."""
        super().close()
        with contextlib.suppress(BufferError):  # the traceback of a failed write still looks into it; it goes with that
            self._buffer.close()

    def _flush_buffer(self) -> None:
        whole = -(-self._filled_bytes // ALIGNMENT) * ALIGNMENT
        with memoryview(self._buffer) as view:
            self._write_all(view[:whole])
        count, self._filled_bytes = self._filled_bytes, 0
        self._size_bytes += count
        self._check_room(count)

    def _write_all(self, view: memoryview) -> None:
        written = 0
        try:
            while written < len(view):
                written += self._write_some(view[written:])
        except OSError:
            self._filled_bytes = 0  # a second try, once there is room, would stand behind what was written of the first
            raise

    def _write_some(self, view: memoryview) -> int:
        try:
            return os.write(self.fileno(), view)
        except OSError as error:
            if error.errno != errno.EINVAL or not self._is_direct():
                raise
        flags = fcntl.fcntl(self.fileno(), fcntl.F_GETFL)  # this disk wants another alignment
        fcntl.fcntl(self.fileno(), fcntl.F_SETFL, flags & ~os.O_DIRECT)
        return os.write(self.fileno(), view)

    def _is_direct(self) -> bool:
        return bool(fcntl.fcntl(self.fileno(), fcntl.F_GETFL) & os.O_DIRECT)

    def _check_room(self, count: int) -> None:
        self._unchecked_bytes += count
        if self._unchecked_bytes >= ROOM_CHECK_BYTES:
            self._unchecked_bytes = 0
            if shutil.disk_usage(self._folder).free <= self._reserve_bytes:
                raise BtworkerError(ErrorCode.DISK_FULL, "the worker's disk is full; try again once there is room")


def _open_direct(path: str, flags: int) -> int:
    """FileIO's opener; tmpfs and some network and user-space file systems refuse O_DIRECT."""
    try:
        return os.open(path, flags | os.O_DIRECT, FILE_MODE)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    if flags & os.O_CREAT:  # Linux may have made the name before it refused
        Path(path).unlink(missing_ok=True)
    return os.open(path, flags, FILE_MODE)
