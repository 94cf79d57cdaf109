"""A memory cgroup of our own (version 1 or 2) for tests of what happens when memory ends. Root only."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


class MemoryGroup:
    """A cgroup folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, pid: int) -> None:
        """Move a process into the group; what it has already stays charged to where it was."""
        (self.folder / "cgroup.procs").write_text(str(pid))


def parent_folder() -> Path | None:
    """The folder of this process's own memory cgroup, in which another can be made; None where there is none."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return ROOT / "memory" / path.lstrip("/")
        if number == "0" and "memory" in _controllers(ROOT / path.lstrip("/")):
            return ROOT / path.lstrip("/")
    return None


def _controllers(folder: Path) -> list[str]:
    try:
        return (folder / "cgroup.subtree_control").read_text().split()
    except OSError:
        return []


@contextmanager
def memory_group(*, limit_mb: int) -> Iterator[MemoryGroup]:
    """A group that holds `limit_mb` MB; its processes must have ended when the block does."""
    parent = parent_folder()
    assert parent is not None
    folder = parent / f"btworker-test-{id(parent)}"
    folder.mkdir()
    try:
        name = "memory.max" if (folder / "memory.max").exists() else "memory.limit_in_bytes"
        (folder / name).write_text(str(limit_mb << 20))
        yield MemoryGroup(folder)
    finally:
        folder.rmdir()
