"""Files and names that outlast a power cut. Blocking."""

import hashlib
import os
from pathlib import Path


def sync_folder(path: Path) -> None:
    """fsync a folder, so that the names in it are durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish(part: Path, final: Path) -> None:
    """Give a finished and already fsynced file its name, durably."""
    os.replace(part, final)
    sync_folder(final.parent)


def write_durably(path: Path, data: bytes) -> str:
    """Write and fsync a new file; returns its SHA-256 in hex. The folder's own fsync is the caller's."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(data).hexdigest()
