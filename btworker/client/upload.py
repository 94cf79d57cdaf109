"""A multipart/form-data body that streams files from disk, with its length known before the first byte is sent.

The length lets the server refuse a file that is too large, or a disk that is too full, before it is sent. Memory stays
flat: one chunk is read at a time, in a thread, and the next one only when the connection has taken the last.
"""

import json
import os
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.abc import AbstractStreamWriter

from btworker.client.errors import ClientError
from btworker.client.files import Write, send_file, size_of_file

LARGEST_VOICE = 2**24
"""Bytes: more than 30 s of any sound take."""
NAMES, REFERENCES = "knownSpeakerNames", "knownSpeakerReferences"
ProgressCallback = Callable[[int, int], None]
"""Called with the bytes sent and the bytes in all, after every chunk."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a job is asked for, beside its recording."""

    options: Mapping[str, Any] = field(default_factory=dict)
    """By their wire names."""
    voices: tuple[Path, ...] = ()
    """Files of known speakers' voices, in the order of their names in the options."""

    @property
    def has_large_voice(self) -> bool:
        """One is so large that it had better be refused while it is sent."""
        return any(size_of_file(voice) > LARGEST_VOICE for voice in self.voices)

    def with_voices(self, references: Sequence[str]) -> dict[str, Any]:
        """The options, with what stands for the voices."""
        return {**self.options, **({REFERENCES: list(references)} if references else {})}

    @classmethod
    def of(cls, options: Mapping[str, Any] | None, known: Mapping[str, str | Path] | None) -> "Wanted":
        """The options, and people by name and file."""
        if not known:
            return cls(options or {})
        return cls({**(options or {}), NAMES: list(known)}, tuple(map(Path, known.values())))


class Upload:
    """Files and options as one request body; can be sent again from the start."""

    def __init__(
        self,
        paths: Sequence[Path],
        wanted: Wanted,
        on_progress: ProgressCallback | None = None,
    ) -> None:
        self.boundary = f"btworker-{secrets.token_hex(16)}"
        self.sent_bytes = 0
        self.started = False
        self.failure: ClientError | None = None
        """Why the body ended early, when that was a local file's fault; aiohttp reports it as a lost connection."""
        self._on_progress = on_progress
        # Options go first: a mistake in them is refused before the files are sent.
        self._fields = (
            self._part('name="options"', "application/json") + json.dumps(dict(wanted.options)).encode() + b"\r\n"
        )
        named = [*((REFERENCES, path) for path in wanted.voices), *(("file", path) for path in paths)]
        self._files = [(path, size_of_file(path), self._file_part(name, path)) for name, path in named]
        self._end = f"--{self.boundary}--\r\n".encode()
        inner = sum(len(head) + size + 2 for _, size, head in self._files)
        self.total_bytes = len(self._fields) + inner + len(self._end)

    @property
    def done(self) -> bool:
        """Every byte was handed to the connection."""
        return self.sent_bytes == self.total_bytes

    def body(self) -> "StreamedBody":
        """The bytes, from the start, as a request's body."""
        kind = f"multipart/form-data; boundary={self.boundary}"
        return StreamedBody(lambda writer: self.write_to(writer.write), self.total_bytes, kind)

    async def write_to(self, write: Write) -> None:
        """Send the bytes, from the start. Raises ClientError(BAD_FILE) when a file cannot be read or changed."""
        self.started, self.sent_bytes = True, 0
        try:
            await self._send(write, self._fields)
            for path, size_bytes, head in self._files:
                await self._send(write, head)
                await self._send_file(write, path, size_bytes)
                await self._send(write, b"\r\n")
            await self._send(write, self._end)
        except ClientError as error:
            self.failure = error
            raise

    async def _send_file(self, write: Write, path: Path, size_bytes: int) -> None:
        """Send exactly `size_bytes` bytes of the file: the length was promised to the server already."""
        await send_file(path, 0, size_bytes, lambda chunk: self._send(write, chunk))

    async def _send(self, write: Write, piece: bytes) -> None:
        await write(piece)
        self.sent_bytes += len(piece)
        if self._on_progress is not None:
            self._on_progress(self.sent_bytes, self.total_bytes)

    def _file_part(self, name: str, path: Path) -> bytes:
        return self._part(f'name="{name}"; filename="{_quoted(path.name)}"', "application/octet-stream")

    def _part(self, disposition: str, kind: str) -> bytes:
        lines = (
            f"--{self.boundary}",
            f"Content-Disposition: form-data; {disposition}",
            f"Content-Type: {kind}",
            "",
            "",
        )
        return "\r\n".join(lines).encode("utf-8")


class StreamedBody(aiohttp.Payload):
    """What `write` writes, as aiohttp takes it; a coroutine, since a generator that is cancelled would leave its file
    open."""

    def __init__(
        self, write: Callable[[AbstractStreamWriter], Awaitable[None]], size_bytes: int, content_type: str
    ) -> None:
        super().__init__(write, content_type=content_type)
        self._size = size_bytes

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send it all."""
        await self._value(writer)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:  # noqa: ARG002 - aiohttp's signature
        """Not for printing."""
        raise TypeError("an upload has no text")


def _quoted(name: str) -> str:
    """A file name in a part's header, as browsers write it (WHATWG HTML, multipart/form-data encoding)."""
    text = os.fsencode(name).decode("utf-8", "replace")
    return text.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")
