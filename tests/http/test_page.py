"""The page as it is served: to whom, with which policy, and of which files."""

import hashlib
import json
import re
from collections.abc import AsyncIterator

import aiohttp
import pytest

from btworker.web.page.handlers import FILES, FOLDER
from tests.http.server import Running

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
IMPORTS = re.compile(r"""(?:\bfrom|\bimport)\s*\(?["']([^"']+)["']""")


@pytest.fixture
async def stranger(server: Running) -> AsyncIterator[aiohttp.ClientSession]:
    """Someone without a token."""
    async with aiohttp.ClientSession(server.url) as session:
        yield session


async def test_a_browser_gets_the_page_and_a_program_what_it_got(stranger: aiohttp.ClientSession) -> None:
    """By what it takes; caches are told that it depends on that."""
    async with stranger.get("/", headers=BROWSER) as response:
        page = await response.text()
        assert (response.status, response.content_type) == (200, "text/html")
        assert "page/main.js" in page
        assert "Accept" in response.headers["Vary"]
        tag = response.headers["ETag"]
    async with stranger.get("/", headers={**BROWSER, "If-None-Match": tag}) as response:
        assert response.status == 304
    for accept in ("application/json", "*/*"):
        async with stranger.get("/", headers={"Accept": accept, "If-None-Match": tag}) as response:
            assert response.status == 200
            assert "page/main.js" not in await response.text()


@pytest.mark.parametrize("path", ["/", "/page/main.js", "/page/page.css", "/page/icon.svg"])
async def test_the_policy_lets_a_browser_ask_nobody_else(stranger: aiohttp.ClientSession, path: str) -> None:
    """Nothing inline, nothing evaluated, nothing framed, no sniffing and no referrer."""
    async with stranger.get(path, headers=BROWSER) as response:
        assert response.status == 200
        rules = dict(rule.split(" ", 1) for rule in response.headers["Content-Security-Policy"].split("; "))
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert "Set-Cookie" not in response.headers
    assert rules == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "media-src": "'self' blob:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
        "form-action": "'none'",
    }


async def test_only_the_pages_own_files_are_served(stranger: aiohttp.ClientSession) -> None:
    """Each with its type; none of what lies beside them."""
    types = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml", "html": "text/html"}
    for name in FILES:
        async with stranger.get(f"/page/{name}") as response:
            assert (response.status, response.content_type) == (200, types.get(name.rsplit(".", 1)[1], "text/plain"))
    for name in ("handlers.py", "vendor.json", "..%2fhandlers.py", "about", "%00", "__init__.py"):
        async with stranger.get(f"/page/{name}") as response:
            assert response.status in (401, 404), name


def test_every_import_leads_to_a_file_of_the_page() -> None:
    """By a relative name, as a browser without an import map needs it."""
    modules = [path for name, path in FILES.items() if name.endswith(".js") and name != "tus.js"]
    found = {(path.name, place) for path in modules for place in IMPORTS.findall(path.read_text())}
    assert len(found) > 80
    assert {pair for pair in found if not pair[1].startswith("./") or pair[1][2:] not in FILES} == set()


def test_the_browser_knows_at_once_what_it_will_need() -> None:
    """All modules are asked for by the page itself, not one after the other; but for what is loaded when it is used."""
    asked = set(re.findall(r'href="page/([\w-]+\.js)"', FILES["index.html"].read_text()))
    assert asked == {name for name in FILES if name.endswith(".js")} - {"main.js", "events.js", "tus.js"}


def test_nothing_is_inline_and_nothing_becomes_html() -> None:
    """What the policy would stop does not stand there, nor what would make a text HTML."""
    ours = {path.name: path.read_text() for path in FOLDER.glob("files/*")}
    for name, text in ours.items():
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|new Function|https?://(?!www\.w3)", text
        ), name
    assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=", ours["index.html"])
    assert {name for name, text in ours.items() if text.count("\n") > 300} == set()


def test_the_libraries_are_those_that_were_pinned() -> None:
    """Each file has the hash that is written beside it, and each package its licence."""
    packages = json.loads((FOLDER / "vendor/vendor.json").read_text())
    files = {name: digest for package in packages for name, digest in package["files"].items()}
    assert files == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in FOLDER.glob("vendor/*")
        if path.suffix != ".json"
    }
    assert all(any(name.startswith("LICENSE.") for name in package["files"]) for package in packages)
