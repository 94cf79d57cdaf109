"""Tiny jobs with the scripted engine: how many are accepted a second with durable rows, and how soon they are complete.

    python bench/jobs.py [--jobs 500] [--clients 16] [--single 200]

Phase 1 submits all jobs from several clients at once. Phase 2 sends one job at a time and measures from the end of
its upload to the finishedAt that the server states (same clock). The disk's own fsync in the same run stands beside.
"""

import argparse
import asyncio
import os
import statistics
import time
from datetime import datetime
from pathlib import Path

import aiohttp
from support import Server, percentile, report, server, workplace

BODY = b"a tiny recording"


def form() -> aiohttp.FormData:
    """One small file."""
    data = aiohttp.FormData()
    data.add_field("file", BODY, filename="tiny.wav")
    return data


async def submit(session: aiohttp.ClientSession) -> tuple[str, float]:
    """Upload one job; its id and when the upload had ended (seconds since the epoch)."""
    sent_at = time.time()
    async with session.post("/v1/jobs", data=form()) as response:
        body = await response.json()
        if response.status != 201:
            raise SystemExit(f"a job was refused: {body}")
    return body["workerJobId"], sent_at


async def finished(session: aiohttp.ClientSession, job_id: str) -> float:
    """When the server says that the job was complete."""
    while True:
        async with session.get(f"/v1/jobs/{job_id}") as response:
            job = await response.json()
        if job["status"] == "complete":
            return datetime.fromisoformat(job["finishedAt"].replace("Z", "+00:00")).timestamp()
        if job["status"] in ("failed", "canceled"):
            raise SystemExit(f"a job ended as {job['status']}: {job['error']}")
        await asyncio.sleep(0.002)


async def many(session: aiohttp.ClientSession, jobs: int, clients: int) -> tuple[float, float]:
    """Seconds until all jobs were accepted, and until all were complete."""
    left = iter(range(jobs))
    ids: list[str] = []

    async def client() -> None:
        for _ in left:
            job_id, _ = await submit(session)
            ids.append(job_id)

    start = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    accepted_s = time.perf_counter() - start
    for job_id in ids:
        await finished(session, job_id)
    return accepted_s, time.perf_counter() - start


async def one_by_one(session: aiohttp.ClientSession, jobs: int) -> list[float]:
    """Milliseconds from the end of the upload to complete, a job at a time."""
    latencies = []
    for _ in range(jobs):
        job_id, sent_at = await submit(session)
        latencies.append((await finished(session, job_id) - sent_at) * 1000)
    return latencies


def fsync_ms(folder: Path, rounds: int = 200) -> list[float]:
    """What one small durable write costs on this disk."""
    times = []
    with open(folder / "fsync", "wb") as file:
        for _ in range(rounds):
            start = time.perf_counter()
            file.write(BODY)
            file.flush()
            os.fsync(file.fileno())
            times.append((time.perf_counter() - start) * 1000)
    return times


async def measure(at: Server, options: argparse.Namespace) -> None:
    """Both phases, after a warm-up."""
    async with aiohttp.ClientSession(at.url, headers=at.authorization) as session:
        await one_by_one(session, 5)
        accepted_s, complete_s = await many(session, options.jobs, options.clients)
        latencies = await one_by_one(session, options.single)
    disk = fsync_ms(at.folder)
    result = {
        "accepted_per_s": options.jobs / accepted_s,
        "completed_per_s": options.jobs / complete_s,
        "p50_ms": statistics.median(latencies),
        "p99_ms": percentile(latencies, 0.99),
        "fsync_p50_ms": statistics.median(disk),
    }
    rows = [
        (f"accepted, {options.clients} clients at once", f"{result['accepted_per_s']:8.1f} jobs/s"),
        ("completed, one child", f"{result['completed_per_s']:8.1f} jobs/s"),
        ("end of upload to complete, p50", f"{result['p50_ms']:8.1f} ms"),
        ("end of upload to complete, p99", f"{result['p99_ms']:8.1f} ms"),
        ("one fsync on this disk, p50", f"{result['fsync_p50_ms']:8.2f} ms"),
    ]
    report("jobs", rows, result, {"latencies_ms": latencies, "fsync_ms": disk})


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--single", type=int, default=200)
    options = parser.parse_args()
    with workplace() as folder, server(folder, WORKER_QUEUE_LIMIT="100000") as at:
        asyncio.run(measure(at, options))


if __name__ == "__main__":
    main()
