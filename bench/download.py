"""Inputs fetched by URL at full speed: memory of the parent, and how long /health/live takes meanwhile.

    python bench/download.py [--gib 2] [--rounds 3]

A controller of the bench's own serves a file and takes outputs and callbacks, in a process of its own. What is read is
the peak of the parent's memory, against that of a 100 MB download by a fresh server, and the latency of /health/live.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiohttp import web
from support import Server, Watch, make_file, memory_mb, percentile, report, reset_peak, server, spread, workplace

GIB = 1 << 30


async def control(path: Path) -> None:
    """The controller's loop: one file, whoever asks; prints its port."""

    async def take(request: web.Request) -> web.Response:
        await request.read()
        return web.json_response({"status": "ok", "outputsReceived": 1})

    async def give(_request: web.Request) -> web.FileResponse:
        return web.FileResponse(path)

    app = web.Application(client_max_size=GIB)
    app.router.add_get("/input", give)
    app.router.add_post("/take", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


@contextmanager
def controlling(path: Path) -> Iterator[int]:
    """The controller in a process of its own; its port."""
    process = subprocess.Popen([sys.executable, __file__, "--control", str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


def fetch(at: Server, port: int, key: str) -> float:
    """Dispatch a job with one URL; seconds until the file was there, as the server says (its stages' times)."""
    base = f"http://127.0.0.1:{port}"
    body = {
        "controllerJobId": key,
        "inputs": [{"inputId": "0", "filename": "long.wav", "downloadUrl": f"{base}/input"}],
        "callbackUrl": f"{base}/take",
        "outputsUploadUrl": f"{base}/take",
    }
    start = time.perf_counter()
    job = _ask(at, "/v1/jobs", json.dumps(body).encode())
    fetched_s = 0.0
    while job["status"] not in ("complete", "failed", "canceled"):
        time.sleep(0.02)
        job = _ask(at, f"/v1/jobs/{job['workerJobId']}")
        if not fetched_s and job["stage"] != "downloading":
            fetched_s = time.perf_counter() - start
    if job["status"] != "complete":
        raise SystemExit(f"the job ended as {job['status']}: {job['error']}")
    return fetched_s


def _ask(at: Server, path: str, body: bytes | None = None) -> dict[str, object]:
    headers = {"Content-Type": "application/json", **at.authorization}
    request = urllib.request.Request(at.url + path, data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, object] = json.load(answer)
        return found


def small_peak_mb(folder: Path) -> float:
    """The parent's peak for downloads of 100 MB, on a server of its own."""
    small, own = folder / "small", folder / "small-server"
    make_file(small, 100 << 20)
    own.mkdir()
    with controlling(small) as port, server(own, WORKER_ALLOWED_HOSTS=f"127.0.0.1:{port}") as at:
        for number in range(3):
            fetch(at, port, f"small-{number}")
        return memory_mb(at.pid, "VmHWM")


def measure(options: argparse.Namespace, folder: Path) -> None:
    """Everything, and the report."""
    small_mb = small_peak_mb(folder)
    source, big = folder / "source", folder / "server"
    make_file(source, int(options.gib * GIB))
    big.mkdir()
    speeds, p99s = [], []
    with controlling(source) as port, server(big, WORKER_ALLOWED_HOSTS=f"127.0.0.1:{port}") as at:
        reset_peak(at.pid)
        for number in range(options.rounds):
            watch = Watch(at)
            with watch.watching():
                speeds.append(source.stat().st_size / 1e6 / fetch(at, port, f"big-{number}"))
            p99s.append(percentile(watch.latencies_ms, 0.99))
            print(f"  round {number + 1}: {speeds[-1]:.0f} MB/s, /health/live p99 {p99s[-1]:.1f} ms", flush=True)
        peak_mb = memory_mb(at.pid, "VmHWM")
    rows = [
        (f"download of {options.gib:g} GiB, hashed and durable, MB/s", spread(speeds)),
        ("peak memory of the parent, MB", f"{peak_mb:8.1f}  (100 MB download: {small_mb:.1f})"),
        ("/health/live p99 meanwhile, ms", spread(p99s)),
    ]
    result = {"rss_mb": peak_mb, "rss_growth_mb": peak_mb - small_mb, "health_p99_ms": max(p99s)}
    report("download", rows, result, {"speeds_mb_s": speeds, "health_p99_ms": p99s})


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gib", type=float, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--control", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.control:
        asyncio.run(control(options.control))
        return
    with workplace() as folder:
        measure(options, folder)


if __name__ == "__main__":
    main()
