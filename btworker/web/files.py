"""A finished file as an answer: ranges, a strong ETag from the stored SHA-256, Content-Disposition. Parent.

aiohttp's FileResponse would make its ETag of time and size, and read in a shared executor; files here never change,
and their hash is known.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from aiohttp import web

from btworker.errors import ErrorCode
from btworker.outputs import CONTENT_TYPES
from btworker.storage import DataFolder
from btworker.web.middlewares import error_response

CHUNK_BYTES = 2**18
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file to send: where it lies, how it is called, and its SHA-256 in hex."""

    path: Path
    filename: str
    sha256: str
    content_type: str = ""
    """Empty: that of the outputs with its suffix."""

    @property
    def etag(self) -> str:
        """The strong entity tag, with its quotes."""
        return f'"{self.sha256}"'


async def send_file(request: web.Request, data: DataFolder, stored: StoredFile) -> web.StreamResponse:
    """The whole file, a part of it (206), nothing new (304), or why not (412, 416). Raises FileNotFoundError."""
    if (unneeded := _unneeded(request, stored)) is not None:
        return unneeded
    file = await data.run(open, stored.path, "rb", buffering=0)
    try:
        size_bytes = (await data.run(os.fstat, file.fileno())).st_size
        span = wanted_range(request, stored.etag, size_bytes)
        if span is not None and not span:
            return _no_such_bytes(size_bytes)
        return await _stream(request, data, stored, file, span=span, size_bytes=size_bytes)
    finally:
        await data.run(file.close)


def content_answer(request: web.Request, content: bytes, filename: str, content_type: str) -> web.StreamResponse:
    """The same for a content that is in no file."""
    stored = StoredFile(Path(), filename, hashlib.sha256(content).hexdigest(), content_type)
    if (unneeded := _unneeded(request, stored)) is not None:
        return unneeded
    span = wanted_range(request, stored.etag, len(content))
    if span is None:
        return web.Response(body=content, headers=_headers(stored))
    if not span:
        return _no_such_bytes(len(content))
    headers = {**_headers(stored), "Content-Range": _content_range(span, len(content))}
    return web.Response(status=206, body=content[span.start : span.stop], headers=headers)


def _unneeded(request: web.Request, stored: StoredFile) -> web.Response | None:
    """412 or 304 where the client's conditions ask for no content; in this order, as RFC 9110 has it."""
    if "If-Match" in request.headers and not _lists(request.headers["If-Match"], stored.etag, weak=False):
        return error_response(ErrorCode.CONFLICT, "the file has another ETag", status=412)
    if _lists(request.headers.get("If-None-Match"), stored.etag, weak=True):
        return web.Response(status=304, headers=_headers(stored))
    return None


def _no_such_bytes(size_bytes: int) -> web.Response:
    response = error_response(ErrorCode.RANGE_NOT_SATISFIABLE, f"the file has {size_bytes} bytes")
    response.headers["Content-Range"] = f"bytes */{size_bytes}"
    return response


def _content_range(span: range, size_bytes: int) -> str:
    return f"bytes {span.start}-{span.stop - 1}/{size_bytes}"


async def _stream(
    request: web.Request, data: DataFolder, stored: StoredFile, file: BinaryIO, *, span: range | None, size_bytes: int
) -> web.StreamResponse:
    part = range(size_bytes) if span is None else span
    response = web.StreamResponse(status=200 if span is None else 206, headers=_headers(stored))
    response.content_length = len(part)
    if span is not None:
        response.headers["Content-Range"] = _content_range(span, size_bytes)
    await response.prepare(request)
    offset = part.start
    while offset < part.stop and request.method != "HEAD":
        chunk = await data.run(os.pread, file.fileno(), min(CHUNK_BYTES, part.stop - offset), offset)
        if not chunk:
            raise ConnectionResetError("the file became shorter while it was sent")
        await response.write(chunk)
        offset += len(chunk)
    await response.write_eof()
    return response


def wanted_range(request: web.Request, etag: str, size_bytes: int) -> range | None:
    """The asked-for bytes, empty when the file has none of them; None for the whole file.

    A header that is malformed or asks for several ranges is ignored, as RFC 9110 allows, and one of a HEAD, as it says.
    """
    match = _RANGE.fullmatch(request.headers.get("Range", "")) if request.method == "GET" else None
    if match is None or match[0][-2:] == "=-" or request.headers.get("If-Range", etag) != etag:
        return None
    first, last = match.groups()
    if not first:
        return range(max(size_bytes - int(last), 0), size_bytes)
    if last and int(last) < int(first):
        return None
    return range(int(first), min(int(last) + 1, size_bytes) if last else size_bytes)


def _lists(header: str | None, etag: str, *, weak: bool) -> bool:
    """Whether an If-Match or If-None-Match header names this tag."""
    tags = [tag.strip() for tag in (header or "").split(",")]
    return "*" in tags or etag in tags or (weak and f"W/{etag}" in tags)


def _headers(stored: StoredFile) -> dict[str, str]:
    return {
        "Content-Type": stored.content_type or CONTENT_TYPES.get(stored.path.suffix, "application/octet-stream"),
        "Content-Disposition": content_disposition(stored.filename),
        "ETag": stored.etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
    }


def content_disposition(filename: str) -> str:
    """An attachment's name by RFC 6266 with RFC 8187 for what ASCII cannot say; no character can break the header."""
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%;' else "_" for c in filename)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='', errors='replace')}"
