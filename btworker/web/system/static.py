"""Texts that never change, held in memory, plain and compressed once: /openapi.json and what its page loads. Parent.

They are sent in pieces of the one copy: a client that does not read costs one buffer, whatever the size.
"""

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from types import MappingProxyType

from aiohttp import hdrs, web

PIECE_BYTES = 2**16


@dataclass(frozen=True, slots=True)
class Static:
    """One text as it is sent."""

    plain: bytes
    packed: bytes
    """The same by gzip."""
    content_type: str
    sha256: str
    """Of the plain one, in hex."""

    @classmethod
    def of(cls, plain: bytes, content_type: str) -> "Static":
        """Blocking: compress it."""
        return cls(plain, gzip.compress(plain, mtime=0), content_type, sha256(plain).hexdigest())


async def send_static(
    request: web.Request, static: Static, more: Mapping[str, str] = MappingProxyType({})
) -> web.StreamResponse:
    """The text, compressed where the client takes that; 304 where it has it already. `more`: headers."""
    is_packed = _takes_gzip(request)
    etag = f'"{static.sha256}{"-gzip" if is_packed else ""}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding", **more}
    if etag in (tag.strip().removeprefix("W/") for tag in request.headers.get("If-None-Match", "").split(",")):
        return web.Response(status=304, headers=headers)
    response = web.StreamResponse(headers={"Content-Type": static.content_type, **headers})
    body = memoryview(static.packed if is_packed else static.plain)
    if is_packed:
        response.headers["Content-Encoding"] = "gzip"
    response.content_length = len(body)
    await response.prepare(request)
    for start in range(0, 0 if request.method == hdrs.METH_HEAD else len(body), PIECE_BYTES):
        await response.write(body[start : start + PIECE_BYTES])
    await response.write_eof()
    return response


def _takes_gzip(request: web.Request) -> bool:
    offered = (one.partition(";") for one in request.headers.get("Accept-Encoding", "").lower().split(","))
    return any(name.strip() == "gzip" and weight.strip() not in ("q=0", "q=0.0") for name, _, weight in offered)
