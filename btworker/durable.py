"""Files and names that outlast a power cut. Blocking."""

import hashlib
import os
import threading
from pathlib import Path


def sync_folder(path: Path) -> None:
    """fsync a folder, so that the names in it are durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class SharedSync:
    """fsync of a folder in which many threads make names, each of which may be covered by another thread's."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._one_at_once = threading.Lock()
        self._begun = 0
        self._done = 0

    def next(self) -> int:
        """Which fsync is sure to cover a name that was made before this call: the next to begin."""
        return self._begun + 1

    def sync(self, wanted: int) -> None:
        """Return once an fsync that `next` spoke of, or a later one, has ended. Raises OSError."""
        with self._one_at_once:
            if self._done < wanted:
                self._begun += 1
                sync_folder(self._path)
                self._done = self._begun


def publish(part: Path, final: Path) -> None:
    """Give a finished and already fsynced file its name, durably."""
    os.replace(part, final)
    sync_folder(final.parent)


def write_durably(path: Path, data: bytes) -> str:
    """Write and fsync a new file; returns its SHA-256 in hex. The folder's own fsync is the caller's."""
    write_synced(path, data, mode=0o666)
    return hashlib.sha256(data).hexdigest()


def write_synced(path: Path, data: bytes, *, mode: int) -> None:
    """The same without the hash, with these rights. As few system calls as can be: beside a busy event loop, a thread
    waits for the interpreter after each."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
