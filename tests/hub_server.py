"""Hugging Face's hub and the host that its large files are kept on, as far as a model is fetched from them.

Routes, headers and error codes are those of the hub: /api/models/…/revision/…?blobs=true lists files with the hashes
of git and of Git LFS, /resolve/ answers small files itself and sends for large ones to another host.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE_BYTES = 2000
"""Files from here on are kept by Git LFS, on the other host."""


@dataclass
class HubServer:
    """What it has, how badly it serves it, and what it was asked."""

    files: dict[str, bytes]
    repository: str = "someone/whisper-tuned"
    commits: dict[str, str] = field(default_factory=lambda: {"main": COMMIT})
    gated: bool = False
    busy: int = 0
    """How many of the next requests are too many (429)."""
    breaks_after: list[int] = field(default_factory=list)
    """Bytes after which each of the next connections to the other host breaks."""
    sends_instead: dict[str, bytes] = field(default_factory=dict)
    """Content in place of what was promised."""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """(host, path, Range) of each request: "hub" or "cdn"."""
    tokens: dict[str, set[str]] = field(default_factory=lambda: {"hub": set(), "cdn": set()})
    """What each host was given as Authorization."""
    port: int = 0
    cdn_port: int = 0

    @property
    def address(self) -> str:
        """For HF_ENDPOINT."""
        return f"http://127.0.0.1:{self.port}"

    def listing(self, revision: str) -> dict[str, Any]:
        """The hub's answer about a revision."""
        siblings: list[dict[str, Any]] = []
        for name, content in self.files.items():
            entry: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": git_sha1(content)}
            if len(content) >= LARGE_BYTES:
                sha256 = hashlib.sha256(content).hexdigest()
                entry |= {"blobId": "0" * 40, "lfs": {"sha256": sha256, "size": len(content), "pointerSize": 135}}
            siblings.append(entry)
        commit = self.commits[revision]
        return {"id": self.repository, "sha": commit, "gated": self.gated, "siblings": siblings, "cardData": {}}


def git_sha1(content: bytes) -> str:
    """The hash by which git knows a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    host: str

    def do_GET(self) -> None:
        path, hub = unquote(urlsplit(self.path).path), self.hub
        hub.asked.append((self.host, path, self.headers.get("Range", "")))
        if token := self.headers.get("Authorization"):
            hub.tokens[self.host].add(token)
        if self.host == "cdn":
            return self.content(hub.sends_instead.get(path[1:], hub.files[path[1:]]))
        if hub.busy:
            hub.busy -= 1
            return self.error(429, "", {"Retry-After": "0"})
        if hub.gated and self.headers.get("Authorization") != "Bearer hf_right":
            return self.error(403 if self.headers.get("Authorization") else 401, "GatedRepo")
        return self.of_the_hub(path)

    def of_the_hub(self, path: str) -> None:
        hub = self.hub
        if found := re.fullmatch(rf"/api/models/{re.escape(hub.repository)}/revision/(.+)", path):
            if found[1] not in {**hub.commits, **dict.fromkeys(hub.commits.values(), "")}:
                return self.error(404, "RevisionNotFound")
            known = found[1] if found[1] in hub.commits else next(iter(hub.commits))
            return self.content(json.dumps(hub.listing(known)).encode())
        found = re.fullmatch(rf"/{re.escape(hub.repository)}/resolve/([0-9a-f]{{40}})/([^/]+)", path)
        if found is None:
            return self.error(401 if path.startswith("/api/") else 404, "RepoNotFound")
        content = hub.files[found[2]]
        if len(content) < LARGE_BYTES:
            return self.content(hub.sends_instead.get(found[2], content), ETag=f'"{git_sha1(content)}"')
        self.send_response(302)
        for name, value in {
            "Location": f"http://127.0.0.1:{hub.cdn_port}/{found[2]}?Signature=secret",
            "X-Repo-Commit": found[1],
            "X-Linked-Size": str(len(content)),
            "X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"',
            "Content-Length": "0",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        return None

    def content(self, content: bytes, **headers: str) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted else 0
        if start and start >= len(content):
            return self.error(416, "")
        self.send_response(206 if start else 200)
        for name, value in {**headers, "Content-Length": str(len(content) - start), "Accept-Ranges": "bytes"}.items():
            self.send_header(name, value)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        end = len(content)
        if self.host == "cdn" and self.hub.breaks_after:
            end = start + self.hub.breaks_after.pop(0)
        self.wfile.write(content[start:end])
        return None

    def error(self, status: int, code: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "X-Error-Code": code, "Content-Length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Not on the test's output."""


@contextmanager
def hub_server(files: dict[str, bytes]) -> Iterator[HubServer]:
    """Serve a repository with these files, from two ports."""
    hub = HubServer(files)
    servers = []
    for host in ("hub", "cdn"):
        handler = type("Handler", (_Handler,), {"hub": hub, "host": host})
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, args=(0.02,), daemon=True).start()
    hub.port, hub.cdn_port = (server.server_address[1] for server in servers)
    try:
        yield hub
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
