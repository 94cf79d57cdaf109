"""Bytes to a server and back, with a deadline and without a client library's opinions; and the server's memory."""

import re
import select
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.process.server_of import TOKEN

DEADLINE_S = 60.0
"""For an answer on a machine that is busy with other things; what is promised is far less."""
AUTH = f"Authorization: Bearer {TOKEN}"
BOUNDARY = "----security-boundary"
LAST = f"GET /health/live HTTP/1.1\r\nHost: t\r\nX-Request-Id: last\r\nConnection: close\r\n{AUTH}\r\n\r\n".encode()
"""A request that ends a connection: where the server still listens, this is its last answer."""
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")


@dataclass(frozen=True, slots=True)
class Answer:
    """The first answer of a connection, and what came altogether until the server closed."""

    raw: bytes
    seconds: float

    @property
    def statuses(self) -> list[int]:
        """The status of every answer on the connection."""
        return [int(number) for number in _STATUS.findall(self.raw)]

    @property
    def status(self) -> int:
        """The first one; 0 where the server just closed."""
        return self.statuses[0] if self.statuses else 0

    @property
    def head(self) -> str:
        """Status line and headers of the first answer."""
        return self.raw.partition(b"\r\n\r\n")[0].decode("latin-1")

    @property
    def body(self) -> bytes:
        """What follows the first head."""
        return self.raw.partition(b"\r\n\r\n")[2]


def exchange(port: int, pieces: Iterable[bytes], *, deadline_s: float = DEADLINE_S) -> Answer:
    """Send all pieces while reading, until the server closes or an answer that says `Connection: close` is complete."""
    began = time.monotonic()
    found = bytearray()
    with socket.create_connection(("127.0.0.1", port), deadline_s) as sock:
        sock.setblocking(False)
        todo, pending = iter(pieces), memoryview(b"")
        sending = True
        while True:
            if sending and not pending:
                piece = next(todo, None)
                sending, pending = piece is not None, memoryview(piece or b"")
            left = began + deadline_s - time.monotonic()
            assert left > 0, f"no end after {deadline_s} s; so far: {bytes(found[:300])!r}"
            readable, writable, _ = select.select([sock], [sock] if sending else [], [], left)
            if readable and not _take(sock, found):
                return Answer(bytes(found), time.monotonic() - began)
            if writable and not readable:
                sending, pending = _give(sock, pending)


def _take(sock: socket.socket, found: bytearray) -> bool:
    try:
        data = sock.recv(1 << 20)
    except ConnectionError:
        return False
    found += data
    return bool(data) and not _is_last(found)


def _is_last(found: bytearray) -> bool:
    """Whether the last answer has come whole and announced the end of the connection."""
    head, mark, body = found[found.rfind(b"HTTP/1.") :].partition(b"\r\n\r\n")
    length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
    return bool(mark) and b"connection: close" in head.lower() and length is not None and len(body) >= int(length[1])


def _give(sock: socket.socket, pending: memoryview) -> tuple[bool, memoryview]:
    try:
        return True, pending[sock.send(pending) :]
    except ConnectionError:
        return False, memoryview(b"")


def head(method: str = "POST", target: str = "/v1/jobs", *headers: str, token: bool = True) -> bytes:
    """A request's head; latin-1, so that any byte can be written."""
    lines = [f"{method} {target} HTTP/1.1", "Host: t", *([AUTH] if token else []), *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def upload_head(*headers: str, boundary: str = BOUNDARY) -> bytes:
    """The head of an upload that is the only request of its connection."""
    return head(
        "POST", "/v1/jobs", f"Content-Type: multipart/form-data; boundary={boundary}", "Connection: close", *headers
    )


def upload(port: int, body: bytes, *headers: str) -> Answer:
    """A form with its length."""
    return exchange(port, [upload_head(f"Content-Length: {len(body)}", *headers), body])


def part(content: bytes, *headers: str) -> bytes:
    """One part of a form with the usual boundary."""
    lines = "".join(f"{line}\r\n" for line in headers).encode("utf-8", "surrogateescape")
    return b"--" + BOUNDARY.encode() + b"\r\n" + lines + b"\r\n" + content + b"\r\n"


def file_part(content: bytes = b"speech", name: str = "talk.wav", *headers: str) -> bytes:
    """A file; the name is sent as it is."""
    return part(content, f'Content-Disposition: form-data; name="file"; filename="{name}"', *headers)


def field_part(name: str, value: str) -> bytes:
    """A form field."""
    return part(value.encode(), f'Content-Disposition: form-data; name="{name}"')


def form(*parts: bytes) -> bytes:
    """The parts and the last boundary."""
    return b"".join(parts) + b"--" + BOUNDARY.encode() + b"--\r\n"


def chunked(body: bytes, size: int) -> bytes:
    """A body in chunks of this size, with its last one."""
    cuts = (body[at : at + size] for at in range(0, len(body), size))
    return b"".join(b"%x\r\n%b\r\n" % (len(cut), cut) for cut in cuts) + b"0\r\n\r\n"


class Memory:
    """The resident memory of a process, and its highest mark since `start`."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")
        self.before_bytes = 0
        self.start()

    def start(self) -> None:
        """Forget earlier marks."""
        (self._folder / "clear_refs").write_text("5")
        self.before_bytes = self._read("VmRSS")

    @property
    def grown_bytes(self) -> int:
        """How far the highest mark lies above the start."""
        return self._read("VmHWM") - self.before_bytes

    def _read(self, name: str) -> int:
        lines = (self._folder / "status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
