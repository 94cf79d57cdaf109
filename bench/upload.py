"""Large multipart uploads by curl into the running server, beside what bounds them, interleaved in one run.

    python bench/upload.py [--gib 6] [--rounds 5] [--four]

A  cp of the same file to the same disk, and fsync
B  receive and hash: curl into a bare server that reads the socket and hashes, with no disk
C  nginx (client_body_in_file_only), curl into it; it neither hashes nor calls fsync
D  btworker: multipart, SHA-256, fsync, rename, row committed, 201
E  the same with WORKER_FAST_UPLOADS=0: every body through the HTTP parser
throughput_ratio is the median over the rounds of D / min(A, B); core_s_per_gib is what the parent's process used, user
and system, which a busy machine changes less than the seconds. While D runs, /health/live is asked 20 times a second
and the parent's memory is read; rss_growth_mb compares its peak with that of a 100 MB upload to a fresh server.
"""

import argparse
import asyncio
import hashlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support import (
    Server,
    Watch,
    cpu_s,
    make_file,
    memory_mb,
    percentile,
    report,
    reset_peak,
    server,
    spread,
    workplace,
)

GIB = 1 << 30
NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.err;
events {{ worker_connections 64; }}
http {{
  access_log off; client_max_body_size 0; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port};
    location /done {{ return 201 ok; }}
    location / {{
      client_body_in_file_only clean; client_body_buffer_size 1m;
      proxy_pass_request_body off; proxy_set_header Content-Length ""; proxy_pass http://127.0.0.1:{port}/done;
    }}
  }}
}}
"""


def copy(source: Path, target: Path) -> float:
    """Seconds of cp + fsync."""
    start = time.perf_counter()
    subprocess.run(["cp", str(source), str(target)], check=True)
    with open(target, "rb+") as file:
        os.fsync(file.fileno())
    seconds = time.perf_counter() - start
    target.unlink()
    return seconds


def curl(url: str, source: Path, *headers: str) -> float:
    """Seconds of one multipart upload; ends the bench when it is not answered 2xx."""
    command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-F", f"file=@{source};filename=a.wav", url]
    for header in ("Expect:", *headers):
        command += ["-H", header]
    start = time.perf_counter()
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    if not answer.stdout.startswith("2"):
        raise SystemExit(f"{url} answered {answer.stdout}")
    return time.perf_counter() - start


@contextmanager
def bare_receiver() -> Iterator[str]:
    """A process that reads a request with a body from a socket, hashes it, and answers 201."""
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import upload; upload.receive_and_hash()"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/"
    finally:
        process.kill()
        process.wait()


def receive_and_hash() -> None:
    """The receiver's loop: recv_into a 1 MiB buffer, SHA-256, nothing else."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        buffer = memoryview(bytearray(1 << 20))
        while True:
            connection, _ = listener.accept()
            with connection:
                received = connection.recv_into(buffer)
                head, _, start = bytes(buffer[:received]).partition(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                digest = hashlib.sha256(start)
                left = length - len(start)
                while left and (received := connection.recv_into(buffer)):
                    digest.update(buffer[:received])
                    left -= received
                connection.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


@contextmanager
def nginx(folder: Path) -> Iterator[str | None]:
    """A real nginx on a free port, or None where it is not installed."""
    binary = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
    if binary is None:
        yield None
        return
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port) + ("user root;" if os.geteuid() == 0 else ""))
    process = subprocess.Popen([binary, "-c", str(config), "-p", str(folder)], stderr=subprocess.DEVNULL)
    try:
        _wait_until_open(port)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait()


def _wait_until_open(port: int) -> None:
    end = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


def upload(at: Server, source: Path) -> float:
    """Seconds of one upload to btworker."""
    return curl(f"{at.url}/v1/jobs", source, f"Authorization: Bearer {at.token}")


def small_peak_mb(folder: Path, source: Path) -> float:
    """The parent's peak for uploads of 100 MB, on a server of its own."""
    small = folder / "small"
    with open(source, "rb") as file:
        small.write_bytes(file.read(100 << 20))
    own = folder / "small-server"
    own.mkdir()
    with server(own) as at:
        for _ in range(3):
            upload(at, small)
        return memory_mb(at.pid, "VmHWM")


async def four_at_once(at: Server, source: Path) -> tuple[float, float]:
    """Seconds until four uploads at once have ended, and how many cores of this machine were busy until then."""
    start, busy_before_s = time.perf_counter(), _busy_s()
    await asyncio.gather(*(asyncio.to_thread(upload, at, source) for _ in range(4)))
    seconds = time.perf_counter() - start
    return seconds, (_busy_s() - busy_before_s) / seconds


def _busy_s() -> float:
    """Seconds that all cores together were neither idle nor waiting for a disk (proc(5), /proc/stat)."""
    user, nice, system, _, _, interrupts, soft_interrupts = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + interrupts + soft_interrupts) / os.sysconf("SC_CLK_TCK")


