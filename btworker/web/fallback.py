"""The answer to what is none of our routes: 404, or 405 with the methods that the path does have. Parent.

A route of its own, since aiohttp answers `Expect: 100-continue` by itself on paths that it does not know.
"""

from typing import NoReturn

from aiohttp import web

from btworker.errors import BtworkerError, ErrorCode

PATTERN = "/{path:.*}"
CANONICAL = "/{path}"


async def refuse(request: web.Request) -> NoReturn:
    """Handler. Raises NOT_FOUND or METHOD_NOT_ALLOWED."""
    allowed: set[str] = set()
    for resource in request.app.router.resources():
        if resource.canonical != CANONICAL:
            allowed |= (await resource.resolve(request))[1]
    if not allowed:
        raise BtworkerError(ErrorCode.NOT_FOUND, "there is nothing at this address")
    raise web.HTTPMethodNotAllowed(request.method, allowed)
