"""An upload of several GB through a proxy that cuts every connection, beside the same one through it uncut.

    python bench/cut_upload.py [--gib 2] [--cut-mb 100] [--cut-s 0.5] [--rounds 1]

The client is btworker's own (`Client.send`, what `btworker transcribe` uses). The job's SHA-256 of what arrived must be
the file's. sent_ratio is the bytes that passed the proxy over the file's size: what the cuts cost.
"""

import argparse
import asyncio
import time
from pathlib import Path

from support import Server, make_file, memory_mb, report, reset_peak, server, spread, workplace

from btworker.checkpoints import file_sha256
from btworker.client import Client
from btworker.client.upload import size_of_file
from tests.acceptance.cutting_proxy import CuttingProxy

MIB = 1 << 20
NEVER_S = 86_400.0


async def upload(at: Server, source: Path, sha256: str, proxy: CuttingProxy) -> float:
    """Seconds of one upload; the job must have what the file has."""
    async with proxy.listening(), Client(proxy.url, at.token) as client:
        start = time.perf_counter()
        job = await client.send(source, {})
        seconds = time.perf_counter() - start
    if job.inputs[0].sha256 != sha256:
        raise SystemExit("what arrived is not what was sent")
    async with Client(at.url, at.token) as client:
        await client.wait(job.id, timeout_s=60)
        await client.delete(job.id)
    return seconds


def measure(options: argparse.Namespace, folder: Path) -> None:
    """Everything, and the report."""
    source = folder / "source.wav"
    make_file(source, int(options.gib * (1 << 30)))
    sha256, size = file_sha256(source), size_of_file(source)
    speeds: dict[str, list[float]] = {"uncut": [], "cut": []}
    proxies = []
    with server(folder) as at:
        for _ in range(options.rounds):
            uncut = CuttingProxy(at.url, NEVER_S, 1 << 50)
            speeds["uncut"].append(size / 1e6 / asyncio.run(upload(at, source, sha256, uncut)))
            reset_peak(at.pid)
            proxies.append(CuttingProxy(at.url, options.cut_s, options.cut_mb * MIB))
            speeds["cut"].append(size / 1e6 / asyncio.run(upload(at, source, sha256, proxies[-1])))
        peak_mb = memory_mb(at.pid, "VmHWM")
    by_size, by_time = ([getattr(one, name) for one in proxies] for name in ("cuts_by_size", "cuts_by_time"))
    ratios = [cut / plain for plain, cut in zip(speeds["uncut"], speeds["cut"], strict=True)]
    sent = [one.passed_bytes / size for one in proxies]
    rows = [
        *((f"{name}, MB/s", spread(values)) for name, values in speeds.items()),
        ("cut / uncut", spread(ratios)),
        (f"connections cut at {options.cut_mb} MB", spread(by_size)),
        (f"connections cut after {options.cut_s:g} s", spread(by_time)),
        ("bytes sent / size of the file", spread(sent)),
        ("peak memory of the parent, MB", f"{peak_mb:8.1f}"),
    ]
    result = {"throughput_ratio": min(ratios), "sent_ratio": max(sent), "cuts": sum(by_size) + sum(by_time)}
    report("cut_upload", rows, result, {"speeds_mb_s": speeds, "by_size": by_size, "by_time": by_time, "sent": sent})


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gib", type=float, default=2)
    parser.add_argument("--cut-mb", type=int, default=100)
    parser.add_argument("--cut-s", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    with workplace() as folder:
        measure(options, folder)


if __name__ == "__main__":
    main()
