"""/v1/uploads: tus 1.0.0 (https://tus.io/protocols/resumable-upload), for uploads that go on where they broke. Parent.

Core, creation, creation-with-upload, creation-defer-length, expiration, checksum and termination. An offset that is
reported is on the disk. A finished upload becomes a job by itself where its metadata has `submit` (the options as
JSON), or by POST /v1/jobs with its id (finished.py).
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable
from email.utils import formatdate

from aiohttp import web

from btworker.errors import BtworkerError, ErrorCode
from btworker.receiving.received_file import ReceivedFile, too_large
from btworker.service.resumable_files import UPLOAD_ID, Resumable
from btworker.web.body import Body
from btworker.web.context import Context, caller_of, context_of
from btworker.web.jobs import admission
from btworker.web.middlewares import HTTP_STATUS, request_id_of, route_pattern
from btworker.web.tus.finished import check_metadata, read_metadata, submit

PATH = "/v1/uploads"
VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,creation-defer-length,expiration,checksum,termination"
CHECKSUMS = {"sha1": hashlib.sha1, "sha256": hashlib.sha256}
OFFSET_STREAM = "application/offset+octet-stream"
MAX_METADATA_CHARS = 40_000
"""Room for the longest prompt, 4,000 characters each written as an escape of JSON, and a name. What the parser lets
through in one header (web/connection.py) is little more, and it refuses without a word of explanation."""
_NUMBER = re.compile(r"[0-9]{1,16}")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def add_headers(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """on_response_prepare: every answer of these routes names the version, a refusal too."""
    if route_pattern(request).startswith(PATH):
        response.headers["Tus-Resumable"] = VERSION
        if response.status == HTTP_STATUS[ErrorCode.UNKNOWN_VERSION]:
            response.headers["Tus-Version"] = VERSION


async def options(request: web.Request) -> web.StreamResponse:
    """OPTIONS: what this server knows."""
    headers = {
        "Tus-Version": VERSION,
        "Tus-Extension": EXTENSIONS,
        "Tus-Max-Size": str(context_of(request).settings.max_file_bytes),
        "Tus-Checksum-Algorithm": ",".join(CHECKSUMS),
    }
    return web.Response(status=204, headers=headers)


async def create(request: web.Request) -> web.StreamResponse:
    """POST /v1/uploads: 201 and where the upload is; with a body also how far it is."""
    context = context_of(request)
    _check_version(request)
    admission.check_expectation(request)
    _check_is_whole(request)
    length = _length(request, context)
    metadata = request.headers.get("Upload-Metadata", "")
    if len(metadata) > MAX_METADATA_CHARS:
        raise _bad(f"Upload-Metadata has at most {MAX_METADATA_CHARS} characters", "Upload-Metadata")
    owner = caller_of(request).owner
    channels, needs = check_metadata(metadata, context, owner)
    if context.service.draining or read_metadata(metadata).submit is not None:
        context.service.check_accepts(owner)  # now, and not once all of it is here
    size = length or 0
    await admission.check_room(context, incoming_bytes=size, largest_bytes=size * channels, all_bytes=size)
    async with context.service.limits.counting(owner, size):
        context.service.limits.check_begun(owner)
        record = await context.resumable.create(length=length, metadata=metadata, owner=owner, needs=needs)
    headers = {"Location": f"{PATH}/{record.id}"}
    if request.content_type == OFFSET_STREAM and request.can_read_body:
        record = await _receive(request, context, record, offset=0)
    return await _answer(request, context, record, status=201, headers=headers)


async def look(request: web.Request) -> web.StreamResponse:
    """HEAD: how far the upload is."""
    context = context_of(request)
    _check_version(request)
    record = _record(request, context)
    headers = {"Cache-Control": "no-store"}
    headers |= {"Upload-Defer-Length": "1"} if record.length is None else {"Upload-Length": str(record.length)}
    if record.metadata:
        headers["Upload-Metadata"] = record.metadata
    return await _answer(request, context, record, status=200, headers=headers)


async def append(request: web.Request) -> web.StreamResponse:
    """PATCH: more bytes, from the offset that both sides agree on."""
    context = context_of(request)
    _check_version(request)
    admission.check_expectation(request)
    record = _record(request, context)
    if request.content_type != OFFSET_STREAM:
        raise BtworkerError(ErrorCode.UNSUPPORTED_MEDIA, f"send the bytes as {OFFSET_STREAM}")
    offset = _number(request, "Upload-Offset")
    if offset is None:
        raise _bad("Upload-Offset is missing", "Upload-Offset")
    if "Upload-Length" in request.headers:
        record = await _announced(context, record, _length(request, context) or 0)
    record = await _receive(request, context, record, offset=offset)
    return await _answer(request, context, record, status=204, headers={})


async def terminate(request: web.Request) -> web.StreamResponse:
    """DELETE: 204; from then on 410."""
    context = context_of(request)
    _check_version(request)
    await context.resumable.terminate(_record(request, context))
    return web.Response(status=204)


async def override(request: web.Request) -> web.StreamResponse:
    """POST to an upload: what X-HTTP-Method-Override says, for clients that know no PATCH."""
    method = request.headers.get("X-HTTP-Method-Override", "").upper()
    if method not in OVERRIDES:
        raise web.HTTPMethodNotAllowed(request.method, [*OVERRIDES, "OPTIONS"])
    return await OVERRIDES[method](request)


OVERRIDES: dict[str, Handler] = {"PATCH": append, "DELETE": terminate, "HEAD": look}
"""The methods that a POST can stand for."""


async def _receive(request: web.Request, context: Context, record: Resumable, *, offset: int) -> Resumable:
    """Keep what comes, whatever ends it; where a checksum was promised, only if it is right."""
    checksum = _checksum(request)
    room = context.settings.max_file_bytes if record.length is None else record.length
    if offset + (request.content_length or 0) > room:
        raise BtworkerError(ErrorCode.FILE_TOO_LARGE, f"these bytes end behind the upload's {room}")
    uploads = context.resumable
    async with uploads.writing(record, offset=offset, verified=checksum is None) as file:
        await admission.invite_body(request)
        with context.metrics.upload():
            await _read(request, context, file, room, None if checksum is None else checksum[0])
        if checksum is not None and not hmac.compare_digest(checksum[0].digest(), checksum[1]):
            raise BtworkerError(
                ErrorCode.CHECKSUM_MISMATCH, "the bytes are not those of Upload-Checksum; send them again"
            )
    return uploads.get(record.id)


async def _read(
    request: web.Request, context: Context, file: ReceivedFile, room: int, digest: "hashlib._Hash | None"
) -> None:
    body = Body(request, context.settings, context.receivers, on_bytes=context.metrics.upload_bytes)
    try:
        while chunk := await body.read():
            if file.size_bytes + len(chunk) > room:
                raise BtworkerError(ErrorCode.FILE_TOO_LARGE, f"these bytes end behind the upload's {room}")
            await file.add(chunk)
            if digest is not None:
                digest.update(chunk)
            await body.pour(file, digest=digest)
    finally:
        body.close()


async def _answer(
    request: web.Request, context: Context, record: Resumable, *, status: int, headers: dict[str, str]
) -> web.Response:
    """The upload's state as headers; a complete one that is to become a job does so first. Raises what submit does."""
    uploads = context.resumable
    job_id = record.job_id
    if job_id is None and uploads.is_complete(record):
        job_id = await submit(context, record, request_id=request_id_of(request))
    headers |= {"Upload-Offset": str(uploads.offset(uploads.get(record.id)))}
    headers |= {"Upload-Expires": formatdate(uploads.expires_at(record), usegmt=True)}
    return web.Response(status=status, headers=headers | ({} if job_id is None else {"Btworker-Job": job_id}))


