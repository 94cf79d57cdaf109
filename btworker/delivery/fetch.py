"""One input on its way here by URL: streamed to the disk, resumed after a break, judged while it is read. Parent."""

import asyncio
import errno
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import yarl

from btworker.config import Settings
from btworker.delivery.guard import Guard
from btworker.delivery.http import PASSING, TRANSPORT_ERRORS, backoff_s, timeout, why
from btworker.errors import BtworkerError, ErrorCode
from btworker.logs import get_logger
from btworker.receiving.received_file import ReceivedFile, too_large
from btworker.storage import DataFolder

log = get_logger()
MAX_REDIRECTS = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})
FIRST_RETRY_S, LONGEST_RETRY_S = 0.5, 30.0
OnBytes = Callable[[int, int | None], None]
"""(bytes so far, bytes in all or None)."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that lies, durable, under its name."""

    size_bytes: int
    sha256: str


class _BrokenOffError(Exception):
    """This try came to nothing, and another may not."""

    def __init__(self, reason: str, code: ErrorCode = ErrorCode.DOWNLOAD_FAILED) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(slots=True)
class _Arrival:
    """What of a file is here, and what its server said that it is."""

    final: Path
    file: ReceivedFile | None = None
    validator: str | None = None
    """A strong ETag, or the time of the last change: the rest is asked for only of the same file."""
    moved_at: float = field(default_factory=time.monotonic)

    @property
    def size_bytes(self) -> int:
        return 0 if self.file is None else self.file.size_bytes


