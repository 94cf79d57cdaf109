"""The file that uploads are written to: the same bytes whatever their cut, on disks with and without O_DIRECT."""

import os
import random
from pathlib import Path

import pytest

from btworker.errors import BtworkerError, ErrorCode
from btworker.receiving import direct_file
from btworker.receiving.direct_file import ALIGNMENT, DirectFile

SIZES = [1, ALIGNMENT - 1, ALIGNMENT, ALIGNMENT + 1, 65_536, 65_537, 200_000]


def write(path: Path, data: bytes, *, cuts: list[int], reserve_bytes: int = 0) -> None:
    """Write the data in pieces and publish it."""
    file = DirectFile(path.with_name("a.part"), buffer_bytes=65_536, reserve_bytes=reserve_bytes)
    try:
        for start, end in zip(cuts, [*cuts[1:], len(data)], strict=True):
            file.writelines([data[start:end]])
        file.publish(path.with_name("a.part"), path)
    finally:
        file.close()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("where", ["disk", "memory"])
def test_bytes_are_kept(tmp_path: Path, where: str, size: int) -> None:
    """On the disk, and on tmpfs, which may not know O_DIRECT."""
    folder = tmp_path if where == "disk" else direct_file.Path(f"/dev/shm/btworker-test-{os.getpid()}")
    folder.mkdir(exist_ok=True)
    try:
        rng = random.Random(size)
        data = rng.randbytes(size)
        cuts = sorted({0, *(rng.randrange(size) for _ in range(7))})
        write(folder / "a", data, cuts=cuts)
        assert (folder / "a").read_bytes() == data
        assert [path.name for path in folder.iterdir()] == ["a"]
    finally:
        (folder / "a").unlink(missing_ok=True)
        if where == "memory":
            folder.rmdir()


@pytest.fixture
def indirect(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that refuses O_DIRECT at open."""
    real = os.open

    def refusing(path: Path, flags: int, *rest: int) -> int:
        if flags & os.O_DIRECT:
            os.close(real(path, flags & ~os.O_DIRECT, *rest))  # the kernel makes the name before it refuses
            raise OSError(22, "Invalid argument")
        return real(path, flags, *rest)

    monkeypatch.setattr(direct_file.os, "open", refusing)


@pytest.mark.usefixtures("indirect")
def test_disk_without_direct_writes(tmp_path: Path) -> None:
    """It is written through the cache."""
    write(tmp_path / "a", b"x" * 100_000, cuts=[0])
    assert (tmp_path / "a").read_bytes() == b"x" * 100_000


@pytest.mark.usefixtures("indirect")
def test_a_begun_file_is_gone_on_with_where_there_are_no_direct_writes(tmp_path: Path) -> None:
    """What is there stays: a name that nothing was made for is not taken away."""
    (tmp_path / "a").write_bytes(b"begun")
    file = DirectFile(tmp_path / "a", buffer_bytes=65_536, reserve_bytes=0, start_bytes=5)
    file.writelines([b" and gone on with"])
    file.keep()
    assert (tmp_path / "a").read_bytes() == b"begun and gone on with"


def test_stops_at_the_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk falls below its reserve, writing ends with DISK_FULL."""
    monkeypatch.setattr(direct_file, "ROOM_CHECK_BYTES", 65_536)
    with pytest.raises(BtworkerError) as caught:
        write(tmp_path / "a", b"x" * 200_000, cuts=[0], reserve_bytes=2**62)
    assert caught.value.code is ErrorCode.DISK_FULL and not (tmp_path / "a").exists()


def test_an_existing_name_is_never_overwritten(tmp_path: Path) -> None:
    """Two uploads never share a file."""
    (tmp_path / "a.part").touch()
    with pytest.raises(FileExistsError):
        write(tmp_path / "a", b"x", cuts=[0])
