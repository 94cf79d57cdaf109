"""The hash of a file, with progress, or begun beside other work. No torch."""

import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass, field
from pathlib import Path

BLOCK_BYTES = 2**20
Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there and the bytes that there will be (None: the server does not say)."""


def file_sha256(path: Path, progress: Progress = lambda _done, _total: None) -> str:
    """Compute the SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
            progress(file.tell(), size)
    return digest.hexdigest()


_Identity = tuple[int, int, int]
"""Inode, size and time of the last change: a file with the same ones is the same."""
LOOK_S = 0.2
"""How often whoever waits for a hash that was begun sees how far it is."""


@dataclass(slots=True)
class _Begun:
    identity: _Identity
    done_bytes: int = 0
    found: "Future[str]" = field(default_factory=Future)

    def resolve(self, path: Path) -> None:
        """Blocking."""
        try:
            self.found.set_result(file_sha256(path, self._note))
        except OSError as error:
            self.found.set_exception(error)

    def _note(self, done_bytes: int, _total: int | None) -> None:
        self.done_bytes = done_bytes

    def wait(self, progress: Progress) -> str:
        """The hash, in hex. Raises OSError."""
        size_bytes = self.identity[1]
        while True:
            progress(self.done_bytes, size_bytes)
            try:
                return self.found.result(LOOK_S)
            except NotYet:
                continue


class Hashes:
    """SHA-256 of files, one of which may be begun beside other work, in a thread of its own."""

    def __init__(self) -> None:
        self._begun: dict[Path, _Begun] = {}

    def begin(self, path: Path) -> None:
        """Hash a file that will be wanted soon, if it is there."""
        try:
            identity = _identity(path) if path.is_file() else None
        except OSError:  # whoever wants it says so
            return
        if identity is not None:
            begun = self._begun[path] = _Begun(identity)
            threading.Thread(target=begun.resolve, args=(path,), name="hash", daemon=True).start()

    def take(self, path: Path, progress: Progress = lambda _done, _total: None) -> str:
        """The hash of the file as it is now, in hex: what was begun, unless the file has changed. Raises OSError."""
        begun = self._begun.pop(path, None)
        if begun is None or begun.identity != _identity(path):
            return file_sha256(path, progress)
        return begun.wait(progress)


def _identity(path: Path) -> _Identity:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns
