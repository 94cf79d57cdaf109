"""The blocks of a large body on their way to the disk (receiving/intake.py), from a connection that has them all."""

import hashlib
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from btworker.errors import BtworkerError, ErrorCode
from btworker.receiving.direct_file import DirectFile
from btworker.receiving.in_order import InOrder
from btworker.receiving.intake import BLOCK_BYTES, BLOCKS, Intake
from btworker.receiving.wire import Wire, ended_early

DEADLINE_S = 30


class Given(Wire):
    """A connection that has all of its bytes at once, and ends after them."""

    def __init__(self, content: bytes, *, more_bytes: int = 0) -> None:
        self.left_bytes = len(content) + more_bytes
        self.is_whole = threading.Event()
        """All bytes were received."""
        self._content = memoryview(content)

    def receive(self, target: memoryview) -> int:
        if not self._content:
            raise ended_early()
        count = min(len(target), len(self._content))
        target[:count] = self._content[:count]
        self._content = self._content[count:]
        self.left_bytes -= count
        if not self._content:
            self.is_whole.set()
        return count

    def count(self) -> None:
        """Nobody asks."""


class Failing(DirectFile):
    """A file whose block `number` is not written: `error` instead, or after it where that is the disk's reserve."""

    def __init__(self, path: Path, *, number: int, error: Exception) -> None:
        super().__init__(path, buffer_bytes=4096, reserve_bytes=0)
        self.calls = 0
        self._number, self._error = number, error

    def write_block(self, block: memoryview) -> None:
        self.calls += 1
        if self.calls == self._number:
            if isinstance(self._error, BtworkerError):
                super().write_block(block)
            raise self._error
        super().write_block(block)


@pytest.fixture
def files() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as executor:
        yield executor


@pytest.mark.parametrize("size_bytes", [1, BLOCK_BYTES, 7 * BLOCK_BYTES - 1, 7 * BLOCK_BYTES + 4097])
def test_the_file_is_what_came_and_so_is_its_hash(tmp_path: Path, files: ThreadPoolExecutor, size_bytes: int) -> None:
    """In the order in which it came, however many threads there are."""
    content, sha256 = os.urandom(size_bytes), hashlib.sha256()
    file = DirectFile(tmp_path / "0.part", buffer_bytes=4096, reserve_bytes=0)
    assert Intake(Given(content), file, [sha256], b"", files).run(10 * BLOCK_BYTES)
    file.publish(tmp_path / "0.part", tmp_path / "0")
    assert (tmp_path / "0").read_bytes() == content
    assert sha256.hexdigest() == hashlib.sha256(content).hexdigest()


def test_one_slow_write_stops_neither_the_receipt_nor_the_hash(tmp_path: Path, files: ThreadPoolExecutor) -> None:
    """While the first block is being written, the others are filled."""
    content = os.urandom(BLOCKS * BLOCK_BYTES)
    wire, is_late = Given(content), []

    class Slow(DirectFile):
        def write_block(self, block: memoryview) -> None:
            is_late.append(not wire.is_whole.wait(DEADLINE_S))
            super().write_block(block)

    file = Slow(tmp_path / "0.part", buffer_bytes=4096, reserve_bytes=0)
    assert Intake(wire, file, [hashlib.sha256()], b"", files).run(10 * BLOCK_BYTES)
    file.publish(tmp_path / "0.part", tmp_path / "0")
    assert is_late == [False] * (BLOCKS - 1)  # what came last is the file's to write, at its end
    assert (tmp_path / "0").read_bytes() == content


def test_nothing_is_written_behind_a_block_that_was_not(tmp_path: Path, files: ThreadPoolExecutor) -> None:
    """What follows would stand in its place, in a file that goes by its size."""
    content = os.urandom(8 * BLOCK_BYTES)
    file = Failing(tmp_path / "0", number=2, error=OSError(28, "full"))
    with pytest.raises(OSError, match="full"):
        Intake(Given(content), file, [hashlib.sha256()], b"", files).run(10 * BLOCK_BYTES)
    file.keep()
    assert (file.calls, (tmp_path / "0").read_bytes()) == (2, content[:BLOCK_BYTES])


