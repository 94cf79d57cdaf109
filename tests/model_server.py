"""A web server with one checkpoint, as bad as real ones can be, and an openai-whisper that looks for models there."""

import hashlib
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class ModelServer:
    """What it serves, how badly, and what it was asked."""

    content: bytes
    port: int = 0
    knows_range: bool = True
    breaks_after: list[int] = field(default_factory=list)
    """Bytes after which each of the next connections breaks."""
    status: int = 200
    asked: list[str] = field(default_factory=list)
    """The Range of each request, or nothing."""

    @property
    def sha256(self) -> str:
        """Of the content that was promised, even where another one is sent."""
        return self._promised

    def __post_init__(self) -> None:
        self._promised = hashlib.sha256(self.content).hexdigest()

    def address(self, name: str) -> str:
        """In the form of whisper's own."""
        return f"http://127.0.0.1:{self.port}/models/{self.sha256}/{name}.pt"


@contextmanager
def model_server(content: bytes) -> Iterator[ModelServer]:
    """Serve the content under any path."""
    model = ModelServer(content)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            model.asked.append(wanted)
            start = int(wanted[6:-1]) if wanted and model.knows_range else 0
            if model.status != 200:
                return self.send_error(model.status)
            if start >= len(model.content):
                return self.send_error(416)
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(model.content) - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(model.content) - 1}/{len(model.content)}")
            self.end_headers()
            end = start + model.breaks_after.pop(0) if model.breaks_after else len(model.content)
            self.wfile.write(model.content[start:end])
            return None

        def log_message(self, *_: object) -> None:
            """Not on the test's output."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        model.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield model
        finally:
            server.shutdown()


def whisper_that_knows(folder: Path, models: dict[str, str], *, copy_of: Path | None = None) -> Path:
    """A folder for PYTHONPATH with an openai-whisper whose table of models is this one; `copy_of` makes it work."""
    package = folder / "whisper"
    if copy_of is None:
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("raise ImportError('only its table is wanted')\n_MODELS = {}\n")
    else:
        shutil.copytree(copy_of, package)
    source = package / "__init__.py"
    before, _, rest = source.read_text().partition("_MODELS = {")
    source.write_text(f"{before}_MODELS = {models!r}\n{rest.partition('}')[2]}")
    info = folder / "openai_whisper-20231117.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: openai-whisper\nVersion: 20231117\n")
    return folder
