"""openai-whisper's official checkpoints: where they are, their hashes, and how one comes into the cache. No torch.

The table is read from the source of the installed openai-whisper, since importing that would import torch: the command
line (`btworker models fetch`) and the engine's child (engine/asr/weights.py) share it, and the download.
"""

import ast
import fcntl
import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import IO

BLOCK_BYTES = 2**20
NETWORK_TIMEOUT_S = 60.0
MEGABYTES = {"tiny": 72, "base": 139, "small": 461, "medium": 1457, "large": 2944, "turbo": 1543}
"""Sizes of OpenAI's checkpoints: two bytes for each weight."""
MOST_TRIES = 100
"""Connections for one file, each of which has to bring something: 3 GB over a poor line are worth many."""
Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there and the bytes that there will be (None: the server does not say)."""


class FetchError(Exception):
    """A checkpoint could not be fetched: a phrase that says why."""


class WrongContentError(FetchError):
    """What came is not the checkpoint."""


@dataclass(frozen=True, slots=True)
class Official:
    """One checkpoint that OpenAI published. Its address holds its hash."""

    name: str
    address: str

    @property
    def filename(self) -> str:
        """Its name in the cache; `large` is the file large-v3.pt."""
        return self.address.rsplit("/", 1)[-1]

    @property
    def size_bytes(self) -> int | None:
        """What a download will bring, to the megabyte; None where it is not known."""
        kind = "turbo" if "turbo" in self.filename else re.split(r"[-.]", self.filename)[0]
        return MEGABYTES[kind] * 2**20 if kind in MEGABYTES else None

    @property
    def languages(self) -> int:
        """How many languages it knows, counted in whisper's own order; 1 is English alone."""
        if self.name.endswith(".en"):
            return 1
        return 100 if self.filename.startswith("large-v3") else 99

    @property
    def sha256(self) -> str:
        """The hash of the whole file, in hex."""
        return self.address.split("/")[-2]


def official(name: str) -> Official | None:
    """The checkpoint with this name in the installed openai-whisper; None where it knows none."""
    address = _table().get(name)
    return None if address is None else Official(name, address)


def official_names() -> tuple[str, ...]:
    """Every name that the installed openai-whisper knows, the aliases included; none where it is not installed."""
    return tuple(_table())


@cache
def _table() -> dict[str, str]:
    """Name -> address; empty where openai-whisper is not installed."""
    try:
        source = Path(str(distribution("openai-whisper").locate_file("whisper/__init__.py"))).read_text("utf-8")
    except (PackageNotFoundError, OSError):
        return {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "_MODELS" for t in node.targets):
            return dict(ast.literal_eval(node.value))
    return {}


def file_sha256(path: Path, progress: Progress = lambda _done, _total: None) -> str:
    """The SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
            progress(file.tell(), size)
    return digest.hexdigest()


def fetch(wanted: Official, folder: Path, progress: Progress = lambda _done, _total: None) -> Path:
    """Download a checkpoint unless it is there, whole; goes on where an earlier download ended. Raises FetchError.

    The file gets its name when its hash is right, and not before. Processes that want the same one wait for the first.
    """
    path = folder / wanted.filename
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(path.with_suffix(".lock")):
            if not (path.is_file() and file_sha256(path) == wanted.sha256):
                _download(wanted, path, progress)
    except urllib.error.HTTPError as error:
        raise FetchError(f"the server answered {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise FetchError(_reason(error)) from error
    return path


def _download(wanted: Official, path: Path, progress: Progress) -> None:
    part = path.with_suffix(".part")
    resumed = part.is_file() and part.stat().st_size > 0
    try:
        _receive_all(wanted, part, progress)
    finally:
        if part.stat().st_size == 0:  # nothing that the next time could go on with
            part.unlink()
    if file_sha256(part) == wanted.sha256:
        part.replace(path)
        return
    part.unlink()
    if not resumed:
        raise WrongContentError("what came is not the model: its SHA-256 differs")
    _download(wanted, path, progress)  # the beginning that lay here may have been another file's


def _receive_all(wanted: Official, part: Path, progress: Progress) -> None:
    """Connection after connection, until the file is complete and durable."""
    with part.open("ab") as file:
        tries = 0
        while not _receive(wanted.address, file, progress):
            tries += 1
            if tries == MOST_TRIES:
                raise FetchError("the connection broke again and again; what came is kept for the next time")
        file.flush()
        os.fsync(file.fileno())


def _receive(address: str, file: IO[bytes], progress: Progress) -> bool:
    """One connection: append what comes. True when the file is complete, False when the connection broke midway.

    Raises what a connection raises that brought nothing: the next one would not, either.
    """
    start = file.tell()
    request = urllib.request.Request(address, headers={"Range": f"bytes={start}-"} if start else {})  # noqa: S310
    try:
        answer = urllib.request.urlopen(request, timeout=NETWORK_TIMEOUT_S)  # noqa: S310 - whisper's own address
    except urllib.error.HTTPError as error:
        if start and error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            return True  # nothing is left to come; the hash tells whether that is right
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
    said = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return answer.status == http.client.PARTIAL_CONTENT and said is not None and int(said[1]) == start


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _reason(error: BaseException) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return str(getattr(reason, "strerror", None) or reason or type(error).__name__)[:200]
