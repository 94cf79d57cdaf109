"""Random access to a file. Reads and never maps: a disk that fails is an OSError then, not the death of the process.

Runs in the child, before ffmpeg.
"""

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

BLOCK_BYTES = 4 * 2**20


class Reader:
    """File that is read at places."""

    def __init__(self, file: BinaryIO, check: Callable[[], None]) -> None:
        """Read `file`; `check` is called at each read and may raise."""
        self._file = file
        self._check = check
        self.size = os.fstat(file.fileno()).st_size

    def at(self, position: int, count: int) -> bytes:
        """Read `count` bytes from a place; fewer at the end, none from a place outside of the file."""
        self._check()
        if not 0 <= position < self.size:
            return b""
        self._file.seek(position)
        return self._file.read(count)

    def number(self, form: str, position: int) -> int:
        """Read one integer in struct's format `form`; -1 where the file ends before."""
        data = self.at(position, struct.calcsize(form))
        return int(struct.unpack(form, data)[0]) if len(data) == struct.calcsize(form) else -1

    def is_padding(self, position: int) -> bool:
        """Whether one and the same byte lies from a place to the end."""
        first = self.at(position, 1)
        blocks = (self.at(place, BLOCK_BYTES) for place in range(position, self.size, BLOCK_BYTES))
        return all(block.count(first) == len(block) for block in blocks)

    def all(self, needles: Sequence[bytes], position: int) -> Iterator[tuple[int, bytes]]:
        """Yield (place, needle) for all that lie from a place on, in order."""
        beyond = max(map(len, needles)) - 1
        while position < self.size:
            block = self.at(position, BLOCK_BYTES + beyond)
            found = [(place, needle) for needle in needles for place in _places(block, needle) if place < BLOCK_BYTES]
            for place, needle in sorted(found):
                yield position + place, needle
            position += BLOCK_BYTES


def _places(block: bytes, needle: bytes) -> Iterator[int]:
    place = block.find(needle)
    while place >= 0:
        yield place
        place = block.find(needle, place + 1)
