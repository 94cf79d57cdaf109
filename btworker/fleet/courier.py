"""Carries the files of one attempt between a box and the front end. Runs in the box.

Nothing is held in memory but a chunk; an input that breaks off goes on from where it stopped. Where the fleet has a
store (object_store.py), large files go through it, by addresses that the front end gives. Where the store cannot be
reached, they go as they do without one.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import yarl

from btworker.checkpoints.hashing import file_sha256
from btworker.delivery.http import timeout
from btworker.errors import BtworkerError, ErrorCode
from btworker.fleet import files
from btworker.fleet.files import LEAST_STORED_BYTES, MOST_STORED_BYTES, OFFSET, SHA256, STORED
from btworker.fleet.front_end import IDLE_S, LEASE_S, FrontEnd, judge
from btworker.fleet.journals import Journals, read_piece
from btworker.job_folder import JobFolder
from btworker.jobs import Input
from btworker.logs import get_logger

log = get_logger()
CHUNK_BYTES = 2**20
STORE_PATIENCE_S = 30.0
"""Seconds for which the store may be away before a file takes the other way."""


class Courier:
    """Of one attempt, or of a prefetch, whose files are in this folder."""

    def __init__(self, front_end: FrontEnd, folder: JobFolder, *, store_patience_s: float = STORE_PATIENCE_S) -> None:
        self._front_end = front_end
        self._store_patience_s = store_patience_s
        self._folder = folder
        self._journals = Journals()
        self._notes: set[str] = set()
        """Files beside the journals that the front end has."""
        self._addresses: dict[str, str] = {}
        """Where inputs are read in the store."""
        self._stores = False
        """What is made goes through the store."""
        self.inputs: set[str] = set()
        """Names of those that are in the folder; they never change."""
        self.fetched_bytes = 0
        self.may_fetch = asyncio.Event()
        """Cleared while what is fetched has to give way to what is needed sooner."""
        self.may_fetch.set()

    async def hold(self, every_s: float = LEASE_S) -> None:
        """See FrontEnd."""
        await self._front_end.hold(every_s)

    async def fetch(self, inputs: tuple[Input, ...]) -> None:
        """Bring all files that the attempt begins with into its folder, but for inputs that are there.

        Raises FencedError, DOWNLOAD_FAILED.
        """
        await asyncio.to_thread(self._folder.inputs.mkdir, parents=True, exist_ok=True)
        for name, size_bytes in await self._front_end.insist(self._list):
            if name in self.inputs or not files.is_readable(name):
                continue
            number = name.removeprefix("in/")
            sha256 = inputs[int(number)].sha256 if number.isdecimal() else None
            await self._fetch_whole(name, size_bytes, sha256)
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
            await self._front_end.insist(partial(self._front_end.ask, "DELETE", f"files/{name}"))
            self._notes.discard(name)

    async def put_files(self, paths: tuple[Path, ...]) -> None:
        """Bring files of the folder to the front end, durably. Raises FencedError, DISK_FULL."""
        for path in paths:
            await self._put(str(path.relative_to(self._folder.path)))

    async def fetch_file(self, name: str, size_bytes: int, sha256: str | None = None) -> None:
        """Bring one more file into the folder. Raises FencedError, DOWNLOAD_FAILED."""
        await self._fetch_whole(name, size_bytes, sha256)

    async def publish_results(self) -> None:
        """Bring all results to the front end, and have them published together. Raises FencedError, DISK_FULL."""
        names = await asyncio.to_thread(files.results, self._folder)
        for name in names:
            await self._put(name)
        body = {"names": [name for name in names if files.is_result(name)]}
        await self._front_end.insist(lambda: self._front_end.ask("POST", "results", json=body))

    async def _list(self) -> list[tuple[str, int]]:
        """Names and sizes of what there is; and where it is."""
        listing = await self._front_end.ask("GET", "files")
        self._stores = bool(listing["stores"])
        self._addresses = {str(one["name"]): str(one["address"]) for one in listing["files"] if one["address"]}
        return [(str(one["name"]), int(one["sizeBytes"])) for one in listing["files"]]

    def _note(self, name: str) -> None:
        """Remember that the front end has this file as it is here. Blocking."""
        if files.is_journal(name):
            self._journals.sent(name, self._folder.path / name)
        elif files.is_input(name):
            self.inputs.add(name)
        else:
            self._notes.add(name)

    async def _fetch_whole(self, name: str, size_bytes: int, sha256: str | None) -> None:
        """Fetch a file, from the front end where the store has another one. Raises DOWNLOAD_FAILED."""
        while await self._fetch_one(name, size_bytes) != sha256 and sha256 is not None:
            error = BtworkerError(ErrorCode.DOWNLOAD_FAILED, f"{name} came to its box damaged")
            if self._addresses.pop(name, None) is None:
                raise error
            _go_without_store(name, error)

    async def _fetch_one(self, name: str, size_bytes: int) -> str:
        """Fetch a file; returns its SHA-256 in hex."""
        part = _Part(self._folder.path / name)
        await asyncio.to_thread(part.begin)
        while (done := part.size_bytes) < size_bytes:
            await self._fetch_more(name, part)
            if part.size_bytes == done:
                break
        return part.digest.hexdigest()

    async def _fetch_more(self, name: str, part: "_Part") -> None:
        """What is not here yet, from the store where it is there and answers."""
        get = partial(self._fetch_rest, name, part)
        if name in self._addresses:
            try:
                return await self._front_end.insist(
                    get, moved=lambda: part.size_bytes, patience_s=self._store_patience_s
                )
            except BtworkerError as error:
                self._addresses.pop(name, None)
                _go_without_store(name, error)
        return await self._front_end.insist(get, moved=lambda: part.size_bytes)

    async def _fetch_rest(self, name: str, part: "_Part") -> None:
        """One request for what is not here yet."""
        headers = {"Range": f"bytes={part.size_bytes}-"} if part.size_bytes else {}
        async with self._reading(name, headers) as response:
            if headers and response.status != 206:
                raise aiohttp.ClientPayloadError("another part came than was asked for")
            async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                await asyncio.to_thread(part.add, chunk)
                self.fetched_bytes += len(chunk)
                await self.may_fetch.wait()

    @asynccontextmanager
    async def _reading(self, name: str, headers: dict[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer with a file, or a part of it. Raises as judge() does."""
        if (address := self._addresses.get(name)) is None:
            async with self._front_end.request("GET", f"files/{name}", headers=headers) as response:
                await judge(response)
                yield response
            return
        async with self._ask_store("GET", address, headers=headers) as response:
            if response.status in (401, 403, 404):
                await self._list()  # for a new address: this one may have expired
            _judge_store(response)
            yield response

    async def _push_journal(self, name: str) -> None:
        path = self._folder.path / name
        while True:
            offset, data = await asyncio.to_thread(self._journals.unsent, name, path)
            if not data:
                return
            try:
                await self._send("PATCH", name, partial(bytes, data), len(data), {OFFSET: str(offset)})
                self._journals.took(name, offset, data)
            except BtworkerError as error:
                if error.code is not ErrorCode.CONFLICT or offset == 0:
                    raise
                self._journals.forget(name)  # the front end has less than was sent: begin anew

    async def _put(self, name: str) -> None:
        path = self._folder.path / name
        sha256 = await asyncio.to_thread(file_sha256, path)
        size_bytes = path.stat().st_size
        await self._send("PUT", name, lambda: _chunks(path), size_bytes, {SHA256: sha256}, expect100=True)

    async def _send(
        self, method: str, name: str, body: Callable[[], Any], size_bytes: int, headers: dict[str, str], **more: Any
    ) -> None:
        """Have the front end take a body; `body` makes it, at each try. Raises FencedError, CONFLICT, DISK_FULL."""
        ask, path = self._front_end.ask, f"files/{name}"
        if self._stores and LEAST_STORED_BYTES <= size_bytes <= MOST_STORED_BYTES:
            try:
                put = partial(self._put_in_store, path, body, size_bytes, headers)
                await self._front_end.insist(put, patience_s=self._store_patience_s)
                stored = {**headers, STORED: str(size_bytes)}
                return await self._front_end.insist(
                    lambda: ask(method, path, headers=stored), patience_s=self._store_patience_s
                )
            except BtworkerError as error:
                if error.code not in (ErrorCode.DOWNLOAD_FAILED, ErrorCode.NOT_FOUND):
                    raise
                _go_without_store(name, error)
        sized = {**headers, "Content-Length": str(size_bytes)}
        return await self._front_end.insist(lambda: ask(method, path, data=body(), headers=sized, **more))

    async def _put_in_store(self, path: str, body: Callable[[], Any], size_bytes: int, headers: dict[str, str]) -> None:
        address = str((await self._front_end.ask("POST", path, headers=headers))["address"])
        sized = {"Content-Length": str(size_bytes)}
        async with self._ask_store("PUT", address, data=body(), headers=sized) as response:
            _judge_store(response)

    def _ask_store(self, method: str, address: str, **arguments: Any) -> Any:
        """One request, without a ticket; the address is signed as it is."""
        url = yarl.URL(address, encoded=True)
        return self._front_end.session.request(method, url, timeout=timeout(IDLE_S), **arguments)


class _Part:
    """What of a file is here. Not held open: whoever is cancelled leaves nothing behind."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.size_bytes = 0
        self.digest = hashlib.sha256()

    def begin(self) -> None:
        """Make the file, empty. Blocking."""
        self._path.parent.mkdir(exist_ok=True, parents=True)
        self._path.write_bytes(b"")

    def add(self, chunk: bytes) -> None:
        """Take what comes next. Blocking."""
        with open(self._path, "ab") as file:
            file.write(chunk)
        self.digest.update(chunk)
        self.size_bytes += len(chunk)


def _judge_store(response: aiohttp.ClientResponse) -> None:
    """Raises ClientError where the store did not do what was asked; its words may hold the address."""
    if response.status >= 400:
        raise aiohttp.ClientPayloadError(f"the fleet's store answered {response.status}")


def _go_without_store(name: str, error: BtworkerError) -> None:
    log.warning("fleet_store_away", file=name, message=f"it does not go through the fleet's store: {error.message}")


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    """All of a file; where nobody wants the rest, nothing is left open."""
    offset = 0
    while chunk := await asyncio.to_thread(read_piece, path, offset, CHUNK_BYTES):
        yield chunk
        offset += len(chunk)
