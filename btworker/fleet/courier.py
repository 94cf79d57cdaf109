"""Carries the files of one attempt between a box and the front end. Runs in the box; web/fleet/ answers.

Nothing is held in memory but a chunk. A request that breaks off is made again, an input from where it stopped, for as
long as the front end may be away; an attempt that is over is FencedError, and nobody tries again.
"""

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import yarl

from btworker.checkpoints.hashing import file_sha256
from btworker.delivery.http import TRANSPORT_ERRORS, backoff_s, timeout
from btworker.errors import BtworkerError, ErrorCode
from btworker.fleet import files
from btworker.fleet.files import OFFSET, SHA256, TICKET
from btworker.fleet.journals import Journals
from btworker.jobs import Input
from btworker.logs import get_logger
from btworker.storage import JobFolder

log = get_logger()
T = TypeVar("T")
CHUNK_BYTES = 2**20
IDLE_S = 60.0
"""Seconds without a byte after which a request is given up, and made again."""
PATIENCE_S = 600.0
"""Seconds for which the front end may be away: longer than it takes to restart, less than anybody waits for a job."""
LEASE_S = 60.0
"""Seconds between two looks whether an attempt still counts."""
FIRST_RETRY_S, LONGEST_RETRY_S = 0.2, 5.0
CODES = {code.value: code for code in ErrorCode}


class FencedError(Exception):
    """The attempt is over: whatever it has made is of no use any more."""


