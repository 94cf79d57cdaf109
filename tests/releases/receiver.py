"""Who a worker's jobs name by URL: it gives recordings, takes outputs and callbacks, or does neither yet."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Receiver(ThreadingHTTPServer):
    """/taken… is always taken, /refused… once it is `open`; /sound is given, /slow only half of it until then."""

    daemon_threads = True

    def __init__(self, sound: bytes, *, is_open: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.sound = sound
        self.is_open = is_open
        self.posts: list[tuple[str, bytes]] = []
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_GET(self) -> None:
        whole = self.path == "/sound" or self.server.is_open
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.sound)))
        self.end_headers()
        self.wfile.write(self.server.sound if whole else self.server.sound[: len(self.server.sound) // 2])
        if not whole:
            self.wfile.flush()
            self.server.closing.wait()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or self._chunked()
        taken = self.path.startswith("/taken") or self.server.is_open
        if taken:
            self.server.posts.append((self.path, body))
        self.send_response(200 if taken else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _chunked(self) -> bytes:
        body = b""
        if self.headers.get("Transfer-Encoding") == "chunked":
            while count := int(self.rfile.readline(), 16):
                body += self.rfile.read(count)
                self.rfile.readline()
            self.rfile.readline()
        return body

    def log_message(self, *_: object) -> None:
        """Nothing of it is of interest."""


@contextmanager
def receiving(sound: bytes, *, is_open: bool) -> Iterator[Receiver]:
    """A receiver for as long as the block lasts."""
    receiver = Receiver(sound, is_open=is_open)
    thread = threading.Thread(target=receiver.serve_forever)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.closing.set()
        receiver.shutdown()
        thread.join()
        receiver.server_close()
