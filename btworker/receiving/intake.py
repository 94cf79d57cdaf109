"""A large file's way from its connection to the disk, without a Python object for each chunk. Blocking; one thread.

    recv_into --> block (aligned, for O_DIRECT) --> find the delimiter --> SHA-256 and write, each in a file thread
                                                                           (meanwhile the next block is filled)

Behind each block are a few bytes more, so that a delimiter that begins in the block is seen whole; they go to the front
of the next one. What this brings, beside two other ways: docs/benchmarks.
"""

import hashlib
import mmap
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial

from btworker.errors import BtworkerError
from btworker.receiving.direct_file import ALIGNMENT, DirectFile
from btworker.receiving.in_order import InOrder
from btworker.receiving.search import find
from btworker.receiving.wire import Wire

BLOCK_BYTES = 2**21
BLOCKS = 3
"""Held for each upload: one is filled, one hashed and written, and one waits, so that a write that takes long makes
neither the hash nor the client wait. With two, uploads took a fifth longer (docs/benchmarks)."""


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
        self._hashing, self._writing = InOrder(files), InOrder(files)
        self._block_bytes = -(-max(file.buffer_bytes, BLOCK_BYTES) // ALIGNMENT) * ALIGNMENT
        self._overhang_bytes = max(len(delimiter) - 1, 0)
        self._blocks = deque(mmap.mmap(-1, self._block_bytes + self._overhang_bytes) for _ in range(BLOCKS))
        """The first is being filled; the next one is free by the time that it is full."""
        self._filled_bytes = 0
        self._known_bytes = 0
        """Of those, which lay in `file` before: they are hashed, and hold no delimiter."""

    def run(self, most_bytes: int) -> bool:
        """Receive the file; False where it gets longer than `most_bytes`. Raises IDLE_TIMEOUT, DISK_FULL, OSError, and
        BAD_MULTIPART where the connection ends; what has come by then is the file's."""
        self._known_bytes = self._filled_bytes = self._file.move_rest(memoryview(self._blocks[0]))
        is_whole = False
        try:
            while not is_whole and self.taken_bytes <= most_bytes:
                self._receive()
                is_whole = self._use()
        finally:
            self._settle()
        return self.taken_bytes <= most_bytes

    def _receive(self) -> None:
        """Fill the block; what came of one that ends early is kept, unless something before it could not be written."""
        try:
            self._fill()
        except BtworkerError:
            self._settle()
            self._keep(max(self._filled_bytes - self._overhang_bytes, self._known_bytes))
            raise

    def _fill(self) -> None:
        """Receive until the block and its overhang are full, or the body is at its end."""
        with memoryview(self._blocks[0]) as view:
            while self._filled_bytes < len(view) and self._wire.left_bytes:
                self._filled_bytes += self._wire.receive(view[self._filled_bytes :])
        self._wire.count()

    def _use(self) -> bool:
        """Hand the full block over, or end the file in it; whether this was its end."""
        begin, end = self._known_bytes, self._filled_bytes
        block = self._blocks[0]
        found = find(block, self._delimiter, begin, end) if self._delimiter else -1
        if found == -1 and self._wire.left_bytes:
            self._hand_over()
            return False
        end = self._filled_bytes if found == -1 else found
        self.behind = block[end : self._filled_bytes]
        self._settle()
        self._keep(end)
        return True

    def _hand_over(self) -> None:
        """The block is all of the file: hash and write it, and go on in the next one."""
        full, begin = self._blocks[0], self._known_bytes
        block = memoryview(full)[: self._block_bytes]
        self._hashing.submit(partial(self._hash, block[begin:]))
        self._writing.submit(partial(self._file.write_block, block))
        self.taken_bytes += self._block_bytes - begin
        self._settle(but=BLOCKS - 1)
        self._blocks.rotate(-1)
        overhang = full[self._block_bytes : self._filled_bytes]
        self._blocks[0][: len(overhang)] = overhang
        self._filled_bytes, self._known_bytes = len(overhang), 0

    def _keep(self, end: int) -> None:
        """The file goes up to here: what is not yet written of it waits in its own buffer."""
        self.taken_bytes += end - self._known_bytes  # also where the write fails: the hash is as far by then
        with memoryview(self._blocks[0]) as view:
            self._hash(view[self._known_bytes : end])
            self._file.writelines([view[:end]])

    def _settle(self, *, but: int = 0) -> None:
        """Wait until all blocks but the last ones are hashed and written. Raises DISK_FULL, OSError."""
        self._hashing.wait(but=but)
        self._writing.wait(but=but)

    def _hash(self, data: memoryview) -> None:
        for one in self._hashes:
            one.update(data)