async def _announced(context: Context, record: Resumable, length: int) -> Resumable:
    """An upload that began without a length has one from here on. Raises CONFLICT, QUOTA_EXCEEDED."""
    if record.length is not None:
        return await context.resumable.set_length(record, length)
    async with context.service.limits.counting(record.owner, max(length - context.resumable.offset(record), 0)):
        return await context.resumable.set_length(record, length)


def _record(request: web.Request, context: Context) -> Resumable:
    upload_id = request.match_info["upload_id"]
    if not UPLOAD_ID.fullmatch(upload_id):
        raise BtworkerError(ErrorCode.NOT_FOUND, "there is no such upload")
    return context.resumable.get(upload_id)


def _check_version(request: web.Request) -> None:
    if request.headers.get("Tus-Resumable") != VERSION:
        raise BtworkerError(ErrorCode.UNKNOWN_VERSION, f"send Tus-Resumable: {VERSION}, the only version here")


def _check_is_whole(request: web.Request) -> None:
    """Refuse what a creation asks for that is not here, before anything of it is kept. Raises BAD_REQUEST."""
    if "Upload-Concat" in request.headers:
        message = "concatenation (Upload-Concat) is not supported: send the file as one upload, in as many PATCHes as"
        raise _bad(f"{message} you like", "Upload-Concat")
    if request.query:
        message = "options do not stand in the address of an upload: put them as JSON into `submit` of Upload-Metadata"
        raise _bad(message, ascii(next(iter(request.query))[:64]))


def _length(request: web.Request, context: Context) -> int | None:
    length = _number(request, "Upload-Length")
    deferred = request.headers.get("Upload-Defer-Length")
    if (length is None) == (deferred is None) or deferred not in (None, "1"):
        raise _bad("send either Upload-Length or Upload-Defer-Length: 1", "Upload-Length")
    if length is not None and length > context.settings.max_file_bytes:
        raise too_large(context.settings)
    return length


def _number(request: web.Request, name: str) -> int | None:
    raw = request.headers.get(name)
    if raw is None:
        return None
    if not _NUMBER.fullmatch(raw):
        raise _bad(f"{name} must be a whole number of bytes", name)
    return int(raw)


def _checksum(request: web.Request) -> "tuple[hashlib._Hash, bytes] | None":
    raw = request.headers.get("Upload-Checksum")
    if raw is None:
        return None
    name, _, encoded = raw.partition(" ")
    if name not in CHECKSUMS:
        raise _bad(f"Upload-Checksum must be one of {', '.join(CHECKSUMS)}", "Upload-Checksum")
    try:
        return CHECKSUMS[name](), base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise _bad("Upload-Checksum must be an algorithm and base64", "Upload-Checksum") from None


def _bad(message: str, param: str) -> BtworkerError:
    return BtworkerError(ErrorCode.BAD_REQUEST, message, param=param)
