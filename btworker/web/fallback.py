"""The answer to what is none of our routes: 404, or 405 with the methods that the path does have. Parent.

A route of its own, since aiohttp answers `Expect: 100-continue` by itself on paths that it does not know. Most who come
here have a base URL without /v1, with two of them, or with a slash too many: the answer says which path was meant.
"""

import re
from collections.abc import Iterable
from typing import NoReturn

from aiohttp import web

from btworker.errors import BtworkerError, ErrorCode

PATTERN = "/{path:.*}"
CANONICAL = "/{path}"
VERSION = "/v1"
_PARAMETER = re.compile(r"\{\w+\}")


async def refuse(request: web.Request) -> NoReturn:
    """Handler. Raises NOT_FOUND or METHOD_NOT_ALLOWED."""
    allowed: set[str] = set()
    resources = [one for one in request.app.router.resources() if one.canonical != CANONICAL]
    for resource in resources:
        allowed |= (await resource.resolve(request))[1]
    if allowed:
        raise web.HTTPMethodNotAllowed(request.method, allowed)
    meant = _meant(request.path, [resource.canonical for resource in resources])
    hint = f"{meant} may be meant, so look at the base URL" if meant else "/openapi.json lists what there is"
    raise BtworkerError(ErrorCode.NOT_FOUND, f"there is nothing at this address; {hint}")


def _meant(path: str, patterns: Iterable[str]) -> str | None:
    """The pattern that a path ends with, where slashes, a prefix and case do not count, nor whether /v1 is there."""
    parts = [part for part in path.lower().split("/") if part]
    tails = ["/" + "/".join(parts[start:]) for start in range(len(parts))]
    known = {pattern: re.compile(_PARAMETER.sub("[^/]+", pattern)) for pattern in patterns}
    asked = (candidate for tail in tails for candidate in (tail, VERSION + tail))
    return next((pattern for one in asked for pattern, shape in known.items() if shape.fullmatch(one)), None)
