"""A request's multipart body as a stream of parts, with every limit that keeps a hostile one small. Parent.

    request.content --(idle deadline)--> Body.read --> PartParser.feed --> PartHead | bytes | None (its end)

The parser is `multipart` (sans-IO, bytes.find for the boundary: 5 GiB/s); aiohttp's own copies each chunk five times
and scans a preamble without bounds. client_max_size plays no part: nothing here gathers a body.
"""

import asyncio
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import multipart
from aiohttp import StreamReader, web

from btworker.errors import BtworkerError, ErrorCode

MAX_IDLE_BYTES = 2**16
"""Bytes of a body that may belong to no part: before the first boundary and after the last, however they arrive."""
MAX_HEADER_BYTES = 8192
MAX_HEADERS = 16
MAX_BOUNDARY_CHARS = 200
_BOUNDARY = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")


@dataclass(frozen=True, slots=True)
class PartHead:
    """How a part begins. `headers` has names in Title-Case; `filename` is as it was sent, None for a plain field."""

    name: str
    filename: str | None
    headers: dict[str, str]


PartEvent = PartHead | bytes | None


def boundary_of(content_type: str) -> str:
    """The boundary in a Content-Type. Raises BAD_MULTIPART."""
    boundary = multipart.parse_options_header(content_type)[1].get("boundary", "")
    if len(boundary) > MAX_BOUNDARY_CHARS or not _BOUNDARY.fullmatch(boundary):
        raise BtworkerError(ErrorCode.BAD_MULTIPART, "the Content-Type of multipart/form-data needs a valid boundary")
    return str(boundary)


class Body:
    """Reads a body with a deadline for silence; only the client's silence counts, not our own disk's."""

    def __init__(self, stream: StreamReader, *, idle_s: float, on_bytes: Callable[[int], None]) -> None:
        self._stream = stream
        self._idle_s = idle_s
        self._on_bytes = on_bytes
        self._deadline: float | None = None
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(idle_s, self._look)

    def close(self) -> None:
        """Stop the timer."""
        self._timer.cancel()

    async def read(self) -> bytes:
        """All that has arrived, at least one byte; empty at the end. Raises IDLE_TIMEOUT, BAD_MULTIPART."""
        self._deadline = self._loop.time() + self._idle_s
        try:
            chunk = await self._stream.readany()
        except (ConnectionError, web.RequestPayloadError):
            raise BtworkerError(ErrorCode.BAD_MULTIPART, "the upload ended before it was complete") from None
        finally:
            self._deadline = None
        self._on_bytes(len(chunk))
        return chunk

    def _look(self) -> None:
        now = self._loop.time()
        if self._deadline is not None and now >= self._deadline:
            message = f"nothing arrived for {self._idle_s:g} seconds"
            self._stream.set_exception(BtworkerError(ErrorCode.IDLE_TIMEOUT, message))
        else:
            wait_s = self._idle_s if self._deadline is None else self._deadline - now
            self._timer = self._loop.call_later(max(wait_s, 0.01), self._look)


class PartParser:
    """Chunks in, events out: a head opens a part, bytes belong to it, None closes it."""

    def __init__(self, boundary: str, *, max_parts: int) -> None:
        self._parser = multipart.PushMultipartParser(
            boundary,
            max_header_size=MAX_HEADER_BYTES,
            max_header_count=MAX_HEADERS,
            max_segment_count=max_parts,
        )
        self._boundary_bytes = len(boundary) + len("\r\n--\r\n")
        self._outside_bytes = 0

    def feed(self, chunk: bytes) -> Iterator[PartEvent]:
        """The events of one more chunk; use them all before the next. Raises BAD_MULTIPART."""
        self._outside_bytes += len(chunk)
        try:
            for event in self._parser.parse(chunk):
                if isinstance(event, bytes):
                    self._outside_bytes -= len(event)
                elif event is not None:
                    self._outside_bytes -= self._boundary_bytes + _head_bytes(event)
                yield event if event is None or isinstance(event, bytes) else _head(event)
        except multipart.MultipartError as error:
            raise BtworkerError(ErrorCode.BAD_MULTIPART, f"the multipart body is not valid: {_plain(error)}") from None
        if self._outside_bytes > MAX_IDLE_BYTES:
            raise BtworkerError(ErrorCode.BAD_MULTIPART, "the multipart body has too many bytes outside of its parts")

    def close(self) -> None:
        """The body has ended. Raises BAD_MULTIPART when the last boundary has not come."""
        try:
            self._parser.close()
        except multipart.MultipartError:
            raise BtworkerError(
                ErrorCode.BAD_MULTIPART, "the multipart body ends before its last boundary: it was cut off"
            ) from None


def _head(segment: Any) -> PartHead:
    return PartHead(segment.name or "", segment.filename, dict(segment.headerlist))


def _head_bytes(segment: Any) -> int:
    """About the bytes that a part's head took on the wire."""
    return sum(len(name) + len(value.encode()) + len(": \r\n") for name, value in segment.headerlist) + len("\r\n")


def _plain(error: Exception) -> str:
    return str(error.args[0]).lower() if error.args else "malformed"
