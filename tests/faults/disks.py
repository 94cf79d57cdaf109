"""Small disks that can be filled: a tmpfs, mounted for the time of a test. Needs root."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MIB = 2**20


@contextmanager
def small_disk(at: Path, *, size_mb: int = 64, inodes: int = 4096) -> Iterator[Path]:
    """A file system of this size; unmounted at the end, whoever still uses it."""
    at.mkdir(parents=True, exist_ok=True)
    options = f"size={size_mb}m,nr_inodes={inodes},mode=755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(at)], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


def fill(at: Path, *, leave_bytes: int = 0) -> Path:
    """A file that takes the room of a disk, but for so many bytes; delete it to make room again."""
    filler = at / "filler"
    block = b"\0" * 4096
    with open(filler, "wb", buffering=0) as file:
        try:
            while file.write(block) == len(block):
                pass
        except OSError:
            pass
        if leave_bytes:
            file.truncate(max(0, file.tell() - leave_bytes))
    return filler


def use_up_inodes(at: Path) -> Path:
    """Empty files until no more can be made, in a folder to delete afterwards."""
    folder = at / "inodes"
    folder.mkdir()
    try:
        for number in range(1_000_000):
            (folder / str(number)).touch()
    except OSError:
        return folder
    raise AssertionError("this disk has no limit")
