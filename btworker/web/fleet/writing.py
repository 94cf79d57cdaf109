"""What a box sends: pieces of windows, and whole files. A body comes with its request, or lies in the fleet's store,
from where it is taken in. Parent.
"""

import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from aiohttp import web

from btworker.delivery.buckets import StoreRefusedError, Trouble
from btworker.durable import sync_folder
from btworker.errors import BtworkerError, ErrorCode
from btworker.fleet import files
from btworker.fleet.files import OFFSET, SHA256, STORED
from btworker.fleet.object_store import FleetStore
from btworker.receiving.received_file import ReceivedFile
from btworker.web.body import Body
from btworker.web.fleet.desk import (
    ATTEMPT,
    DESK,
    MOST_HELD_BYTES,
    Attempt,
    Desk,
    named_file,
    no_file,
    small_body,
    too_large,
)
from btworker.web.jobs.admission import invite_body
from btworker.web.jobs.handlers import json_answer
from btworker.web.schemas import Wire


class AddressWire(Wire):
    """Where to put an object."""

    address: str


async def address(request: web.Request) -> web.StreamResponse:
    """POST {attempt}/files/{name}: an address for its body; 404 where there is no store."""
    name, attempt, store = named_file(request, files.is_writable), request[ATTEMPT], request.app[DESK].store
    if store is None:
        raise no_file()
    return json_answer(
        AddressWire(address=await store.result_address(attempt.job_id, attempt.number, _piece(request, name)))
    )


async def append(request: web.Request) -> web.StreamResponse:
    """PATCH {attempt}/files/{name}: 204, or 409 where the file is shorter than Upload-Offset."""
    name, attempt, desk = named_file(request, files.is_journal), request[ATTEMPT], request.app[DESK]
    offset = _offset(request)
    store = _store_of(request)
    data = await small_body(request) if store is None else await _small_object(store, attempt, _piece(request, name))

    def write() -> None:
        with desk.leases.holding(attempt.job_id, attempt.number):
            _go_on(attempt.folder.path / name, offset, data)

    await desk.data.run(write)
    if store is not None:
        await store.delete_result(attempt.job_id, attempt.number, _piece(request, name))
    return web.Response(status=204)


async def replace(request: web.Request) -> web.StreamResponse:
    """PUT {attempt}/files/{name}: 204 once the file is durable."""
    name, attempt, desk = named_file(request, files.is_writable), request[ATTEMPT], request.app[DESK]
    sha256, store = request.headers.get(SHA256, ""), _store_of(request)
    if store is not None:
        await store.settle(
            attempt.job_id,
            f"{attempt.number}/{name}/{sha256}",
            lambda: _take_object_in(desk, store, attempt, name, sha256),
        )
        return web.Response(status=204)
    await invite_body(request)  # it may have gigabytes, and was not sent before somebody wanted it
    body = Body(request, desk.settings, desk.receivers)
    try:
        await _take_in(desk, attempt, name, sha256, body.read)
    finally:
        body.close()
    return web.Response(status=204)


def _store_of(request: web.Request) -> FleetStore | None:
    """Where the body lies; None: it comes with the request."""
    return request.app[DESK].store if STORED in request.headers else None


def _offset(request: web.Request) -> int:
    """Raises BAD_REQUEST."""
    offset = request.headers.get(OFFSET, "")
    if not (offset.isascii() and offset.isdecimal() and len(offset) <= 15):
        raise BtworkerError(ErrorCode.BAD_REQUEST, f"{OFFSET} must be a number of bytes")
    return int(offset)


def _piece(request: web.Request, name: str) -> str:
    """What an object is called that holds a file, or a piece of it."""
    return f"{name}@{_offset(request)}" if OFFSET in request.headers else name


async def _take_object_in(desk: Desk, store: FleetStore, attempt: Attempt, name: str, sha256: str) -> None:
    chunks = store.result(attempt.job_id, attempt.number, name)
    await _take_in(desk, attempt, name, sha256, _reader(chunks))
    await store.delete_result(attempt.job_id, attempt.number, name)


async def _small_object(store: FleetStore, attempt: Attempt, piece: str) -> bytes:
    """Raises FILE_TOO_LARGE, NOT_FOUND, NOT_READY."""
    read, found = _reader(store.result(attempt.job_id, attempt.number, piece)), bytearray()
    while chunk := await read():
        found += chunk
        if len(found) > MOST_HELD_BYTES:
            raise too_large()
    return bytes(found)


def _reader(chunks: AsyncIterator[bytes]) -> Callable[[], Awaitable[bytes]]:
    """Read an object as a body is read. Raises NOT_FOUND, NOT_READY."""

    async def read() -> bytes:
        try:
            return await anext(chunks, b"")
        except StoreRefusedError as error:
            code = ErrorCode.NOT_FOUND if error.trouble is Trouble.MISSING else ErrorCode.NOT_READY
            raise BtworkerError(code, str(error)) from None

    return read


async def _take_in(desk: Desk, attempt: Attempt, name: str, sha256: str, read: Callable[[], Awaitable[bytes]]) -> None:
    """Bring all that is read into the file's place, durably. Raises CHECKSUM_MISMATCH, GONE, DISK_FULL."""
    place = attempt.folder.unfinished_outputs / f".{secrets.token_hex(8)}"
    await desk.data.run(place.parent.mkdir, exist_ok=True, mode=0o750)
    received = ReceivedFile(desk.data, desk.settings, place)
    try:
        while chunk := await read():
            await received.add(chunk)
        if await received.finish() != (sha256 or received.sha256.hexdigest()):
            raise BtworkerError(ErrorCode.CHECKSUM_MISMATCH, "the bytes that came are not those that were sent")
        await desk.data.run(_put_in_place, desk, attempt, name, place)
    finally:
        await received.abandon()
        await desk.data.run(_forget, place)


def _put_in_place(desk: Desk, attempt: Attempt, name: str, received: Path) -> None:
    """Blocking; raises GONE."""
    final = files.path_in(attempt.folder, name)
    with desk.leases.holding(attempt.job_id, attempt.number):
        final.parent.mkdir(exist_ok=True, mode=0o750, parents=True)
        os.replace(received, final)
        sync_folder(final.parent)


def _forget(place: Path) -> None:
    """Blocking: whatever is left of a body that came to nothing."""
    for path in (place, place.with_name(f"{place.name}.part")):
        path.unlink(missing_ok=True)


def _go_on(path: Path, offset: int, data: bytes) -> None:
    """Blocking; raises CONFLICT."""
    path.parent.mkdir(exist_ok=True, mode=0o750)
    is_new = not path.exists()
    with open(path, "ab") as file:
        size_bytes = file.tell()
        if size_bytes < offset:
            raise BtworkerError(ErrorCode.CONFLICT, f"the file has {size_bytes} bytes: send it from its beginning")
        file.truncate(offset)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if is_new:
        sync_folder(path.parent)
