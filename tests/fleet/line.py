"""The line between boxes and their front end, as a proxy that tests slow down and hold up."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

CHUNK_BYTES = 2**16


class Line:
    """See the module's docstring. `port` is that of the front end's listener."""

    def __init__(self, session: aiohttp.ClientSession, *, bytes_per_s: float = 0.0) -> None:
        self.url = ""
        self.port = 0
        self.asked: list[str] = []
        """Method and path of each request."""
        self._session = session
        self._bytes_per_s = bytes_per_s
        self._one_at_a_time = asyncio.Lock()
        self._is_held: Callable[[str], bool] = lambda _: False
        self._changed = asyncio.Event()
        self._cuts = False
        self._loses: Callable[[str], bool] = lambda _: False

    def hold(self, is_held: Callable[[str], bool]) -> None:
        """Let requests of which this holds stand still, by method and path, and others pass."""
        self._is_held = is_held
        self._changed.set()
        self._changed = asyncio.Event()

    def cut(self) -> None:
        """End the connections of requests that stand still, and let all pass from now on."""
        self._cuts = True
        self.hold(lambda _: False)

    def lose_answer(self, is_lost: Callable[[str], bool]) -> None:
        """Let the next request of which this holds reach the other end, and end its connection without the answer."""
        self._loses = is_lost

    async def pass_on(self, request: web.Request) -> web.StreamResponse:
        """Any request."""
        what = f"{request.method} {request.raw_path}"
        self.asked.append(what)
        while self._is_held(what):
            await self._changed.wait()
            if self._cuts:
                raise ConnectionResetError
        headers = request.headers.copy()
        if headers.pop("Expect", None) and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        url = f"http://127.0.0.1:{self.port}{request.raw_path}"
        body = self._pieces(request.content) if request.can_read_body else None
        async with self._session.request(request.method, url, headers=headers, data=body) as answer:
            if self._loses(what):
                self._loses = lambda _: False
                raise ConnectionResetError
            response = web.StreamResponse(status=answer.status, headers=answer.headers)
            await response.prepare(request)
            async for chunk in self._pieces(answer.content):
                await response.write(chunk)
            await response.write_eof()
        return response

    async def _pieces(self, content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
        """All of it, as fast as the line is; who shares it waits."""
        async for chunk in content.iter_chunked(CHUNK_BYTES):
            if self._bytes_per_s:
                async with self._one_at_a_time:
                    await asyncio.sleep(len(chunk) / self._bytes_per_s)
            yield chunk


@asynccontextmanager
async def line(*, bytes_per_s: float = 0.0) -> AsyncIterator[Line]:
    """A line of this speed; 0: as fast as it gets."""
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(auto_decompress=False, timeout=timeout) as session:
        found = Line(session, bytes_per_s=bytes_per_s)
        server = web.Server(found.pass_on)
        runner = web.ServerRunner(server, shutdown_timeout=0.0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield found
        finally:
            found.hold(lambda _: False)
            await runner.cleanup()
