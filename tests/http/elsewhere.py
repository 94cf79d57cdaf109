"""A server of recordings, which is not the worker's."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web


@asynccontextmanager
async def elsewhere(
    content_of: Callable[[str], bytes | None], *, gate: asyncio.Event | None = None
) -> AsyncIterator[int]:
    """A port at which /talks/<name> is the content of that name; None: there is no such recording. Nothing is answered
    before the gate is open."""

    async def get(request: web.Request) -> web.Response:
        assert "Authorization" not in request.headers, "the worker's token is nobody's"
        body = content_of(request.match_info["name"])
        if gate is not None:
            await gate.wait()
        if body is None:
            raise web.HTTPNotFound
        return web.Response(body=body)

    app = web.Application()
    app.router.add_get("/talks/{name}", get)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()
