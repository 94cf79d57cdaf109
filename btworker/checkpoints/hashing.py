"""The hash of a file, with progress. No torch."""

import hashlib
import os
from collections.abc import Callable
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