@pytest.mark.parametrize("blocks", [2, 3, 4, 8])
def test_where_the_disk_gets_full_the_file_is_the_beginning(
    tmp_path: Path, files: ThreadPoolExecutor, blocks: int
) -> None:
    """The reserve is looked at behind a write: of what came after it not a byte is kept, also where the client left."""
    content = os.urandom(blocks * BLOCK_BYTES + 5000)
    full = BtworkerError(ErrorCode.DISK_FULL, "the worker's disk is full")
    file = Failing(tmp_path / "0", number=2, error=full)
    with pytest.raises(BtworkerError) as refusal:
        Intake(Given(content, more_bytes=1), file, [hashlib.sha256()], b"", files).run(10 * BLOCK_BYTES)
    file.keep()
    assert refusal.value.code is ErrorCode.DISK_FULL
    assert (tmp_path / "0").read_bytes() == content[: 2 * BLOCK_BYTES]


def test_where_the_last_write_fails_the_hash_is_no_further_than_what_is_said_to_have_come(
    tmp_path: Path, files: ThreadPoolExecutor
) -> None:
    """Else an upload that goes by the file's size would go on with the hash of bytes that are not in it."""
    content, sha256 = os.urandom(2 * BLOCK_BYTES + 5000), hashlib.sha256()

    class Full(DirectFile):
        def writelines(self, lines: Iterable[bytes | memoryview]) -> None:
            raise OSError(28, "full")

    file = Full(tmp_path / "0", buffer_bytes=4096, reserve_bytes=0)
    intake = Intake(Given(content), file, [sha256], b"", files)
    with pytest.raises(OSError, match="full"):
        intake.run(10 * BLOCK_BYTES)
    file.close()
    assert sha256.hexdigest() == hashlib.sha256(content[: intake.taken_bytes]).hexdigest()


def test_of_a_connection_that_ends_all_that_came_is_kept(tmp_path: Path, files: ThreadPoolExecutor) -> None:
    """An upload goes on from there."""
    content, sha256 = os.urandom(3 * BLOCK_BYTES + 12345), hashlib.sha256()
    file = DirectFile(tmp_path / "0", buffer_bytes=4096, reserve_bytes=0)
    with pytest.raises(BtworkerError) as refusal:
        Intake(Given(content, more_bytes=1), file, [sha256], b"", files).run(10 * BLOCK_BYTES)
    file.keep()
    assert refusal.value.code is ErrorCode.BAD_MULTIPART
    assert (tmp_path / "0").read_bytes() == content
    assert sha256.hexdigest() == hashlib.sha256(content).hexdigest()


def test_calls_keep_their_order_and_end_with_the_first_error(files: ThreadPoolExecutor) -> None:
    """None of those behind it is made; whoever waits, or waits again, is told why."""
    made: list[int] = []

    def call(number: int) -> None:
        if number == 100:
            raise ValueError(number)
        made.append(number)

    in_order = InOrder(files)
    for number in range(300):
        in_order.submit(partial(call, number))
    for _ in range(2):
        with pytest.raises(ValueError, match="100"):
            in_order.wait()
    assert made == list(range(100))


def test_nobody_waits_for_calls_of_an_executor_that_has_ended() -> None:
    """A worker that stops: its receiving threads end, too."""
    goes_on = threading.Event()
    executor = ThreadPoolExecutor(1)
    executor.submit(goes_on.wait, DEADLINE_S)
    in_order = InOrder(executor)
    in_order.submit(lambda: None)
    executor.shutdown(wait=False, cancel_futures=True)
    with pytest.raises(CancelledError):
        in_order.wait()
    goes_on.set()
