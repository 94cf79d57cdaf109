"""Saving what a server sends: under a name that cannot leave the folder, and only when it is complete."""

import asyncio
import filecmp
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import aiohttp

from btworker.client.errors import BAD_ANSWER, CONNECTION_LOST, NOT_SAVED, ClientError

MAX_NAME_BYTES = 250
"""Of a file name, so that ".part" still fits behind it."""


def safe_name(name: str) -> str:
    """The last component of a name that a server gave. Raises ClientError where that is no plain file name."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    plain = last.isprintable() and not last.startswith((".", " ")) and 0 < len(last.encode()) <= MAX_NAME_BYTES
    if not plain:
        raise ClientError(BAD_ANSWER, f"the server named a file {name[:80]!r}, which is no plain file name")
    return last


async def save(
    chunks: AsyncIterator[bytes],
    target: Path,
    *,
    sha256: str | None,
    on_replaced: Callable[[Path], None] | None = None,
) -> Path:
    """Write the chunks to <target>.part, then give it its name. What is there under that name is replaced; with
    `on_replaced`, which gets its path, it is kept as <target>~ where it is another file.
    """
    part = target.with_name(f"{target.name}.part")
    digest = hashlib.sha256()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with await asyncio.to_thread(part.open, "wb") as file:
            async for chunk in chunks:
                digest.update(chunk)
                await asyncio.to_thread(file.write, chunk)
        if sha256 and digest.hexdigest() != sha256:
            raise ClientError(CONNECTION_LOST, f"{target.name} arrived damaged: its SHA-256 is not the server's")
        if on_replaced is not None:
            await asyncio.to_thread(_keep_another, part, target, on_replaced)
        os.replace(part, target)
    except aiohttp.ClientError:  # some of them are OSErrors too
        raise
    except OSError as error:
        raise ClientError(NOT_SAVED, f"{target} cannot be written: {error.strerror}") from None
    finally:
        with suppress(OSError):  # what is wrong with its folder was an error above
            part.unlink(missing_ok=True)
    return target


def _keep_another(part: Path, target: Path, on_replaced: Callable[[Path], None]) -> None:
    """Blocking: give a file that `part` will not be equal to another name."""
    if target.exists() and not filecmp.cmp(part, target, shallow=False):
        old = target.with_name(f"{target.name}~")
        os.replace(target, old)
        on_replaced(old)