class Courier:
    """Of one attempt. `address` is that of the attempt on the front end's listener."""

    def __init__(self, session: aiohttp.ClientSession, address: str, ticket: str, folder: JobFolder) -> None:
        self._session = session
        self._url = yarl.URL(address)
        self._ticket = ticket
        self._folder = folder
        self._journals = Journals()
        self._notes: set[str] = set()
        """Files beside the journals that the front end has."""
        self.inputs: set[str] = set()
        """Names of those that are in the folder; they never change."""
        self.fetched_bytes = 0
        self.may_fetch = asyncio.Event()
        """Cleared while what is fetched has to give way to what is needed sooner."""
        self.may_fetch.set()

    async def fetch(self, inputs: tuple[Input, ...]) -> None:
        """Bring all files that the attempt begins with into its folder, but for inputs that are there.

        Raises FencedError, DOWNLOAD_FAILED.
        """
        await asyncio.to_thread(self._folder.inputs.mkdir, parents=True, exist_ok=True)
        listing = await self._insist(lambda: self._ask("GET", "files"))
        for one in listing["files"]:
            name, size_bytes = str(one["name"]), int(one["sizeBytes"])
            if name in self.inputs or not files.is_readable(name):
                continue
            sha256 = await self._fetch_one(name, size_bytes)
            number = name.removeprefix("in/")
            if number.isdecimal() and sha256 != inputs[int(number)].sha256:
                raise BtworkerError(ErrorCode.DOWNLOAD_FAILED, f"input {number} came to its box damaged")
            await asyncio.to_thread(self._note, name)

    async def push_state(self) -> None:
        """Bring to the front end what the next attempt would go on from: windows and notes. Raises FencedError."""
        names = await asyncio.to_thread(files.state, self._folder)
        for name in names:
            if files.is_journal(name):
                await self._push_journal(name)
            elif name not in self._notes:
                await self._put(name)
                self._notes.add(name)
        for name in sorted(self._notes - set(names)):
            await self._insist(partial(self._ask, "DELETE", f"files/{name}"))
            self._notes.discard(name)

    async def put_files(self, paths: tuple[Path, ...]) -> None:
        """Bring files of the folder to the front end, durably. Raises FencedError, DISK_FULL."""
        for path in paths:
            await self._put(str(path.relative_to(self._folder.path)))

    async def publish_results(self) -> None:
        """Bring all results to the front end, and have them published together. Raises FencedError, DISK_FULL."""
        names = await asyncio.to_thread(files.results, self._folder)
        for name in names:
            await self._put(name)
        body = {"names": [name for name in names if files.is_result(name)]}
        await self._insist(lambda: self._ask("POST", "results", json=body))

    async def hold(self, every_s: float = LEASE_S) -> None:
        """Ask now and then whether the attempt still counts, which renews its ticket, too. Raises FencedError,
        DOWNLOAD_FAILED."""
        while True:
            await asyncio.sleep(every_s)
            await self._insist(lambda: self._ask("GET", ""))

    def _note(self, name: str) -> None:
        """Remember that the front end has this file as it is here. Blocking."""
        if files.is_journal(name):
            self._journals.sent(name, self._folder.path / name)
        elif files.is_input(name):
            self.inputs.add(name)
        else:
            self._notes.add(name)

    async def _fetch_one(self, name: str, size_bytes: int) -> str:
        """Fetch a file; returns its SHA-256 in hex."""
        path = self._folder.path / name
        digest = hashlib.sha256()
        await asyncio.to_thread(path.parent.mkdir, exist_ok=True)
        file = await asyncio.to_thread(open, path, "wb", buffering=0)
        try:
            while (done := file.tell()) < size_bytes or size_bytes == 0:
                await self._insist(lambda: self._fetch_rest(name, file, digest), moved=file.tell)
                if file.tell() == done:
                    break
        finally:
            await asyncio.to_thread(file.close)
        return digest.hexdigest()

    async def _fetch_rest(self, name: str, file: Any, digest: "hashlib._Hash") -> None:
        """One request for what is not here yet."""
        headers = {"Range": f"bytes={file.tell()}-"} if file.tell() else {}

        def take(chunk: bytes) -> None:
            digest.update(chunk)
            file.write(chunk)

        async with self._request("GET", f"files/{name}", headers=headers) as response:
            await _judge(response)
            if headers and response.status != 206:
                raise aiohttp.ClientPayloadError("the front end sent another part than was asked for")
            async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                await asyncio.to_thread(take, chunk)
                self.fetched_bytes += len(chunk)
                await self.may_fetch.wait()

    async def _push_journal(self, name: str) -> None:
        path = self._folder.path / name
        while True:
            offset, data = await asyncio.to_thread(self._journals.unsent, name, path)
            if not data:
                return
            request = partial(self._ask, "PATCH", f"files/{name}", data=data, headers={OFFSET: str(offset)})
            try:
                await self._insist(request)
                self._journals.took(name, offset, data)
            except BtworkerError as error:
                if error.code is not ErrorCode.CONFLICT or offset == 0:
                    raise
                self._journals.forget(name)  # the front end has less than was sent: begin anew

    async def _put(self, name: str) -> None:
        path = self._folder.path / name
        sha256 = await asyncio.to_thread(file_sha256, path)

        async def put() -> None:
            headers = {SHA256: sha256, "Content-Length": str(path.stat().st_size)}
            await self._ask("PUT", f"files/{name}", data=_chunks(path), headers=headers, expect100=True)

        await self._insist(put)

    async def _ask(self, method: str, path: str, **arguments: Any) -> Any:
        async with self._request(method, path, **arguments) as response:
            await _judge(response)
            self._ticket = response.headers.get(TICKET, self._ticket)
            return await response.json() if response.content_type == "application/json" else None

    def _request(self, method: str, path: str, *, headers: dict[str, str] | None = None, **arguments: Any) -> Any:
        url = self._url.joinpath(*path.split("/")) if path else self._url
        headers = {"Authorization": f"Bearer {self._ticket}", **(headers or {})}
        return self._session.request(method, url, headers=headers, timeout=timeout(IDLE_S), **arguments)

    async def _insist(self, ask: Callable[[], Awaitable[T]], *, moved: Callable[[], int] = lambda: 0) -> T:
        """Ask until there is an answer. Raises what the answer says, and DOWNLOAD_FAILED after PATIENCE_S without."""
        failures, since, before = 0, time.monotonic(), moved()
        while True:
            try:
                return await ask()
            except TRANSPORT_ERRORS as error:
                if (now := moved()) != before:
                    failures, since, before = 0, time.monotonic(), now
                failures += 1
                if time.monotonic() - since > PATIENCE_S:
                    sentence = f"the front end did not answer its box for {PATIENCE_S:.0f} s ({type(error).__name__})"
                    raise BtworkerError(ErrorCode.DOWNLOAD_FAILED, sentence) from None
                log.warning("front_end_away", error=type(error).__name__, failures=failures)
            await asyncio.sleep(backoff_s(failures, first_s=FIRST_RETRY_S, longest_s=LONGEST_RETRY_S))


async def _judge(response: aiohttp.ClientResponse) -> None:
    """Raises FencedError where the attempt is over, ClientError where a second try may help, else BtworkerError."""
    if response.status < 400:
        return
    if response.status in (401, 410):
        raise FencedError
    try:
        error = (await response.json())["error"]
        code, message = CODES[error["code"]], str(error["message"])
    except (ValueError, KeyError, TypeError, aiohttp.ContentTypeError):
        code, message = ErrorCode.INTERNAL, f"the front end answered {response.status}"
    if code.retryable and code is not ErrorCode.DISK_FULL:
        raise aiohttp.ClientPayloadError(message)
    raise BtworkerError(code, message)


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    file = await asyncio.to_thread(open, path, "rb", buffering=0)
    try:
        while chunk := await asyncio.to_thread(os.read, file.fileno(), CHUNK_BYTES):
            yield chunk
    finally:
        await asyncio.to_thread(file.close)
