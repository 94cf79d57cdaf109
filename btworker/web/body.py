"""A request's body, read with a deadline for silence; a large one past aiohttp's parser. Parent.

    aiohttp's StreamReader --> read()                                   bodies of less than WORKER_FAST_BODY_MB, and any
                                                                        without a length
    the connection itself  --> read(), or pour() into a file            from the first `pour` of a large one on

After that, aiohttp sees nothing more of the connection, which is closed behind the answer.
"""

import asyncio
import hashlib
from collections.abc import Callable

from aiohttp import web

from btworker.config import Settings
from btworker.errors import BtworkerError
from btworker.receiving.received_file import ReceivedFile
from btworker.receiving.wire import Receivers, Wire, ended_early, idle
from btworker.web.connection import Connection
from btworker.web.context import WIRE


class Body:
    """Reads a body; only the client's silence counts, not our own disk's."""

    def __init__(
        self,
        request: web.Request,
        settings: Settings,
        receivers: Receivers,
        *,
        on_bytes: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._request = request
        self._receivers = receivers
        self._stream = request.content
        self._stream.set_read_chunk_size(settings.upload_chunk_bytes)
        self._idle_s = settings.body_idle_s
        self._on_bytes = on_bytes
        self._deadline: float | None = None
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(self._idle_s, self._look)
        self._wire: Wire | None = None
        self._begun = b""
        """What had come before the connection was taken over, and was not read."""

    def close(self) -> None:
        """Stop the timer, and give the thread back."""
        self._timer.cancel()
        if self._wire is not None:
            self._receivers.give_back()

    async def read(self) -> bytes:
        """All that has arrived, at least one byte; empty at the end. Raises IDLE_TIMEOUT, BAD_MULTIPART."""
        if self._begun:
            chunk, self._begun = self._begun, b""
            self._on_bytes(len(chunk))
        elif self._wire is not None:
            chunk = await self._read_wire(self._wire)
        else:
            chunk = await self._read_stream()
            self._on_bytes(len(chunk))
        return chunk

    async def read_all(self, *, most_bytes: int, too_long: BtworkerError) -> bytes:
        """All of a body that is small. Raises `too_long`, IDLE_TIMEOUT, BAD_MULTIPART."""
        found = bytearray()
        while data := await self.read():
            found += data
            if max(len(found), self._request.content_length or 0) > most_bytes:
                raise too_long
        return bytes(found)

    async def pour(
        self, file: ReceivedFile, *, delimiter: bytes = b"", digest: "hashlib._Hash | None" = None
    ) -> bytes | None:
        """The file's bytes into the file, past aiohttp; what came behind it. Raises as file.pour does.

        None where `read` is to be called: so little is left of the body that this is not worth while, or no thread is
        free for it, or some of it has come through aiohttp already.
        """
        self._wire = self._wire or self._take_over()
        if self._wire is None or self._begun:
            return None
        try:
            return await file.pour(self._wire, self._receivers, delimiter=delimiter, digest=digest)
        finally:
            self._end_if_lost(self._wire)

    def _take_over(self) -> Wire | None:
        request, connection = self._request, self._request.protocol
        if request.content_length is None or request.transport is None or not isinstance(connection, Connection):
            return None
        if self._stream.is_eof() or self._stream.exception() is not None:
            return None
        if not self._receivers.take(request.content_length):
            return None
        try:
            taken = connection.copy_socket()
        except OSError:
            self._receivers.give_back()
            return None
        while rest := self._stream.read_nowait():  # whatever the parser holds back comes with it
            self._begun += rest
        left_bytes = request.content_length - self._stream.total_bytes
        wire = Wire(taken, left_bytes=left_bytes, idle_s=self._idle_s, on_bytes=self._on_bytes)
        connection.hand_over(wire)
        request[WIRE] = wire
        return wire

    async def _read_wire(self, wire: Wire) -> bytes:
        try:
            return await wire.read()
        finally:
            self._end_if_lost(wire)

    def _end_if_lost(self, wire: Wire) -> None:
        """aiohttp does not look at the connection: say that its client is gone."""
        if wire.is_lost and self._request.transport is not None:
            self._request.transport.abort()

    async def _read_stream(self) -> bytes:
        self._deadline = self._loop.time() + self._idle_s
        try:
            return await self._stream.readany()
        except (OSError, web.RequestPayloadError):
            raise ended_early() from None
        finally:
            self._deadline = None

    def _look(self) -> None:
        now = self._loop.time()
        if self._deadline is not None and now >= self._deadline:
            self._stream.set_exception(idle(self._idle_s))
        else:
            wait_s = self._idle_s if self._deadline is None else self._deadline - now
            self._timer = self._loop.call_later(max(wait_s, 0.01), self._look)
