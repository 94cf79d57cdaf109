"""Local files that are sent: read a chunk at a time, in a thread, and the next one only when the last was taken."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import IO

from btworker.client.errors import BAD_FILE, ClientError

CHUNK_BYTES = 2**20
"""Read at a time: large enough that thread hops cost nothing, small enough that a progress bar moves."""
Write = Callable[[bytes], Awaitable[None]]


async def send_file(path: Path, start: int, size_bytes: int, write: Write) -> None:
    """Write exactly `size_bytes` bytes of the file from `start` on: that length was promised to the server already.

    Raises ClientError(BAD_FILE), where the file became shorter as well.
    """
    with open_file(path) as file:  # not in a thread: a cancel during the hop would leave the file open
        file.seek(start)
        left_bytes = size_bytes
        while left_bytes:
            chunk = await asyncio.to_thread(_read, file, min(CHUNK_BYTES, left_bytes))
            if not chunk:
                raise ClientError(BAD_FILE, f"{path} became shorter while it was being sent")
            left_bytes -= len(chunk)
            await write(chunk)


def open_file(path: Path) -> IO[bytes]:
    """A local file, unbuffered. Raises ClientError(BAD_FILE)."""
    try:
        return open(path, "rb", buffering=0)
    except OSError as error:
        raise ClientError(BAD_FILE, f"{path} cannot be read: {error.strerror}") from None


def size_of_file(path: Path) -> int:
    """Of a regular file. Raises ClientError(BAD_FILE)."""
    try:
        if not path.is_file():
            what = "is no regular file" if path.exists() else "does not exist"
            raise ClientError(BAD_FILE, f"{path} {what}")
        return path.stat().st_size
    except OSError as error:
        raise ClientError(BAD_FILE, f"{path} cannot be read: {error.strerror}") from None


def _read(file: IO[bytes], size_bytes: int) -> bytes:
    try:
        return file.read(size_bytes)
    except OSError as error:
        raise ClientError(BAD_FILE, f"{file.name} cannot be read: {error.strerror}") from None
