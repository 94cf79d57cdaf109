"""A file by HTTP that gets its name when its hash is right, and not before; what was interrupted goes on. No torch."""

import fcntl
import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from btworker.checkpoints.hashing import BLOCK_BYTES, Progress

NETWORK_TIMEOUT_S = 60.0
LOOK_S = 0.2
"""Between two looks at a lock."""
MOST_TRIES = 100
"""Connections for one file, each of which has to bring something: 3 GB over a poor line are worth many."""


class FetchError(Exception):
    """A checkpoint could not be fetched: a phrase that says why."""


class WrongContentError(FetchError):
    """What came is not the checkpoint."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file."""

    address: str
    is_right: Callable[[Path], bool]
    """Whether the file at that path is it: by its hash."""
    open: Callable[..., http.client.HTTPResponse] = urllib.request.urlopen
    """Sends the request, of which it takes a `timeout`."""


def download(wanted: Wanted, path: Path, progress: Progress = lambda _done, _total: None) -> Path:
    """Download a file unless it is there, whole; goes on where an earlier download ended. Raises FetchError.

    The file gets its name when its hash is right, and not before. Processes that want the same one wait for the first.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_suffix(".lock"), lambda: progress(0, None)):
            if not (path.is_file() and wanted.is_right(path)):
                _download(wanted, path, progress)
    except urllib.error.HTTPError as error:
        raise FetchError(f"the server answered {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise FetchError(reason(error)) from error
    return path


def _download(wanted: Wanted, path: Path, progress: Progress) -> None:
    part = path.with_suffix(".part")
    resumed = part.is_file() and part.stat().st_size > 0
    try:
        _receive_all(wanted, part, progress)
    finally:
        if part.stat().st_size == 0:  # nothing that the next time could go on with
            part.unlink()
    if wanted.is_right(part):
        part.replace(path)
        return
    part.unlink()
    if not resumed:
        raise WrongContentError("what came is not the model: its SHA-256 differs")
    _download(wanted, path, progress)  # the beginning that lay here may have been another file's


def _receive_all(wanted: Wanted, part: Path, progress: Progress) -> None:
    """Connection after connection, until the file is complete and durable."""
    with part.open("ab") as file:
        tries = 0
        while not _receive(wanted, file, progress):
            tries += 1
            if tries == MOST_TRIES:
                raise FetchError("the connection broke again and again; what came is kept for the next time")
        file.flush()
        os.fsync(file.fileno())


def _receive(wanted: Wanted, file: IO[bytes], progress: Progress) -> bool:
    """One connection: append what comes. True when the file is complete, False when the connection broke midway.

    Raises what a connection raises that brought nothing: the next one would not, either.
    """
    start = file.tell()
    request = urllib.request.Request(wanted.address, headers={"Range": f"bytes={start}-"} if start else {})  # noqa: S310
    try:
        answer = wanted.open(request, timeout=NETWORK_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if start and error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            return True  # nothing is left to come; the hash shows whether that is right
        raise
    with answer:
        if start and not _continues(answer, start):  # this server sends the whole file again
            file.seek(0)
            file.truncate()
        begin, length = file.tell(), answer.headers.get("Content-Length", "")
        total = begin + int(length) if length.isdecimal() else None
        while block := _read(answer, nothing_yet=file.tell() == begin):
            file.write(block)
            progress(file.tell(), total)
        whole = total is None or file.tell() >= total
        if not whole and file.tell() == begin:
            raise FetchError("the server closed the connection without sending anything")
        return whole


def _read(answer: http.client.HTTPResponse, *, nothing_yet: bool) -> bytes:
    """The next block; empty at the end, and where the connection breaks after something had come."""
    try:
        return answer.read(BLOCK_BYTES)
    except (OSError, http.client.HTTPException):
        if nothing_yet:
            raise
        return b""


def _continues(answer: http.client.HTTPResponse, start: int) -> bool:
    reported = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return answer.status == http.client.PARTIAL_CONTENT and reported is not None and int(reported[1]) == start


@contextmanager
def locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of that file; `waiting` is called again and again while another process does."""
    with path.open("w") as lock:
        while not _takes(lock):
            waiting()
            time.sleep(LOOK_S)
        yield


def _takes(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def reason(error: BaseException) -> str:
    """Say in the system's own words why a connection or a file failed."""
    cause = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return str(getattr(cause, "strerror", None) or cause or type(error).__name__)[:200]