class Fetcher:
    """Fetches inputs; `session` must be one of open_session with the same guard."""

    def __init__(self, *, session: aiohttp.ClientSession, guard: Guard, data: DataFolder, settings: Settings) -> None:
        self._session = session
        self._guard = guard
        self._data = data
        self._settings = settings

    async def fetch(self, raw_url: str, final: Path, on_bytes: OnBytes) -> Fetched:
        """The file of `raw_url` at `final`. Raises URL_REFUSED, DOWNLOAD_FAILED, FILE_TOO_LARGE, EMPTY_FILE, DISK_FULL;
        nothing is left at `final` then."""
        url = self._guard.checked(raw_url, what="downloadUrl")
        arrival = _Arrival(final)
        failures = 0
        try:
            while True:
                before = arrival.size_bytes
                try:
                    with _room_may_come():
                        return await self._try(url, arrival, on_bytes)
                except _BrokenOffError as error:
                    if error.code is ErrorCode.DISK_FULL:
                        await self._drop(arrival)  # what was not written is not known
                    failures = failures + 1 if arrival.size_bytes == before else 1
                    await self._pause(url, arrival, error, failures)
        finally:
            await self._drop(arrival)

    async def _pause(self, url: yarl.URL, arrival: _Arrival, error: _BrokenOffError, failures: int) -> None:
        patience_s = self._settings.download_retry_s
        delay_s = backoff_s(failures, first_s=FIRST_RETRY_S, longest_s=LONGEST_RETRY_S)
        if time.monotonic() + delay_s - arrival.moved_at > patience_s:
            message = f"{error}; for {patience_s:.0f} s no more came (WORKER_DOWNLOAD_RETRY_SECONDS)"
            raise BtworkerError(error.code, message)
        log.warning("download_broken_off", host=url.host, bytesSoFar=arrival.size_bytes, reason=str(error))
        await asyncio.sleep(delay_s)

    async def _try(self, url: yarl.URL, arrival: _Arrival, on_bytes: OnBytes) -> Fetched:
        """One request and what comes of it."""
        try:
            async with self._open(url, arrival) as response:
                await self._prepare(response, arrival)
                total = _total_bytes(response)
                self._judge_size(total or 0)
                await self._take(response, arrival, total, on_bytes)
        except TRANSPORT_ERRORS as error:
            raise _BrokenOffError(why(url, error)) from None
        return await self._finish(url, arrival, total)

    async def _finish(self, url: yarl.URL, arrival: _Arrival, total: int | None) -> Fetched:
        if total is not None and arrival.size_bytes != total:
            raise _BrokenOffError(f"{url.host} sent {arrival.size_bytes} of {total} bytes")
        if arrival.file is None or arrival.size_bytes == 0:
            raise BtworkerError(ErrorCode.EMPTY_FILE, f"the file that {url.host} sent is empty")
        sha256 = await arrival.file.finish()
        size_bytes, arrival.file = arrival.size_bytes, None
        return Fetched(size_bytes, sha256)

    @asynccontextmanager
    async def _open(self, url: yarl.URL, arrival: _Arrival) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer with the file, or with the rest of it; redirects are followed, each of them judged."""
        headers = {"Accept": "*/*"}
        if arrival.size_bytes and arrival.validator:
            headers |= {"Range": f"bytes={arrival.size_bytes}-", "If-Range": arrival.validator}
        for _ in range(MAX_REDIRECTS + 1):
            idle = timeout(self._settings.download_idle_s)
            async with self._session.get(url, headers=headers, allow_redirects=False, timeout=idle) as response:
                if response.status in REDIRECTS and (target := response.headers.get("Location")):
                    url = self._guard.checked(_joined(url, target), what="the address that downloadUrl leads to")
                    continue
                _judge_status(url, response)
                yield response
                return
        raise BtworkerError(ErrorCode.DOWNLOAD_FAILED, f"downloadUrl leads on more than {MAX_REDIRECTS} times")

    async def _prepare(self, response: aiohttp.ClientResponse, arrival: _Arrival) -> None:
        """Go on with the file that is begun where the server gives its rest; else begin it anew."""
        if arrival.file is not None and response.status == 206:
            if response.headers.get("Content-Range", "").startswith(f"bytes {arrival.size_bytes}-"):
                return
            await self._drop(arrival)
            raise _BrokenOffError("the server gave another part than was asked for")
        await self._drop(arrival)
        arrival.validator = _validator(response)
        arrival.file = ReceivedFile(self._data, self._settings, arrival.final)

    async def _take(
        self, response: aiohttp.ClientResponse, arrival: _Arrival, total: int | None, on_bytes: OnBytes
    ) -> None:
        assert arrival.file is not None  # noqa: S101 - _prepare made it
        async for data in response.content.iter_any():
            self._judge_size(arrival.size_bytes + len(data))
            await arrival.file.add(data)
            arrival.moved_at = time.monotonic()
            on_bytes(arrival.size_bytes, total)

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
        raise _BrokenOffError("the worker's disk is full", ErrorCode.DISK_FULL) from None


def _judge_status(url: yarl.URL, response: aiohttp.ClientResponse) -> None:
    status = response.status
    if status in PASSING or status >= 500 or status == 416:
        raise _BrokenOffError(f"{url.host} answered {status}")
    if status not in (200, 206):
        hint = " (the URL has expired, or is not meant for this worker)" if status in (401, 403) else ""
        raise BtworkerError(ErrorCode.DOWNLOAD_FAILED, f"{url.host} answered {status} to the download{hint}")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise BtworkerError(ErrorCode.DOWNLOAD_FAILED, f"{url.host} sent the file compressed, which was not asked for")


def _total_bytes(response: aiohttp.ClientResponse) -> int | None:
    """The whole file's size, as far as the server says."""
    if response.status == 206:
        total = response.headers.get("Content-Range", "").rpartition("/")[2]
        return int(total) if total.isdecimal() else None
    return response.content_length


def _validator(response: aiohttp.ClientResponse) -> str | None:
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified")


def _joined(url: yarl.URL, target: str) -> str:
    """A Location may be relative."""
    if not target.isascii() or any(c <= " " for c in target):
        return target  # refused by what looks at it next
    try:
        return str(url.join(yarl.URL(target, encoded=True)))
    except ValueError:
        return target
