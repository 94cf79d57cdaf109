"""The same large body into btworker and into what people put in its place, interleaved in one run.

    make bench BENCH=upload_peers BENCH_ARGS="--gib 2 --rounds 3"

By multipart, with curl: nginx (client_body_in_file_only) and Starlette's request.form() under uvicorn, whose spooled
file is copied to where it stays. By tus, in pieces over one connection: tus' own server for Node.js, @tus/server. None
of them hashes or calls fsync; btworker does both before it answers. A server that is not installed is left out, and
the table says so. core-seconds and the peak of memory are the server's process alone.
"""

import argparse
import shutil
import statistics
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from resumable import MIB, tus
from support import ROOT, Server, cpu_s, make_file, memory_mb, report, reset_peak, server, spread, workplace
from upload import GIB, curl, nginx, upload

HERE = Path(__file__).parent
PIECE_BYTES = 64 * MIB


@dataclass
class Way:
    """A server, and how a file gets into it."""

    name: str
    pid: int
    send: Callable[[Path], float]
    """Seconds of one upload."""
    kept: Path | None = None
    """What is emptied after each upload: a peer keeps all that it gets."""
    mb_s: list[float] = field(default_factory=list)
    core_s_per_gib: list[float] = field(default_factory=list)
    peak_mb: list[float] = field(default_factory=list)

    def run(self, source: Path) -> None:
        """One upload, measured."""
        size, before = source.stat().st_size, cpu_s(self.pid)
        reset_peak(self.pid)
        self.mb_s.append(size / 1e6 / self.send(source))
        self.core_s_per_gib.append((cpu_s(self.pid) - before) / (size / GIB))
        self.peak_mb.append(memory_mb(self.pid, "VmHWM"))
        for path in self.kept.iterdir() if self.kept else ():
            path.unlink()


@contextmanager
def printing_its_port(*command: str) -> Iterator[tuple[str, int]]:
    """Address and process id of a server that prints its port when it listens."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}", process.pid
    finally:
        process.terminate()
        process.wait()


def ways(folder: Path, python: Path, running: ExitStack) -> Iterator[Way]:
    """Start all that are installed."""
    own = folder / "btworker"
    own.mkdir()
    at = running.enter_context(server(own))
    yield Way("btworker, multipart", at.pid, lambda source: upload(at, source))
    proxy = folder / "nginx"
    proxy.mkdir()
    if (url := running.enter_context(nginx(proxy))) is not None:
        pid = int((proxy / "nginx.pid").read_text())
        yield Way("nginx, multipart", pid, lambda source: curl(url, source))
    if python.exists():
        form = folder / "starlette"
        form.mkdir()
        address, pid = running.enter_context(
            printing_its_port(str(python), str(HERE / "peers" / "form_server.py"), str(form))
        )
        yield Way("Starlette, multipart", pid, lambda source: curl(address, source), form)
    yield Way("btworker, tus", at.pid, lambda source: tus(at, source, PIECE_BYTES))
    node = shutil.which("node")
    if node is not None and (HERE / "peers" / "node_modules").is_dir():
        files = folder / "tus"
        files.mkdir()
        place, pid = running.enter_context(printing_its_port(node, str(HERE / "peers" / "tus_server.mjs"), str(files)))
        peer = Server(place, pid, "", files)
        yield Way("@tus/server, tus", pid, lambda source: tus(peer, source, PIECE_BYTES, path="/files"), files)


def measure(options: argparse.Namespace, folder: Path) -> None:
    """Everything, and the report."""
    source = folder / "source"
    make_file(source, int(options.gib * GIB))
    with ExitStack() as running:
        found = list(ways(folder, options.venv / "bin" / "python", running))
        for number in range(options.rounds):
            for way in found:
                way.run(source)
            last = ", ".join(f"{way.name} {way.mb_s[-1]:.0f}" for way in found)
            print(f"  round {number + 1}, MB/s: {last}", flush=True)
    rows = []
    for way in found:
        rows.append((f"{way.name}: MB/s", spread(way.mb_s)))
        rows.append(("    core-seconds a GiB", spread(way.core_s_per_gib)))
        rows.append(("    peak memory, MB", f"{max(way.peak_mb):8.1f}"))
    expected = {"nginx, multipart", "Starlette, multipart", "@tus/server, tus"}
    rows += [(f"left out, not installed: {name}", "") for name in sorted(expected - {way.name for way in found})]
    median = {way.name: statistics.median(way.mb_s) for way in found}
    result = {
        f"{own}_over_{name}": median[f"btworker, {own}"] / median[other]
        for own, name, other in (
            ("multipart", "nginx", "nginx, multipart"),
            ("multipart", "starlette", "Starlette, multipart"),
            ("tus", "tus_server", "@tus/server, tus"),
        )
        if other in median
    }
    raw = {way.name: [way.mb_s, way.core_s_per_gib, way.peak_mb] for way in found}
    report("upload_peers", rows, result, raw)


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gib", type=float, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv-bench", help="the environment with Starlette")
    options = parser.parse_args()
    with workplace() as folder:
        need = (3 * options.rounds + 3) * options.gib * GIB  # btworker keeps what it took; nothing takes it away here
        if shutil.disk_usage(folder).free < need:
            raise SystemExit(f"needs {need / GIB:.0f} GiB free in bench-output; try --gib 0.5")
        measure(options, folder)


if __name__ == "__main__":
    main()
