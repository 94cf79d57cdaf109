"""GET / and /page/{name}: the page, and what it loads. Parent.

Both are open: they hold no data, and the page asks for the token. A browser may load and ask nothing but what is here.
"""

import functools
from collections.abc import Iterator
from pathlib import Path

from aiohttp import web

from btworker.errors import BtworkerError, ErrorCode
from btworker.web.context import context_of
from btworker.web.system import docs
from btworker.web.system.static import Static, send_static

FOLDER = Path(__file__).parent
INDEX = "index.html"
ABOUT = "about"
"""What this is, for who asks without taking HTML by name; no file, and not on the wire."""
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
LICENCE = "text/plain; charset=utf-8"
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        *(f"{what} 'none'" for what in ("base-uri", "frame-ancestors", "form-action")),
    )
)
HEADERS = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}


def _found() -> Iterator[tuple[str, Path]]:
    for path in sorted((*FOLDER.glob("files/*"), *FOLDER.glob("vendor/*"))):
        if path.suffix in TYPES or path.name.startswith("LICENSE."):
            yield path.name, path


FILES = dict(_found())
"""Name on the wire -> file; whatever else is asked for is not there."""


async def page(request: web.Request) -> web.StreamResponse:
    """GET /: the page, for who takes HTML by name; a line on what this is for all others."""
    return await _sent(request, INDEX if _wants_page(request) else ABOUT)


async def asset(request: web.Request) -> web.StreamResponse:
    """GET /page/{name}"""
    name = request.match_info["name"]
    if name not in FILES:
        raise BtworkerError(ErrorCode.NOT_FOUND, "the page has no such file")
    return await _sent(request, name)


async def _sent(request: web.Request, name: str) -> web.StreamResponse:
    static = await context_of(request).data.run(_loaded, name)
    more = {**HEADERS, "Vary": "Accept, Accept-Encoding"} if name in (INDEX, ABOUT) else HEADERS
    return await send_static(request, static, more)


@functools.cache
def _loaded(name: str) -> Static:
    """Blocking: the file, read and compressed once."""
    if name == ABOUT:
        return Static.of(docs.ABOUT.encode(), TYPES[".html"])
    path = FILES[name]
    return Static.of(path.read_bytes(), TYPES.get(path.suffix, LICENCE))


def content_type(name: str) -> str:
    """The media type of a file, without its parameters."""
    return TYPES.get(FILES[name].suffix, LICENCE).partition(";")[0]


def _wants_page(request: web.Request) -> bool:
    offered = (one.partition(";")[0].strip() for one in request.headers.get("Accept", "").lower().split(","))
    return "text/html" in offered
