"""What a box asks and sends while it has an attempt: files down by range, windows up as they are done, results up and
then published together. Parent.

    GET    {attempt}                      a new ticket: asked for now and then; 410 tells that the attempt is over
    GET    {attempt}/files                names and sizes of what an attempt begins with
    GET    {attempt}/files/{name}         one of them, or a part of it
                                          (these also of {prefetch}: the inputs of a job that has not started)
    PATCH  {attempt}/files/{name}         go on with a file of windows at Upload-Offset; what lay behind is cut
    PUT    {attempt}/files/{name}         a whole file, durable before the answer; Content-SHA256 is held to it
    DELETE {attempt}/files/{name}         a note that is over
    POST   {attempt}/results              all results are here: they take the place of earlier ones, durably

A body lands in a file of its own, and takes its place while the attempt's lease is held (fleet/leases.py).
"""

import json
import os
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from btworker.config import Settings
from btworker.durable import sync_folder
from btworker.errors import BtworkerError, ErrorCode
from btworker.fleet import files
from btworker.fleet.files import OFFSET, SHA256, TICKET
from btworker.fleet.leases import ATTEMPTS, PREFETCHES, Leases
from btworker.jobs import JobId
from btworker.receiving.received_file import ReceivedFile
from btworker.receiving.wire import Receivers
from btworker.storage import DataFolder, JobFolder
from btworker.web.body import Body
from btworker.web.context import HAS_TOKEN
from btworker.web.files import StoredFile, send_file
from btworker.web.jobs.admission import defer_continue, invite_body
from btworker.web.jobs.handlers import json_answer
from btworker.web.middlewares import Handler
from btworker.web.schemas import Wire
from btworker.web.strangers import STRANGERS

MOST_APPENDED_BYTES = 4 * 2**20
"""Of one PATCH, or list of results, which is held in memory: a thousand windows at once."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What the handlers work with."""

    leases: Leases
    data: DataFolder
    settings: Settings
    receivers: Receivers = field(default_factory=lambda: Receivers(threads=0, least_bytes=0))
    """None: what boxes send is small beside what clients do."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """The attempt, or the prefetch, that a request's path names, with its job's folder."""

    job_id: JobId
    number: int
    folder: JobFolder
    kind: str = ATTEMPTS

    def may_read(self, name: str) -> bool:
        """Whether this is a file that its box needs."""
        return files.is_input(name) if self.kind == PREFETCHES else files.is_readable(name)


class FileWire(Wire):
    """A file that an attempt begins with."""

    name: str
    size_bytes: int


class FilesWire(Wire):
    """All of them."""

    files: tuple[FileWire, ...]


DESK = web.AppKey("desk", Desk)
ATTEMPT = web.RequestKey("attempt", Attempt)


def routes() -> list[web.RouteDef]:
    """The table of the listener."""
    job = r"/fleet/v1/jobs/{job_id:wk_[A-Za-z0-9_-]{1,64}}"
    reader, attempt = (
        f"{job}/{{kind:{kind}}}" + r"/{number:\d{1,9}}" for kind in (f"{ATTEMPTS}|{PREFETCHES}", ATTEMPTS)
    )
    file = attempt + "/files/{name:.+}"
    return [
        web.get(reader, renew),
        web.get(f"{reader}/files", list_files),
        web.get(reader + "/files/{name:.+}", send),
        web.patch(file, append),
        web.put(file, replace, expect_handler=defer_continue),
        web.delete(file, remove),
        web.post(f"{attempt}/results", publish),
    ]


@web.middleware
async def fenced(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let pass who has a ticket for the attempt of the path; each answer brings a new one."""
    if request.match_info.http_exception is not None:
        return await handler(request)
    attempt = request[ATTEMPT] = _checked(request)
    request[HAS_TOKEN] = True
    request.app[STRANGERS].remove(request.protocol)
    response = await handler(request)
    if not response.prepared:
        response.headers[TICKET] = request.app[DESK].leases.ticket(attempt.job_id, attempt.number, attempt.kind)
    return response


def _checked(request: web.Request) -> Attempt:
    """Raises UNAUTHORIZED, GONE."""
    desk = request.app[DESK]
    job_id, number, kind = (
        JobId(request.match_info["job_id"]),
        int(request.match_info["number"]),
        request.match_info["kind"],
    )
    scheme, _, ticket = request.headers.get("Authorization", "").partition(" ")
    desk.leases.check(job_id, number, ticket if scheme == "Bearer" else "", kind)
    return Attempt(job_id, number, desk.data.folder(job_id), kind)


async def renew(_request: web.Request) -> web.StreamResponse:
    """GET {attempt}"""
    return web.Response(status=204)


async def list_files(request: web.Request) -> web.StreamResponse:
    """GET {attempt}/files"""
    attempt = request[ATTEMPT]
    found = await request.app[DESK].data.run(files.readable, attempt.folder)
    wanted = (FileWire(name=name, size_bytes=size) for name, size in found if attempt.may_read(name))
    return json_answer(FilesWire(files=tuple(wanted)))


async def send(request: web.Request) -> web.StreamResponse:
    """GET {attempt}/files/{name}"""
    attempt = request[ATTEMPT]
    name = _name(request, attempt.may_read)
    tag = f"{attempt.job_id}/{attempt.number}/{name}"  # inputs never change, and a box asks for the others once
    try:
        return await send_file(
            request,
            request.app[DESK].data,
            StoredFile(attempt.folder.path / name, "file", tag, "application/octet-stream"),
        )
    except FileNotFoundError:
        raise _no_file() from None


