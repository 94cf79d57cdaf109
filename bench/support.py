"""What the benches share: a real server to measure, memory of a process, a table, a JSON file and the RESULT line."""

import json
import multiprocessing
import os
import platform
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]  # a bench is a script, and btworker need not be installed
START_DEADLINE_S = 60.0


@dataclass(frozen=True)
class Server:
    """A running btworker."""

    url: str
    pid: int
    token: str
    folder: Path

    @property
    def authorization(self) -> dict[str, str]:
        """The header that every request needs."""
        return {"Authorization": f"Bearer {self.token}"}


@contextmanager
def earlier_tree(revision: str) -> Iterator[Path]:
    """The repository as it was at a commit."""
    with tempfile.TemporaryDirectory(prefix="btworker-before-") as folder:
        archive = subprocess.run(["git", "archive", revision], cwd=ROOT, capture_output=True, check=True).stdout
        subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
        yield Path(folder)


@contextmanager
def server(folder: Path, *, tree: Path = ROOT, **environment: str) -> Iterator[Server]:
    """`python -m btworker serve` of a tree, on a free port, with the scripted engine of the tests."""
    token = secrets.token_urlsafe(16)
    ready = folder / "ready.json"
    values = {
        "WORKER_TOKEN": token,
        "WORKER_PORT": "0",
        "WORKER_DATA_DIR": str(folder / "data"),
        "WORKER_ENGINE": "tests.fake_engine:load",
        "WORKER_DEVICE": "cpu",
        "WORKER_MODEL": "fake",
        "WORKER_MODELS": "fake",
        "WORKER_MAX_FILE_MB": "20000",
        "PYTHONPATH": str(tree),
        **environment,
    }
    command = [sys.executable, "-m", "btworker", "serve", "--ready-file", str(ready)]
    with open(folder / "server.log", "wb") as log:
        process = subprocess.Popen(command, env={**os.environ, **values}, stdout=log, stderr=log, cwd=tree)
    try:
        where = json.loads(_wait_for(ready, process))
        yield Server(where["url"], where["pid"], token, folder)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _wait_for(file: Path, process: "subprocess.Popen[bytes]") -> str:
    end = time.monotonic() + START_DEADLINE_S
    while not (file.exists() and file.stat().st_size):
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"the server did not start; see {file.parent / 'server.log'}")
        time.sleep(0.02)
    return file.read_text()


@contextmanager
def workplace() -> Iterator[Path]:
    """An empty folder under bench-output, on the disk that is measured."""
    base = ROOT / "bench-output"
    base.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=base, prefix="run-") as folder:
        yield Path(folder)


def make_file(path: Path, size: int) -> None:
    """A file of random bytes (one random MiB, varied), in the page cache and on the disk."""
    block = bytearray(os.urandom(1 << 20))
    with open(path, "wb") as file:
        for index in range(size >> 20):
            block[:8] = index.to_bytes(8, "little")
            file.write(block)
        file.flush()
        os.fsync(file.fileno())


class Watch:
    """Asks /health/live and reads the parent's memory, in a thread, until stopped."""

    def __init__(self, at: Server) -> None:
        self._at = at
        self._stop = threading.Event()
        self.latencies_ms: list[float] = []
        self._thread = threading.Thread(target=self._run)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch until the block ends."""
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            start = time.perf_counter()
            with urllib.request.urlopen(f"{self._at.url}/health/live", timeout=60) as answer:
                answer.read()
            self.latencies_ms.append((time.perf_counter() - start) * 1000)


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process has used so far, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int, field: str = "VmRSS") -> float:
    """Resident memory of a process (VmHWM: its peak) in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise LookupError(field)


def reset_peak(pid: int) -> None:
    """Let the kernel count the peak of a process's memory from now on."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


LOOKS_PER_S = 20


@dataclass
class Above:
    """The peak of this process's memory above what it held before, in MB."""

    before_mb: float
    total_mb: float = 0.0
    """With pages of mapped files, which the kernel may drop (VmHWM)."""
    own_mb: float = 0.0
    """What is its own (RssAnon), looked at LOOKS_PER_S times a second."""

    @property
    def figures(self) -> dict[str, float]:
        """For the JSON."""
        return {"loaded_mb": self.before_mb, "above_mb": self.total_mb, "above_own_mb": self.own_mb}


@contextmanager
def memory_above() -> Iterator[Above]:
    """What the block takes; known when it has ended."""
    pid = os.getpid()
    above, own_before_mb = Above(memory_mb(pid)), memory_mb(pid, "RssAnon")
    reset_peak(pid)
    own_mb, ended = [own_before_mb], threading.Event()

    def look() -> None:
        while not ended.wait(1 / LOOKS_PER_S):
            own_mb.append(memory_mb(pid, "RssAnon"))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield above
    finally:
        ended.set()
        watcher.join()
        above.total_mb = memory_mb(pid, "VmHWM") - above.before_mb
        above.own_mb = max(own_mb) - own_before_mb


def in_a_fresh_process(function: Callable[..., dict[str, float]], *arguments: Any) -> dict[str, float]:
    """What the function says, called in a spawned process; told at once, too."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        figures = pool.submit(function, *arguments).result()
    print("  " + json.dumps(figures), flush=True)
    return figures


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered)) - 1))]


def spread(values: Sequence[float]) -> str:
    """Median and range, for a table."""
    return f"{statistics.median(values):8.2f}  ({min(values):.2f} - {max(values):.2f})"


def report(
    name: str, rows: Sequence[tuple[str, str]], result: dict[str, float], raw: Any, *, folder: Path | None = None
) -> Path:
    """Print the table and the RESULT line, and keep everything in <name>.json, in bench-output by default."""
    path = keep_raw(name, result, raw, folder=folder)
    width = max(len(label) for label, _ in rows)
    print()
    for label, value in rows:
        print(f"  {label:<{width}}  {value}")
    print(f"\n  kept in {os.path.relpath(path)}")
    print("RESULT " + " ".join(f"{key}={value:.3g}" for key, value in result.items()), flush=True)
    return path


def keep_raw(name: str, result: dict[str, float], raw: Any, *, folder: Path | None = None) -> Path:
    """Write <name>.json, in place of what an earlier part of the same run wrote."""
    machine = {"python": platform.python_version(), "cores": os.cpu_count(), "kernel": platform.release()}
    document = {"bench": name, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "machine": machine}
    path = (folder or ROOT / "bench-output") / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps({**document, "command": sys.argv, "result": result, "raw": raw}, indent=1))
    part.replace(path)
    return path
