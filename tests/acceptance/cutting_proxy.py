"""A proxy that ends every connection after a time and after so many bytes, as GPU clouds' proxies do to requests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

CHUNK_BYTES = 2**16


@dataclass
class CuttingProxy:
    """Between clients and one server. A connection is cut, not closed: what is under way on it is lost."""

    upstream: str
    cut_s: float
    """Seconds after which a connection ends."""
    largest_bytes: int
    """Bytes from the client after which it ends."""
    bytes_per_s: float = float("inf")
    """How fast each connection takes bytes from the client."""
    url: str = ""
    cuts_by_size: int = 0
    cuts_by_time: int = 0
    passed_bytes: int = 0
    """From clients to the server, in all."""
    _connections: "set[asyncio.Task[None]]" = field(default_factory=set)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["CuttingProxy"]:
        """It listens at `url` in this block."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for connection in self._connections:
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._relay(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        where = urlsplit(self.upstream)
        up_reader, up_writer = await asyncio.open_connection(where.hostname, where.port)
        up = asyncio.create_task(self._up(reader, up_writer))
        down = asyncio.create_task(self._down(up_reader, writer))
        try:
            done, _ = await asyncio.wait({up, down}, timeout=self.cut_s, return_when=asyncio.FIRST_COMPLETED)
            self.cuts_by_time += not done
        finally:
            for end in (writer, up_writer):
                end.transport.abort()
            for way in (up, down):
                way.cancel()
            await asyncio.gather(up, down, return_exceptions=True)

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passed = 0
        while data := await reader.read(CHUNK_BYTES):
            passed += len(data)
            if passed > self.largest_bytes:
                self.cuts_by_size += 1
                return
            self.passed_bytes += len(data)
            writer.write(data)
            await writer.drain()
            if self.bytes_per_s < float("inf"):
                await asyncio.sleep(len(data) / self.bytes_per_s)

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