WAYS = ("cp + fsync", "receive and hash", "nginx", "btworker", "by the parser")


def rounds_of(
    options: argparse.Namespace, folder: Path, source: Path, at: Server, parser: Server
) -> dict[str, list[float]]:
    """MB/s of each way, core-seconds a GiB of both of ours, and p99, a list per round, interleaved."""
    megabytes, gib = source.stat().st_size / 1e6, source.stat().st_size / GIB
    speeds: dict[str, list[float]] = {name: [] for name in (*WAYS, "core-s", "core-s by the parser", "p99")}
    with bare_receiver() as bare, nginx(folder) as proxy:
        for number in range(options.rounds):
            speeds["cp + fsync"].append(megabytes / copy(source, folder / "copy"))
            speeds["receive and hash"].append(megabytes / curl(bare, source))
            if proxy is not None:
                speeds["nginx"].append(megabytes / curl(proxy, source))
            watch, before = Watch(at), cpu_s(at.pid)
            with watch.watching():
                speeds["btworker"].append(megabytes / upload(at, source))
            speeds["core-s"].append((cpu_s(at.pid) - before) / gib)
            before = cpu_s(parser.pid)
            speeds["by the parser"].append(megabytes / upload(parser, source))
            speeds["core-s by the parser"].append((cpu_s(parser.pid) - before) / gib)
            speeds["p99"].append(percentile(watch.latencies_ms, 0.99))
            last = ", ".join(f"{name} {values[-1]:.4g}" for name, values in speeds.items() if values)
            print(f"  round {number + 1}: {last}", flush=True)
    return speeds


def measure(options: argparse.Namespace, folder: Path) -> None:
    """Everything, and the report."""
    source = folder / "source"
    make_file(source, int(options.gib * GIB))
    small_mb = small_peak_mb(folder, source)
    big, other = folder / "server", folder / "by-the-parser"
    big.mkdir()
    other.mkdir()
    with server(big) as at, server(other, WORKER_FAST_UPLOADS="0") as parser:
        reset_peak(at.pid)
        speeds = rounds_of(options, folder, source, at, parser)
        peak_mb = memory_mb(at.pid, "VmHWM")
        watch = Watch(at)
        with watch.watching():
            four_s, busy_cores = asyncio.run(four_at_once(at, source)) if options.four else (0.0, 0.0)
        four_peak_mb = memory_mb(at.pid, "VmHWM")
    p99s, ours, parsers = (speeds.pop(name) for name in ("p99", "core-s", "core-s by the parser"))
    ways = (speeds["cp + fsync"], speeds["receive and hash"], speeds["btworker"])
    ratios = [own / min(disk, hashing) for disk, hashing, own in zip(*ways, strict=True)]
    result = {
        "throughput_ratio": statistics.median(ratios),
        "core_s_per_gib": statistics.median(ours),
        "core_s_per_gib_by_parser": statistics.median(parsers),
        "rss_mb": peak_mb,
        "rss_growth_mb": peak_mb - small_mb,
        "health_p99_ms": max(p99s),
    }
    rows = [(f"{name}, MB/s", spread(values)) for name, values in speeds.items() if values]
    rows.append(("btworker / min(cp + fsync, receive and hash)", spread(ratios)))
    rows.append(("core-seconds of the parent a GiB", spread(ours)))
    rows.append(("core-seconds a GiB by the parser", spread(parsers)))
    rows.append(("peak memory of the parent, MB", f"{peak_mb:8.1f}  (100 MB upload: {small_mb:.1f})"))
    rows.append(("/health/live p99 while uploading, ms", spread(p99s)))
    if options.four:
        four_mb_s = 4 * source.stat().st_size / 1e6 / four_s
        p99 = percentile(watch.latencies_ms, 0.99)
        one = statistics.median(speeds["btworker"])
        result |= {
            "four_mb_s": four_mb_s,
            "four_over_one": four_mb_s / one,
            "four_busy_cores": busy_cores,
            "four_rss_mb": four_peak_mb,
            "four_health_p99_ms": p99,
        }
        rows.append(
            (
                "four uploads at once, MB/s together",
                f"{four_mb_s:8.1f}  ({busy_cores:.2f} cores busy, p99 {p99:.1f} ms, peak {four_peak_mb:.0f} MB)",
            )
        )
    report("upload", rows, result, {"speeds_mb_s": speeds, "ratios": ratios, "health_p99_ms": p99s})


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gib", type=float, default=6)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--four", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    with workplace() as folder:
        need = (6 if options.four else 3) * options.gib * GIB
        if shutil.disk_usage(folder).free < need:
            raise SystemExit(f"needs {need / GIB:.0f} GiB free in bench-output; try --gib 1")
        measure(options, folder)


if __name__ == "__main__":
    main()
