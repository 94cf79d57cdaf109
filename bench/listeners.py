"""Many listeners of one job's events: memory of the parent, and how long /health/live takes meanwhile.

    python bench/listeners.py [--listeners 500] [--windows 90]

The scripted engine tells a window every 50 ms; each listener must hear of the job's end.
"""

import argparse
import asyncio
import json

import aiohttp
from support import Server, Watch, memory_mb, percentile, report, reset_peak, server, workplace


async def listen(session: aiohttp.ClientSession, path: str, joined: "asyncio.Semaphore") -> int:
    """Events heard, up to the last."""
    events = 0
    async with session.get(path) as response:
        joined.release()
        async for line in response.content:
            events += line.startswith(b"event: ")
            if line.startswith(b"event: done"):
                return events
    raise SystemExit("a stream ended without the job's end")


async def submit(session: aiohttp.ClientSession, windows: int) -> str:
    """A job that tells `windows` windows, once it may."""
    steps: list[list[object]] = [["sleep", 10.0]]
    for number in range(1, windows + 1):
        steps += [["windows", number], ["sleep", 0.05]]
    data = aiohttp.FormData()
    data.add_field("prompt", json.dumps({"steps": steps}))
    data.add_field("file", b"a tiny recording", filename="tiny.wav")
    async with session.post("/v1/jobs", data=data) as response:
        body = await response.json()
        if response.status != 201:
            raise SystemExit(f"the job was refused: {body}")
        return str(body["workerJobId"])


async def measure(at: Server, options: argparse.Namespace) -> None:
    """Everybody joins, listens to the end, and leaves."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(at.url, headers=at.authorization, connector=connector) as session:
        before_mb = memory_mb(at.pid)
        reset_peak(at.pid)
        job_id = await submit(session, options.windows)
        joined = asyncio.Semaphore(0)
        path = f"/v1/jobs/{job_id}/events"
        tasks = [asyncio.create_task(listen(session, path, joined)) for _ in range(options.listeners)]
        for _ in tasks:
            await joined.acquire()
        watch = Watch(at)
        with watch.watching():
            events = await asyncio.gather(*tasks)
        peak_mb = memory_mb(at.pid, "VmHWM")
    p99 = percentile(watch.latencies_ms, 0.99)
    rows = [
        (f"{options.listeners} listeners, events each", f"{min(events)} - {max(events)}"),
        ("memory that they took, MB", f"{peak_mb - before_mb:8.1f}  (peak {peak_mb:.1f})"),
        ("/health/live p99 meanwhile, ms", f"{p99:8.1f}"),
    ]
    result = {"listeners_mb": peak_mb - before_mb, "health_p99_ms": p99}
    report("listeners", rows, result, {"events": events})


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--listeners", type=int, default=500)
    parser.add_argument("--windows", type=int, default=90)
    options = parser.parse_args()
    with workplace() as folder, server(folder) as at:
        asyncio.run(measure(at, options))


if __name__ == "__main__":
    main()
