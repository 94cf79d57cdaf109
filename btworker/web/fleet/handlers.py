"""What a box asks and sends while it has an attempt: files down by range, windows up as they are done, results up and
then published together (writing.py). Parent.

    GET    {attempt}                      a new ticket: asked for now and then; 410 means that the attempt is over
    GET    {attempt}/files                names and sizes of what an attempt begins with; 202: ask again
    GET    {attempt}/files/{name}         one of them, or a part of it
                                          (these also of {prefetch}: the inputs of a job that has not started)
    PATCH  {attempt}/files/{name}         go on with a file of windows at Upload-Offset; what lay behind is cut
    PUT    {attempt}/files/{name}         a whole file, durable before the answer; Content-SHA256 is held to it
    POST   {attempt}/files/{name}         where the body of the same PUT, or PATCH, is put instead of here: these then
                                          come with Fleet-Stored and no body; 202: ask again (fleet/object_store.py)
    DELETE {attempt}/files/{name}         a note that is over
    POST   {attempt}/results              all results are here: they take the place of earlier ones, durably
                                          (long recordings that several boxes decode together: sharing.py)

A body lands in a file of its own, and takes its place while the attempt's lease is held (fleet/leases.py).
"""

import json
import os
import shutil
from pathlib import Path

from aiohttp import web

from btworker.durable import sync_folder
from btworker.errors import BtworkerError, ErrorCode
from btworker.fleet import files
from btworker.fleet.leases import ATTEMPTS, HELPS, PREFETCHES
from btworker.job_folder import JobFolder
from btworker.web.files import StoredFile, send_file
from btworker.web.fleet import sharing
from btworker.web.fleet.desk import ATTEMPT, DESK, named_file, no_file, small_body
from btworker.web.fleet.writing import address, append, replace
from btworker.web.jobs.admission import defer_continue
from btworker.web.jobs.handlers import json_answer
from btworker.web.schemas import Wire


class FileWire(Wire):
    """A file that an attempt begins with."""

    name: str
    size_bytes: int
    address: str = ""
    """Where it is read instead of here, for a while."""


class FilesWire(Wire):
    """All of them."""

    files: tuple[FileWire, ...]
    stores: bool
    """Large files that are made go through a store."""


def routes() -> list[web.RouteDef]:
    """The table of the listener."""
    job = r"/fleet/v1/jobs/{job_id:wk_[A-Za-z0-9_-]{1,64}}"
    everybody = f"{ATTEMPTS}|{PREFETCHES}|{HELPS}"
    reader, attempt, helper = (f"{job}/{{kind:{kind}}}" + r"/{number:\d{1,9}}" for kind in (everybody, ATTEMPTS, HELPS))
    file = attempt + "/files/{name:.+}"
    return [
        web.get(reader, renew),
        web.get(f"{reader}/files", list_files),
        web.get(reader + "/files/{name:.+}", send),
        web.patch(file, append),
        web.put(file, replace, expect_handler=defer_continue),
        web.post(file, address),
        web.delete(file, remove),
        web.post(f"{attempt}/results", publish),
        web.post(attempt + r"/shares/{share:\d{1,6}(\.\d{1,6})?}", sharing.lend),
        web.post(f"{helper}/parts", sharing.take),
        web.put(helper + "/files/{name:.+}", sharing.put_texts),
        web.delete(helper, sharing.end),
    ]


async def renew(_request: web.Request) -> web.StreamResponse:
    """GET {attempt}"""
    return web.Response(status=204)


async def list_files(request: web.Request) -> web.StreamResponse:
    """GET {attempt}/files"""
    attempt = request[ATTEMPT]
    found = await request.app[DESK].data.run(files.readable, attempt.folder)
    wanted = [(name, size_bytes) for name, size_bytes in found if attempt.may_read(name)]
    store, at = request.app[DESK].store, {}
    if store is not None:
        inputs = [(name, size, attempt.folder.path / name) for name, size in wanted if files.is_input(name)]
        at = await store.input_addresses(attempt.job_id, inputs)
    listed = tuple(FileWire(name=name, size_bytes=size, address=at.get(name, "")) for name, size in wanted)
    return json_answer(FilesWire(files=listed, stores=store is not None))


async def send(request: web.Request) -> web.StreamResponse:
    """GET {attempt}/files/{name}"""
    attempt = request[ATTEMPT]
    name = named_file(request, attempt.may_read)
    # inputs never change, and a box asks for the others once
    tag = f"{attempt.job_id}/{attempt.kind}/{attempt.number}/{name}"
    try:
        return await send_file(
            request,
            request.app[DESK].data,
            StoredFile(attempt.folder.path / name, "file", tag, "application/octet-stream"),
        )
    except FileNotFoundError:
        raise no_file() from None


async def remove(request: web.Request) -> web.StreamResponse:
    """DELETE {attempt}/files/{name}: 204, whether it was there or not."""
    name, attempt, desk = named_file(request, files.is_note), request[ATTEMPT], request.app[DESK]

    def unlink() -> None:
        with desk.leases.holding(attempt.job_id, attempt.number):
            (attempt.folder.path / name).unlink(missing_ok=True)

    await desk.data.run(unlink)
    return web.Response(status=204)


async def publish(request: web.Request) -> web.StreamResponse:
    """POST {attempt}/results: 204 once all of the named results are where clients read them."""
    attempt, desk = request[ATTEMPT], request.app[DESK]
    try:
        body = json.loads(await small_body(request))
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
    """Blocking; raises CONFLICT where one is missing. What an earlier attempt left among them goes. Done once more it
    changes nothing: a box whose answer was lost asks again."""
    part = folder.unfinished_outputs
    there = _names(part)
    if not there and wanted == _names(folder.outputs):
        return
    part.mkdir(exist_ok=True, mode=0o750)
    if missing := wanted - there:
        raise BtworkerError(ErrorCode.CONFLICT, f"{len(missing)} of the results are not here")
    for name in there - wanted:
        (part / name).unlink()
    shutil.rmtree(folder.outputs, ignore_errors=True)  # of an attempt that ended before its Finished arrived
    os.replace(part, folder.outputs)
    sync_folder(folder.path)


def _names(folder: Path) -> set[str]:
    """Blocking."""
    return {path.name for path in folder.iterdir()} if folder.exists() else set()
