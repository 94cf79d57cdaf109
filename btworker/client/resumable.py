"""Sending one file so that it arrives, whatever happens on the way: tus 1.0.0, in pieces sized by time.

A broken line, a proxy that cuts long requests, a server that restarts: the upload goes on from what the server has.
"""

import asyncio
import base64
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp.abc import AbstractStreamWriter

from btworker.client.errors import BAD_ANSWER, RATE_LIMITED, ClientError, explained, refused
from btworker.client.files import send_file, size_of_file
from btworker.client.send import STORED_S
from btworker.client.trying import when_allowed
from btworker.client.unfinished import Note
from btworker.client.upload import ProgressCallback, StreamedBody, Wanted

TUS = {"Tus-Resumable": "1.0.0"}
SMALLEST_PIECE, FIRST_PIECE, LARGEST_PIECE = 2**20, 2**23, 2**26
"""Bytes. The largest passes proxies that take 100 MB at most."""
WORTH_REMEMBERING = FIRST_PIECE
"""A smaller file is one piece: there is nothing to go on with."""
PIECE_S = 10.0
"""Seconds that a piece should take: far below what proxies allow a request, long enough to cost nothing."""
LOCKED = 423
WITHDRAWALS, WITHDRAWAL_PAUSE_S = 30, 0.1
"""Tries: the server may still be busy with the piece that was broken off."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 5.0
PIECE_LIMIT_S = 1800.0
"""Seconds for a piece and its answer; 8 MB at 5 KB/s."""
PASSING = frozenset({408, 409, 423, 500})
"""Answers, beside those of a server that is away, after which the upload may go on."""
FULL = frozenset({"QUEUE_FULL", "QUOTA_EXCEEDED"})
"""Refusals that are told at once: nobody knows how long they hold."""
GONE = frozenset({404, 410})
"""The upload is not there any more: it has to begin anew."""
NOT_SPOKEN = frozenset({404, 405, 501})
"""How a server without resumable uploads answers to the first request."""
OFFSET_STREAM = "application/offset+octet-stream"
LONGEST_METADATA = 39_000
"""Characters: servers and proxies take little more in one header. With longer options a file is sent in one piece."""


class NotSpokenError(ClientError):
    """The server has no resumable uploads, or its headers have no room for the options."""

    def __init__(self) -> None:
        super().__init__(BAD_ANSWER, "the server takes no resumable uploads of this")


@dataclass(slots=True)
class _Way:
    """How far it is, and what it takes."""

    offset: int = 0
    piece_bytes: int = FIRST_PIECE
    moved_at: float = 0.0
    failures: int = 0


class ResumableUpload:
    """One file on its way to be a job with these options; without options, to lie at the server."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        base_url: str,
        path: Path,
        wanted: Wanted | None,
        *,
        patience_s: float,
        on_progress: ProgressCallback | None = None,
        on_away: Callable[[], None] | None = None,
        memory: Path | None = None,
    ) -> None:
        self._session = session
        self._base_url = base_url
        self._path = path
        self._wanted = wanted
        self._size = size_of_file(path)
        self._patience_s = patience_s
        self._on_progress = on_progress
        self._on_away = on_away
        self._failure: ClientError | None = None
        self._place = ""
        self._note = None
        if memory is not None and self._size >= WORTH_REMEMBERING:
            self._note = Note(memory, base_url, path, wanted or Wanted())
        self._voices = [
            ResumableUpload(session, base_url, voice, None, patience_s=patience_s, on_away=on_away)
            for voice in (wanted or Wanted()).voices
        ]

    async def send(self) -> str:
        """The id of the job that the file became; without options, that of the upload. Raises ClientError,
        NotSpokenError."""
        way = _Way(moved_at=time.monotonic())
        self._place, job_id = await self._begun(way)
        while job_id is None and (self._wanted is not None or way.offset < self._size):
            try:
                job_id = await self._next(self._place, way)
            except ClientError as error:
                job_id = await self._recover(self._place, way, error)
        if self._note is not None:
            self._note.drop()
        return job_id or self._place.rpartition("/")[2]

    async def withdraw(self) -> str | None:
        """After `send` was canceled: delete what has arrived; the job's id where it is one already."""
        made = await self._withdraw()
        if made is None:
            await self._withdraw_voices()
        return made

    async def _withdraw(self) -> str | None:
        for _ in range(WITHDRAWALS if self._place else 0):
            try:
                if job_id := (await self._ask("HEAD", self._place, {})).get("Btworker-Job"):
                    return job_id
                await self._ask("DELETE", self._place, {})
            except ClientError as error:
                if error.status != LOCKED:
                    return None
            else:
                return None
            await asyncio.sleep(WITHDRAWAL_PAUSE_S)
        return None

    async def _begun(self, way: _Way) -> tuple[str, str | None]:
        """Where the upload is, and the job that it is already: the one that an earlier run left, or a new one."""
        place = None if self._note is None else self._note.read()
        if place is not None:
            try:
                answer = await self._ask("HEAD", place, {})
                self._arrived(way, answer)
                return place, answer.get("Btworker-Job")
            except ClientError as error:
                if error.away:
                    raise
        place = await when_allowed(self._create)
        if self._note is not None:
            self._note.write(place)
        return place, None

    async def _create(self) -> str:
        if self._size == 0:
            raise ClientError("EMPTY_FILE", f"{self._path} is empty")
        if self._wanted is not None and self._wanted.has_large_voice:
            raise NotSpokenError
        try:
            voices = [await voice.send() for voice in self._voices]
            return await self._create_with(self._metadata(voices))
        except ClientError:
            await self._withdraw_voices()
            raise

    async def _withdraw_voices(self) -> None:
        for voice in self._voices:
            await voice.withdraw()

    def _metadata(self, voices: Sequence[str]) -> str:
        """Upload-Metadata; `voices` are ids of uploads. Raises NotSpokenError where it is too long."""
        values = {"filename": self._path.name}
        if self._wanted is not None:
            values["submit"] = json.dumps(self._wanted.with_voices(voices), ensure_ascii=False)
        encoded = _encoded(values)
        if len(encoded) > LONGEST_METADATA:
            raise NotSpokenError
        return encoded

    async def _create_with(self, metadata: str) -> str:
        headers = {"Upload-Length": str(self._size), "Upload-Metadata": metadata}
        try:
            answer = await self._ask("POST", "/v1/uploads", headers)
        except ClientError as error:
            if error.status in NOT_SPOKEN:
                raise NotSpokenError from None
            raise
        place = answer.get("Location", "")
        if not place.startswith("/v1/uploads/"):
            raise ClientError(BAD_ANSWER, f"{self._base_url} began an upload, but did not say where")
        return place

    async def _next(self, place: str, way: _Way) -> str | None:
        """Send one more piece; the job's id after the last."""
        start = time.monotonic()
        length = min(way.piece_bytes, self._size - way.offset)
        headers = {"Upload-Offset": str(way.offset)}
        answer = await self._ask("PATCH", place, headers, self._piece(way.offset, length))
        self._arrived(way, answer)
        way.piece_bytes = _paced(way.piece_bytes, time.monotonic() - start)
        return answer.get("Btworker-Job")

    async def _recover(self, place: str, way: _Way, error: ClientError) -> str | None:
        """Wait, then ask how far the upload is; the job's id where only its answer was lost. Raises what cannot be
        waited for."""
        if error.code == RATE_LIMITED:
            await asyncio.sleep(error.pause_s)
            return None
        lost = error.away or error.code == BAD_ANSWER or error.status in PASSING
        if not lost or error.status in GONE or error.code in FULL or time.monotonic() - way.moved_at > self._patience_s:
            raise error
        way.piece_bytes = max(SMALLEST_PIECE, way.piece_bytes // 2)
        way.failures += 1
        if self._on_away is not None:
            self._on_away()
        if way.failures > 1:  # the first one may be a proxy that cuts, and then there is nothing to wait for
            await asyncio.sleep(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(way.failures - 2, 10)))
        try:
            answer = await self._ask("HEAD", place, {})
            self._arrived(way, answer)
            return answer.get("Btworker-Job")
        except ClientError as another:
            if another.status in GONE or time.monotonic() - way.moved_at > self._patience_s:
                raise
        return None

    def _arrived(self, way: _Way, answer: Mapping[str, str]) -> None:
        raw = answer.get("Upload-Offset", "")
        if not raw.isdecimal() or int(raw) > self._size:
            raise ClientError(BAD_ANSWER, f"{self._base_url} did not say how far the upload is")
        if int(raw) > way.offset:
            way.moved_at, way.failures = time.monotonic(), 0
        way.offset = int(raw)
        self._emit_progress(way.offset)

    def _emit_progress(self, sent_bytes: int) -> None:
        if self._on_progress is not None:
            self._on_progress(sent_bytes, self._size)

    def _piece(self, offset: int, length: int) -> StreamedBody:
        """A part of the file as a request's body, read as it is sent."""
        return StreamedBody(lambda writer: self._write(writer, offset, length), length, OFFSET_STREAM)

    async def _write(self, writer: AbstractStreamWriter, offset: int, length: int) -> None:
        """Send a part of the file. A local fault is kept: aiohttp would report a lost connection."""

        async def write(chunk: bytes) -> None:
            nonlocal offset
            await writer.write(chunk)
            offset += len(chunk)
            self._emit_progress(offset)

        try:
            await send_file(self._path, offset, length, write)
        except ClientError as error:
            self._failure = error
            raise

    async def _ask(
        self, method: str, path: str, headers: dict[str, str], body: aiohttp.Payload | None = None
    ) -> Mapping[str, str]:
        """The headers of a good answer. Raises ClientError."""
        timeout = aiohttp.ClientTimeout(total=PIECE_LIMIT_S, sock_connect=10.0, sock_read=STORED_S)
        try:
            with explained(self._base_url):
                async with self._session.request(
                    method,
                    self._base_url + path,
                    data=body,
                    headers={**TUS, **headers},
                    timeout=timeout,
                    allow_redirects=False,
                ) as response:
                    if not 200 <= response.status < 300:
                        raise await refused(response)
                    return response.headers
        except ClientError:
            if self._failure is not None:
                raise self._failure from None
            raise


def _paced(piece_bytes: int, took_s: float) -> int:
    """The next piece: at most twice this one, and no longer than PIECE_S at this pace."""
    wanted = int(piece_bytes * min(2.0, PIECE_S / max(took_s, 0.001)))
    return max(SMALLEST_PIECE, min(LARGEST_PIECE, wanted))


def _encoded(metadata: Mapping[str, str]) -> str:
    def value(text: str) -> str:
        return base64.b64encode(text.encode("utf-8", "replace")).decode()

    return ",".join(f"{name} {value(text)}" for name, text in metadata.items())
