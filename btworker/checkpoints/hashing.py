"""The hash of a file, with progress, or begun beside other work. No torch."""

import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
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


class Hashes:
    """SHA-256 of files, one of which may be begun beside other work, in a thread of its own."""

    def __init__(self) -> None:
        self._begun: dict[Path, tuple[_Identity, Future[str]]] = {}

    def begin(self, path: Path) -> None:
        """Hash a file that will be wanted soon, if it is there."""
        try:
            identity = _identity(path) if path.is_file() else None
        except OSError:  # whoever wants it says so
            return
        if identity is not None:
            found: Future[str] = Future()
            self._begun[path] = identity, found
            threading.Thread(target=_resolve, args=(found, path), name="hash", daemon=True).start()

    def take(self, path: Path, progress: Progress = lambda _done, _total: None) -> str:
        """The hash of the file as it is now, in hex: what was begun, unless the file has changed. Raises OSError."""
        identity, found = self._begun.pop(path, (None, None))
        if found is None or identity != _identity(path):
            return file_sha256(path, progress)
        return found.result()


def _identity(path: Path) -> _Identity:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _resolve(found: "Future[str]", path: Path) -> None:
    try:
        found.set_result(file_sha256(path))
    except OSError as error:
        found.set_exception(error)
