"""A request's multipart body as a stream of parts, with every limit that keeps a hostile one small. Parent.

    Body.read (web/body.py) --> PartParser.feed --> PartHead | bytes | None (its end)

The parser is `multipart` (sans-IO, bytes.find for the boundary: 5 GiB/s); aiohttp's own copies each chunk five times
and scans a preamble without bounds. client_max_size plays no part: nothing here gathers a body.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import multipart

from btworker.errors import BtworkerError, ErrorCode

MAX_IDLE_BYTES = 2**16
"""Bytes of a body that may belong to no part: before the first boundary and after the last, however they arrive."""
MAX_HEADER_BYTES = 8192
MAX_HEADERS = 16
MAX_BOUNDARY_CHARS = 70
_BOUNDARY_PARAMETER = re.compile(r';\s*boundary\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;"]*))', re.IGNORECASE)
_FORBIDDEN_IN_BOUNDARY = re.compile(r"[^0-9A-Za-z'()+_,./:=? -]")
"""What RFC 2046 does not allow in one."""
_AS_IT_IS = ("", "binary", "8bit", "7bit")


@dataclass(frozen=True, slots=True)
class PartHead:
    """How a part begins. `headers` has names in Title-Case; `filename` is as it was sent, None for a plain field."""

    name: str
    filename: str | None
    headers: dict[str, str]


PartEvent = PartHead | bytes | None


def boundary_of(content_type: str) -> str:
    """The boundary in a Content-Type; also one with `/` or `=` that should stand in quotes. Raises BAD_MULTIPART."""
    found = _BOUNDARY_PARAMETER.search(content_type)
    quoted, bare = found.groups() if found else (None, "")
    boundary = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else bare.strip()
    if wrong := _wrong_with(boundary):
        raise BtworkerError(ErrorCode.BAD_MULTIPART, f"the boundary in the Content-Type {wrong}")
    return boundary


def _wrong_with(boundary: str) -> str:
    """What RFC 2046 forbids about a boundary; empty where it allows it."""
    if not boundary:
        return "of multipart/form-data is missing or empty"
    if len(boundary) > MAX_BOUNDARY_CHARS:
        return f"has {len(boundary)} characters; at most {MAX_BOUNDARY_CHARS} are allowed (RFC 2046)"
    if forbidden := _FORBIDDEN_IN_BOUNDARY.search(boundary):
        return f"has the character {forbidden[0]!a}, which RFC 2046 forbids; take letters and digits"
    return "ends with a space, which RFC 2046 forbids" if boundary.endswith(" ") else ""


def decoded(raw: bytes) -> str:
    """Text that should be UTF-8. What is not is taken for the code page of a Western Windows, the likeliest of those
    that programs send without saying so: a name that is spelled wrongly costs nothing, a refusal costs the upload."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("cp1252", "replace")


class _Parser(multipart.PushMultipartParser):  # type: ignore[misc]  # it carries no types
    """A parser for heads in any encoding: told that they are Latin-1, which every byte is, it splits them; they are
    decoded before their parameters are read."""

    head_bytes = 0
    """About what the latest head took on the wire."""

    @property
    def delimiter(self) -> bytes:
        """What ends a part."""
        raw: bytes = self._delimiter
        return raw

    @property
    def holds_back(self) -> bool:
        """Whether bytes were kept that may be the beginning of a delimiter."""
        return bool(self._buffer)

    def pass_over(self, count: int) -> None:
        """Count bytes of the open part that went another way, for its Content-Length. Raises MultipartError."""
        self._segment.bytes_received += count
        self._on_segment_payload(b"")

    def _create_segment(self, headerlist: list[tuple[str, str]]) -> Any:
        self.head_bytes = sum(len(name) + len(value) + len(": \r\n") for name, value in headerlist) + len("\r\n")
        return super()._create_segment([(name, decoded(value.encode("latin-1"))) for name, value in headerlist])


class PartParser:
    """Chunks in, events out: a head opens a part, bytes belong to it, None closes it."""

    def __init__(self, boundary: str, *, max_parts: int) -> None:
        self._parser = _Parser(
            boundary,
            max_header_size=MAX_HEADER_BYTES,
            max_header_count=MAX_HEADERS,
            max_segment_count=max_parts,
            header_charset="latin-1",
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
                    self._outside_bytes -= self._boundary_bytes + self._parser.head_bytes
                yield event if event is None or isinstance(event, bytes) else _head(event)
        except multipart.MultipartError as error:
            raise self._refusal(f"is not valid: {_plain(error)}") from None
        if self._outside_bytes > MAX_IDLE_BYTES:
            raise self._refusal("has too many bytes outside of its parts")

    @property
    def delimiter(self) -> bytes:
        """What ends a part's bytes: the line break before the boundary, and the boundary."""
        return self._parser.delimiter

    @property
    def holds_back(self) -> bool:
        """Whether bytes of the open part were fed and have not come out yet."""
        return self._parser.holds_back

    def pass_over(self, count: int) -> None:
        """So many bytes of the open part went another way. Raises BAD_MULTIPART."""
        try:
            self._parser.pass_over(count)
        except multipart.MultipartError as error:
            raise self._refusal(f"is not valid: {_plain(error)}") from None

    def close(self) -> None:
        """The body has ended. Raises BAD_MULTIPART when the last boundary has not come."""
        try:
            self._parser.close()
        except multipart.MultipartError:
            raise self._refusal("ends before its last boundary: it was cut off") from None

    def _refusal(self, what: str) -> BtworkerError:
        """A body in which no part was found most likely has another boundary than its Content-Type."""
        if not self._parser.head_bytes:
            what += "; no part of it begins with the boundary in the Content-Type"
        return BtworkerError(ErrorCode.BAD_MULTIPART, f"the multipart body {what}")


def _head(segment: Any) -> PartHead:
    return PartHead(segment.name or "", segment.filename, dict(segment.headerlist))


def _plain(error: Exception) -> str:
    return str(error.args[0]).lower() if error.args else "malformed"


def check_part_encoding(head: PartHead) -> None:
    """A part's bytes are the file's bytes: no transfer encoding, no compression, no parts inside a part."""
    if head.headers.get("Content-Transfer-Encoding", "").strip().lower() not in _AS_IT_IS:
        raise BtworkerError(ErrorCode.BAD_MULTIPART, "send parts as they are, without a Content-Transfer-Encoding")
    if head.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise BtworkerError(ErrorCode.UNSUPPORTED_MEDIA, "send parts without a Content-Encoding")
    if head.headers.get("Content-Type", "").lower().startswith("multipart/"):
        raise BtworkerError(ErrorCode.BAD_MULTIPART, "a part must not be multipart itself: send each file as a part")
