"""A large file's way from its connection to the disk, without a Python object for each chunk. Blocking; one thread.

    recv_into --> block (aligned, for O_DIRECT) --> find the delimiter --> SHA-256 and write, each in a file thread
                                                                           (meanwhile the other block is filled)

Behind each block are a few bytes more, so that a delimiter that begins in the block is seen whole; they go to the front
of the next one. What this brings, beside two other ways: docs/benchmarks.
"""

import hashlib
import mmap
from collections.abc import Sequence
from concurrent.futures import Executor, Future

from btworker.errors import BtworkerError
from btworker.receiving.direct_file import ALIGNMENT, DirectFile
from btworker.receiving.search import find
from btworker.receiving.wire import Wire

BLOCK_BYTES = 2**21
"""Two blocks are held for each upload."""


class Intake:
    """The rest of one file: everything up to the delimiter, or up to the body's end."""

    def __init__(
        self, wire: Wire, file: DirectFile, hashes: "Sequence[hashlib._Hash]", delimiter: bytes, files: Executor
    ) -> None:
        """`hashes` take every byte of the file; without a `delimiter` all that is left of the body is the file's.
        Hashing and writing are done in `files`."""
        self.taken_bytes = 0
        """What of the file has come so far."""
        self.behind = b""
        """What came behind the file, the delimiter first; empty where the body ended before there was one."""
        self._wire = wire
        self._file = file
        self._hashes = hashes
        self._delimiter = delimiter
        self._files = files
        self._block_bytes = -(-max(file.buffer_bytes, BLOCK_BYTES) // ALIGNMENT) * ALIGNMENT
        self._overhang_bytes = max(len(delimiter) - 1, 0)
        self._block, self._other = (mmap.mmap(-1, self._block_bytes + self._overhang_bytes) for _ in range(2))
        self._filled_bytes = 0
        self._known_bytes = 0
        """Of those, which lay in `file` before: they are hashed, and hold no delimiter."""
        self._under_way: list[Future[None]] = []

    def run(self, most_bytes: int) -> bool:
        """Receive the file; False where it gets longer than `most_bytes`. Raises IDLE_TIMEOUT, DISK_FULL, OSError, and
        BAD_MULTIPART where the connection ends; what has come by then is the file's."""
        self._known_bytes = self._filled_bytes = self._file.move_rest(memoryview(self._block))
        is_whole = False
        try:
            while not is_whole and self.taken_bytes <= most_bytes:
                self._fill()
                is_whole = self._use()
        except BtworkerError:
            self._settle()
            self._keep(max(self._filled_bytes - self._overhang_bytes, self._known_bytes))
            raise
        finally:
            self._settle()
        return self.taken_bytes <= most_bytes

    def _fill(self) -> None:
        """Receive until the block and its overhang are full, or the body is at its end."""
        with memoryview(self._block) as view:
            while self._filled_bytes < len(view) and self._wire.left_bytes:
                self._filled_bytes += self._wire.receive(view[self._filled_bytes :])
        self._wire.count()

    def _use(self) -> bool:
        """Hand the full block over, or end the file in it; whether this was its end."""
        begin, end = self._known_bytes, self._filled_bytes
        found = find(self._block, self._delimiter, begin, end) if self._delimiter else -1
        if found == -1 and self._wire.left_bytes:
            self._hand_over()
            return False
        end = self._filled_bytes if found == -1 else found
        self.behind = self._block[end : self._filled_bytes]
        self._settle()
        self._keep(end)
        return True

    def _hand_over(self) -> None:
        """The block is all of the file: hash and write it, and go on in the other one."""
        self._settle()
        block, begin = memoryview(self._block)[: self._block_bytes], self._known_bytes
        self._under_way = [
            self._files.submit(self._hash, block[begin:]),
            self._files.submit(self._file.write_block, block),
        ]
        self.taken_bytes += self._block_bytes - begin
        overhang = self._block[self._block_bytes : self._filled_bytes]
        self._block, self._other = self._other, self._block
        self._block[: len(overhang)] = overhang
        self._filled_bytes, self._known_bytes = len(overhang), 0

    def _keep(self, end: int) -> None:
        """The file goes up to here: what is not yet written of it waits in its own buffer."""
        with memoryview(self._block) as view:
            self._hash(view[self._known_bytes : end])
            self._file.writelines([view[:end]])
        self.taken_bytes += end - self._known_bytes

    def _settle(self) -> None:
        """Wait for the other block. Raises its error."""
        under_way, self._under_way = self._under_way, []
        errors = [future.exception() for future in under_way]
        for error in errors:
            if error is not None:
                raise error

    def _hash(self, data: memoryview) -> None:
        for one in self._hashes:
            one.update(data)
