"""/openapi.json and /docs: the contract, and a page to try it that needs no network. Parent.

Both are open: the document says nothing of this worker, not even its version. The page is Swagger UI with the files of
an installed package; its policy lets a browser run and ask nothing but what is here. The token that is typed in stays
in the page's memory.
"""

import functools
from importlib.util import find_spec
from pathlib import Path

from aiohttp import web

from btworker.errors import BtworkerError, ErrorCode
from btworker.web.context import context_of
from btworker.web.system.static import Static, send_static

PACKAGE = "flask_swagger_ui"
"""Found, never imported: it would import Flask, which is not installed."""
ASSETS = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "favicon-32x32.png": "image/png",
    "start.js": "text/javascript; charset=utf-8",
}
START = "start.js"
"""Ours, beside this module."""
PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>btworker: HTTP API</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="icon" href="docs/favicon-32x32.png">
</head>
<body>
<div id="api"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
ABOUT = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>btworker</title>
<link rel="icon" href="docs/favicon-32x32.png">
</head>
<body>
<h1>btworker</h1>
<p>This is a transcription worker. Programs send it recordings, with a token, and get transcripts.</p>
<ul>
<li><a href="docs">Try every route of its HTTP API</a></li>
<li><a href="openapi.json">The same as OpenAPI, for generators of clients</a></li>
<li><a href="health/ready">Whether it is ready</a></li>
</ul>
</body>
</html>
"""
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        *(f"{what} 'none'" for what in ("base-uri", "form-action", "frame-ancestors")),
    )
)


async def document(request: web.Request) -> web.StreamResponse:
    """GET /openapi.json"""
    context = context_of(request)
    return await send_static(request, await context.data.run(context.contract))


async def page(_request: web.Request) -> web.StreamResponse:
    """GET /docs"""
    return _html(PAGE)


def _html(text: str) -> web.Response:
    headers = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache"}
    return web.Response(text=text, content_type="text/html", headers=headers)


async def asset(request: web.Request) -> web.StreamResponse:
    """GET /docs/{name}: what the page loads."""
    data = context_of(request).data
    name = request.match_info["name"]
    if name not in ASSETS:
        raise BtworkerError(ErrorCode.NOT_FOUND, "the page has no such file")
    return await send_static(request, await data.run(_loaded, name))


@functools.cache
def _loaded(name: str) -> Static:
    """Blocking: the file, read and compressed once."""
    path = Path(__file__).with_name(START) if name == START else _swagger_ui() / name
    return Static.of(path.read_bytes(), ASSETS[name])


def _swagger_ui() -> Path:
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise BtworkerError(ErrorCode.NOT_FOUND, f"the package {PACKAGE} is not installed")
    return Path(spec.origin).parent / "dist"
