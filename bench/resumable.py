"""Resumable uploads (tus) in pieces, beside multipart uploads of the same file to the same worker, interleaved.

    python bench/resumable.py [--gib 6] [--piece-mb 64] [--rounds 3]

throughput_ratio is the median over the rounds of tus / multipart; both end with a job. Every piece is durable before
the next one is sent. While a tus upload runs, the parent's memory and /health/live are watched.
"""

import argparse
import http.client
import statistics
import subprocess
import time
from email.message import Message
from pathlib import Path
from urllib.parse import urlsplit

from support import Server, Watch, make_file, memory_mb, percentile, report, reset_peak, server, spread, workplace

GIB = 1 << 30
MIB = 1 << 20
UPLOADS = "/v1/uploads"


def multipart(at: Server, source: Path) -> float:
    """Seconds of one upload by curl."""
    command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-F", f"file=@{source};filename=a.wav"]
    command += ["-H", "Expect:", "-H", f"Authorization: Bearer {at.token}", f"{at.url}/v1/jobs"]
    start = time.perf_counter()
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    if answer.stdout != "201":
        raise SystemExit(f"multipart: {answer.stdout}")
    return time.perf_counter() - start


def tus(at: Server, source: Path, piece_bytes: int, *, path: str = UPLOADS) -> float:
    """Seconds of one upload in pieces over one connection; btworker's last answer names the job."""
    size = source.stat().st_size
    common = {**at.authorization, "Tus-Resumable": "1.0.0"}
    connection = http.client.HTTPConnection(urlsplit(at.url).netloc, timeout=600, blocksize=MIB)
    start = time.perf_counter()
    headers = {**common, "Upload-Length": str(size), "Upload-Metadata": "filename YS53YXY=,submit e30="}
    place = _asked(connection, "POST", path, b"", headers, 201)["Location"]
    with source.open("rb") as file:
        offset, last = 0, Message()
        while data := file.read(piece_bytes):
            headers = {**common, "Content-Type": "application/offset+octet-stream", "Upload-Offset": str(offset)}
            last = _asked(connection, "PATCH", place, data, headers, 204)
            offset = int(last["Upload-Offset"])
    seconds = time.perf_counter() - start
    connection.close()
    if path == UPLOADS and not last.get("Btworker-Job"):
        raise SystemExit("tus: the upload did not become a job")
    return seconds


def _asked(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes, headers: dict[str, str], status: int
) -> Message:
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    text = response.read()
    if response.status != status:
        raise SystemExit(f"{method} {path}: {response.status} {text!r}")
    return response.headers


def measure(options: argparse.Namespace, folder: Path) -> None:
    """Everything, and the report."""
    source = folder / "source"
    make_file(source, int(options.gib * GIB))
    megabytes = source.stat().st_size / 1e6
    speeds: dict[str, list[float]] = {"multipart": [], "tus": []}
    p99s = []
    with server(folder) as at:
        for number in range(options.rounds):
            speeds["multipart"].append(megabytes / multipart(at, source))
            reset_peak(at.pid)
            watch = Watch(at)
            with watch.watching():
                speeds["tus"].append(megabytes / tus(at, source, options.piece_mb * MIB))
            p99s.append(percentile(watch.latencies_ms, 0.99))
            last = ", ".join(f"{name} {values[-1]:.0f} MB/s" for name, values in speeds.items())
            print(f"  round {number + 1}: {last}", flush=True)
        peak_mb = memory_mb(at.pid, "VmHWM")
    ratios = [ours / plain for plain, ours in zip(speeds["multipart"], speeds["tus"], strict=True)]
    result = {"throughput_ratio": statistics.median(ratios), "rss_mb": peak_mb, "health_p99_ms": max(p99s)}
    rows = [
        *((f"{name}, MB/s", spread(values)) for name, values in speeds.items()),
        (f"tus in pieces of {options.piece_mb} MB / multipart", spread(ratios)),
        ("peak memory of the parent with tus, MB", f"{peak_mb:8.1f}"),
        ("/health/live p99 meanwhile, ms", spread(p99s)),
    ]
    report("resumable", rows, result, {"speeds_mb_s": speeds, "ratios": ratios, "health_p99_ms": p99s})


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gib", type=float, default=6)
    parser.add_argument("--piece-mb", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with workplace() as folder:
        measure(options, folder)


if __name__ == "__main__":
    main()