async def append(request: web.Request) -> web.StreamResponse:
    """PATCH {attempt}/files/{name}: 204, or 409 where the file is shorter than Upload-Offset."""
    name, attempt, desk = _name(request, files.is_journal), request[ATTEMPT], request.app[DESK]
    offset = request.headers.get(OFFSET, "")
    if not (offset.isascii() and offset.isdecimal() and len(offset) <= 15):
        raise BtworkerError(ErrorCode.BAD_REQUEST, f"{OFFSET} must be a number of bytes")
    data = await _small_body(request)

    def write() -> None:
        with desk.leases.holding(attempt.job_id, attempt.number):
            _go_on(attempt.folder.path / name, int(offset), data)

    await desk.data.run(write)
    return web.Response(status=204)


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


async def replace(request: web.Request) -> web.StreamResponse:
    """PUT {attempt}/files/{name}: 204 once the file is durable."""
    name, attempt, desk = _name(request, files.is_writable), request[ATTEMPT], request.app[DESK]
    place = attempt.folder.unfinished_outputs / f".{secrets.token_hex(8)}"
    await desk.data.run(place.parent.mkdir, exist_ok=True, mode=0o750)
    received = ReceivedFile(desk.data, desk.settings, place)
    await invite_body(request)  # it may have gigabytes, and was not sent before somebody wanted it
    body = Body(request, desk.settings, desk.receivers)
    try:
        while chunk := await body.read():
            await received.add(chunk)
        sha256 = await received.finish()
        if sha256 != request.headers.get(SHA256, sha256):
            raise BtworkerError(ErrorCode.CHECKSUM_MISMATCH, "the bytes that came are not those that were sent")
        await desk.data.run(_put_in_place, desk, attempt, name, place)
    finally:
        body.close()
        await received.abandon()
        await desk.data.run(_forget, place)
    return web.Response(status=204)


def _put_in_place(desk: Desk, attempt: Attempt, name: str, received: Path) -> None:
    """Blocking; raises GONE."""
    final = files.path_in(attempt.folder, name)
    with desk.leases.holding(attempt.job_id, attempt.number):
        final.parent.mkdir(exist_ok=True, mode=0o750)
        os.replace(received, final)
        sync_folder(final.parent)


def _forget(place: Path) -> None:
    """Blocking: whatever is left of a body that came to nothing."""
    for path in (place, place.with_name(f"{place.name}.part")):
        path.unlink(missing_ok=True)


async def remove(request: web.Request) -> web.StreamResponse:
    """DELETE {attempt}/files/{name}: 204, whether it was there or not."""
    name, attempt, desk = _name(request, files.is_note), request[ATTEMPT], request.app[DESK]

    def unlink() -> None:
        with desk.leases.holding(attempt.job_id, attempt.number):
            (attempt.folder.path / name).unlink(missing_ok=True)

    await desk.data.run(unlink)
    return web.Response(status=204)


async def publish(request: web.Request) -> web.StreamResponse:
    """POST {attempt}/results: 204 once all of the named results are where clients read them."""
    attempt, desk = request[ATTEMPT], request.app[DESK]
    try:
        body = json.loads(await _small_body(request))
    except (ValueError, RecursionError):
        raise BtworkerError(ErrorCode.BAD_REQUEST, "the body is no JSON") from None
    names = body.get("names") if isinstance(body, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) and files.is_result(name) for name in names):
        raise BtworkerError(ErrorCode.BAD_REQUEST, "names must be a list of results")

    def put_in_place() -> None:
        with desk.leases.holding(attempt.job_id, attempt.number):
            _publish(attempt.folder, {name.removeprefix("out/") for name in names})

    await desk.data.run(put_in_place)
    return web.Response(status=204)


def _publish(folder: JobFolder, wanted: set[str]) -> None:
    """Blocking; raises CONFLICT where one is missing. What an earlier attempt left among them goes."""
    part = folder.unfinished_outputs
    part.mkdir(exist_ok=True, mode=0o750)
    there = {path.name for path in part.iterdir()}
    if missing := wanted - there:
        raise BtworkerError(ErrorCode.CONFLICT, f"{len(missing)} of the results are not here")
    for name in there - wanted:
        (part / name).unlink()
    shutil.rmtree(folder.outputs, ignore_errors=True)  # of an attempt that ended before its Finished arrived
    os.replace(part, folder.outputs)
    sync_folder(folder.path)


async def _small_body(request: web.Request) -> bytes:
    """A body that is held in memory. Raises FILE_TOO_LARGE, IDLE_TIMEOUT."""
    desk = request.app[DESK]
    body = Body(request, desk.settings, desk.receivers)
    message = f"at most {MOST_APPENDED_BYTES} bytes are taken here at once"
    too_long = BtworkerError(ErrorCode.FILE_TOO_LARGE, message)
    try:
        return await body.read_all(most_bytes=MOST_APPENDED_BYTES, too_long=too_long)
    finally:
        body.close()


def _name(request: web.Request, allowed: Callable[[str], bool]) -> str:
    """The file that the path names. Raises NOT_FOUND for one that is none of a job's."""
    name = request.match_info["name"]
    if not allowed(name):
        raise _no_file()
    return name


def _no_file() -> BtworkerError:
    return BtworkerError(ErrorCode.NOT_FOUND, "there is no such file")
