"""HTTP as a careless client speaks it: one connection a request, and uploads that may break off anywhere."""

import asyncio
import hashlib
import json
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.chaos.plan import JobPlan
from tests.process.server_of import TOKEN

PIECE_BYTES = 2**16
BOUNDARY = "a-boundary-of-chaos"
TIMEOUT_S = 120.0
FILLER = bytes((number * 37 + 11) % 251 for number in range(PIECE_BYTES))
NO_ANSWER = (ConnectionError, OSError, asyncio.TimeoutError, EOFError, ValueError)
"""What it looks like when a server dies, or breaks off, in the middle of an answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and JSON (None: empty)."""

    status: int
    body: Any


@dataclass(frozen=True, slots=True)
class Break:
    """End the connection after so many bytes of the body: by RST, or by a FIN as from a client that exits."""

    after_bytes: int
    hard: bool


class Body:
    """The multipart body of one planned job; the same bytes every time."""

    def __init__(self, plan: JobPlan) -> None:
        self.plan = plan
        self.text = text_of(plan)
        self._line = self.text.encode() + b"\n"
        prompt = json.dumps({"number": plan.number, "steps": list(plan.steps)})
        disposition = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="'
        self._head = (
            f'{disposition}prompt"\r\n\r\n{prompt}\r\n{disposition}file"; filename="talk-{plan.number}.wav"\r\n\r\n'
        ).encode()
        self._tail = f"\r\n--{BOUNDARY}--\r\n".encode()
        self._size_bytes = max(plan.size_bytes, len(self._line))

    @property
    def length(self) -> int:
        """Bytes of the whole body."""
        return len(self._head) + self._size_bytes + len(self._tail)

    @property
    def sha256(self) -> str:
        """Of the file in it."""
        sha256 = hashlib.sha256()
        for piece in self._file():
            sha256.update(piece)
        return sha256.hexdigest()

    def pieces(self) -> Iterator[bytes]:
        """The body, piece by piece."""
        yield self._head
        yield from self._file()
        yield self._tail

    def _file(self) -> Iterator[bytes]:
        yield self._line
        left = self._size_bytes - len(self._line)
        while left > 0:
            yield FILLER[:left]
            left -= PIECE_BYTES


def text_of(plan: JobPlan) -> str:
    """The "speech" in a job's file; it has to come back as its transcript."""
    return f"the words of submission {plan.number}"


async def request(url: str, method: str, path: str) -> Answer:
    """One request without a body. Raises one of NO_ANSWER."""
    return await asyncio.wait_for(_exchange(url, _head(method, path, url)), TIMEOUT_S)


async def fetch(url: str, path: str) -> bytes:
    """One body as bytes. Raises one of NO_ANSWER."""
    status, content = await asyncio.wait_for(_raw_exchange(url, _head("GET", path, url)), TIMEOUT_S)
    if status != 200:
        raise ValueError(f"GET {path}: {status}")
    return content


async def upload(url: str, body: Body, *, pause_s: float = 0.0, broken: Break | None = None) -> Answer:
    """POST /v1/jobs. `pause_s` is waited after each piece; `broken` ends it early (and raises ConnectionError)."""
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", "Content-Length": str(body.length)}
    if body.plan.key is not None:
        headers["Idempotency-Key"] = body.plan.key
    head = _head("POST", "/v1/jobs", url, **headers)
    return await asyncio.wait_for(_exchange(url, head, body, pause_s=pause_s, broken=broken), TIMEOUT_S)


def _head(method: str, path: str, url: str, **headers: str) -> bytes:
    lines = {"Host": urlsplit(url).netloc, "Authorization": f"Bearer {TOKEN}", "Connection": "close", **headers}
    text = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in lines.items()), "", ""]
    return "\r\n".join(text).encode()


async def _exchange(
    url: str, head: bytes, body: Body | None = None, *, pause_s: float = 0.0, broken: Break | None = None
) -> Answer:
    status, content = await _raw_exchange(url, head, body, pause_s=pause_s, broken=broken)
    return Answer(status, json.loads(content) if content else None)


async def _raw_exchange(
    url: str, head: bytes, body: Body | None = None, *, pause_s: float = 0.0, broken: Break | None = None
) -> tuple[int, bytes]:
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    try:
        writer.write(head)
        with suppress(ConnectionError):  # an early answer closes the connection: it may be there to be read
            for piece in _until_broken(body, broken):
                writer.write(piece)
                await writer.drain()
                if pause_s:
                    await asyncio.sleep(pause_s)
        if broken is not None:
            if broken.hard:
                _reset_on_close(writer)
            raise ConnectionResetError("as planned")
        return _parse(await reader.read())
    finally:
        writer.transport.abort()


def _until_broken(body: Body | None, broken: Break | None) -> Iterator[bytes]:
    left = broken.after_bytes if broken else 2**62
    for piece in body.pieces() if body else ():
        yield piece[:left]
        left -= len(piece)
        if left <= 0:
            return


def _reset_on_close(writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _parse(raw: bytes) -> tuple[int, bytes]:
    """Status and content. Raises ValueError where the answer is not whole."""
    head, separator, content = raw.partition(b"\r\n\r\n")
    if not separator:
        raise EOFError("no answer")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if int(headers.get("content-length", "0")) != len(content):
        raise EOFError("half an answer")
    return int(lines[0].split()[1]), content
