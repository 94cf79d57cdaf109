"""One input on its way here: streamed to the disk, resumed after a break, judged while it is read. Parent.

Where it comes from: urls.py, buckets.py.
"""

import asyncio
import errno
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from btworker.config import Settings
from btworker.delivery.http import backoff_s
from btworker.delivery.origin import BrokenOffError, Origin, Part
from btworker.errors import BtworkerError, ErrorCode
from btworker.logs import get_logger
from btworker.receiving.received_file import ReceivedFile, too_large
from btworker.storage import DataFolder

log = get_logger()
FIRST_RETRY_S, LONGEST_RETRY_S = 0.5, 30.0
MOST_BEGINNINGS = 5
"""How often a file is begun anew because it became another one meanwhile."""
OnBytes = Callable[[int, int | None], None]
"""(bytes so far, bytes in all or None)."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that lies, durable, under its name."""

    size_bytes: int
    sha256: str


@dataclass(slots=True)
class _Arrival:
    """What of a file is here, and what its server said that it is."""

    origin: Origin
    final: Path
    file: ReceivedFile | None = None
    validator: str | None = None
    """The rest is asked for only of the same file."""
    beginnings: int = 0
    moved_at: float = field(default_factory=time.monotonic)

    @property
    def size_bytes(self) -> int:
        return 0 if self.file is None else self.file.size_bytes


class Fetcher:
    """Fetches inputs."""

    def __init__(self, *, data: DataFolder, settings: Settings) -> None:
        self._data = data
        self._settings = settings

    async def fetch(self, origin: Origin, final: Path, on_bytes: OnBytes) -> Fetched:
        """The file at `final`. Raises URL_REFUSED, DOWNLOAD_FAILED, FILE_TOO_LARGE, EMPTY_FILE, DISK_FULL; nothing is
        left at `final` then."""
        arrival = _Arrival(origin, final)
        failures = 0
        try:
            while True:
                before = arrival.size_bytes
                try:
                    with _room_may_come():
                        return await self._try(arrival, on_bytes)
                except BrokenOffError as error:
                    if error.anew:
                        await self._begin_anew(arrival, error)
                    failures = failures + 1 if arrival.size_bytes == before else 1
                    await self._pause(arrival, error, failures)
        finally:
            await self._drop(arrival)

    async def _begin_anew(self, arrival: _Arrival, error: BrokenOffError) -> None:
        """Drop what is here: what was not written is not known, or it is of another file."""
        await self._drop(arrival)
        arrival.beginnings += error.code is not ErrorCode.DISK_FULL
        if arrival.beginnings >= MOST_BEGINNINGS:
            raise BtworkerError(error.code, f"{error}, {arrival.beginnings} times")

    async def _pause(self, arrival: _Arrival, error: BrokenOffError, failures: int) -> None:
        patience_s = self._settings.download_retry_s
        delay_s = backoff_s(failures, first_s=FIRST_RETRY_S, longest_s=LONGEST_RETRY_S)
        if time.monotonic() + delay_s - arrival.moved_at > patience_s:
            message = f"{error}; for {patience_s:.0f} s no more came (WORKER_DOWNLOAD_RETRY_SECONDS)"
            raise BtworkerError(error.code, message)
        log.warning("download_broken_off", host=arrival.origin.name, bytesSoFar=arrival.size_bytes, reason=str(error))
        await asyncio.sleep(delay_s)

    async def _try(self, arrival: _Arrival, on_bytes: OnBytes) -> Fetched:
        """One request and what comes of it."""
        validator = arrival.validator if arrival.size_bytes else None
        async with arrival.origin.open(arrival.size_bytes if validator else 0, validator) as part:
            await self._prepare(part, arrival)
            self._judge_size(part.total_bytes or 0)
            await self._take(part, arrival, on_bytes)
        return await self._finish(arrival, part.total_bytes)

    async def _finish(self, arrival: _Arrival, total: int | None) -> Fetched:
        name = arrival.origin.name
        if total is not None and arrival.size_bytes != total:
            raise BrokenOffError(f"{name} sent {arrival.size_bytes} of {total} bytes")
        if arrival.file is None or arrival.size_bytes == 0:
            raise BtworkerError(ErrorCode.EMPTY_FILE, f"the file that {name} sent is empty")
        sha256 = await arrival.file.finish()
        size_bytes, arrival.file = arrival.size_bytes, None
        return Fetched(size_bytes, sha256)

    async def _prepare(self, part: Part, arrival: _Arrival) -> None:
        """Go on with the file that is begun where its rest came; else begin it anew."""
        if arrival.file is not None and part.first_byte and part.first_byte == arrival.size_bytes:
            return
        await self._drop(arrival)
        arrival.validator = part.validator
        arrival.file = ReceivedFile(self._data, self._settings, arrival.final)

    async def _take(self, part: Part, arrival: _Arrival, on_bytes: OnBytes) -> None:
        assert arrival.file is not None  # noqa: S101 - _prepare made it
        async for data in part.chunks:
            self._judge_size(arrival.size_bytes + len(data))
            await arrival.file.add(data)
            arrival.moved_at = time.monotonic()
            on_bytes(arrival.size_bytes, part.total_bytes)

    def _judge_size(self, size_bytes: int) -> None:
        if size_bytes > self._settings.max_file_bytes:
            raise too_large(self._settings)

    async def _drop(self, arrival: _Arrival) -> None:
        """Leave no part of the file; a finished one is not `arrival`'s any more."""
        file, arrival.file = arrival.file, None
        if file is not None:
            await file.abandon()
            await self._data.run(arrival.final.with_name(f"{arrival.final.name}.part").unlink, missing_ok=True)


@contextmanager
def _room_may_come() -> Iterator[None]:
    """A full disk ends a try, not the download: other jobs end, and give their room back."""
    try:
        yield
    except (OSError, BtworkerError) as error:
        if getattr(error, "errno", None) != errno.ENOSPC and getattr(error, "code", None) is not ErrorCode.DISK_FULL:
            raise
        raise BrokenOffError("the worker's disk is full", ErrorCode.DISK_FULL, anew=True) from None
