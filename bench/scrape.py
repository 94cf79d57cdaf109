"""How long a scrape of /metrics takes while clients upload, jobs run and a queue waits.

    python bench/scrape.py [--scrapes 300] [--clients 8] [--queue 1000]

The queue is filled first with jobs that wait behind one that does not end. Then clients (in a process of their own) go
on to submit tiny jobs as fast as they are accepted, while /metrics is read every 50 ms.
"""

import argparse
import asyncio
import json
import multiprocessing
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
from support import Server, percentile, report, server, workplace

PAUSE_S = 0.05


def form(prompt: str = "") -> aiohttp.FormData:
    """One small file."""
    data = aiohttp.FormData()
    data.add_field("prompt", prompt)
    data.add_field("file", b"a tiny recording", filename="tiny.wav")
    return data


async def submit(session: aiohttp.ClientSession, prompt: str = "") -> None:
    """Upload one job."""
    async with session.post("/v1/jobs", data=form(prompt)) as response:
        if response.status != 201:
            raise SystemExit(f"a job was refused: {await response.text()}")


async def fill(session: aiohttp.ClientSession, jobs: int, gate: Path) -> None:
    """Let `jobs` jobs wait behind one that runs until the gate is there."""
    await submit(session, json.dumps({"steps": [["wait_file", str(gate)]]}))
    left = iter(range(jobs))

    async def client() -> None:
        for _ in left:
            await submit(session)

    await asyncio.gather(*(client() for _ in range(16)))


async def submit_for_ever(at: Server, clients: int) -> None:
    """Jobs from several clients, each with its own connection."""

    async def client() -> None:
        async with aiohttp.ClientSession(at.url, headers=at.authorization) as session:
            while True:
                await submit(session)

    await asyncio.gather(*(client() for _ in range(clients)))


@contextmanager
def load(at: Server, clients: int) -> Iterator[None]:
    """Clients are at work, in a process of their own: their time is not the scrape's."""
    context = multiprocessing.get_context("fork")
    process = context.Process(target=lambda: asyncio.run(submit_for_ever(at, clients)))
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


async def scrapes(session: aiohttp.ClientSession, count: int) -> tuple[list[float], str]:
    """Milliseconds of each scrape, and the text of the last."""
    times, text = [], ""
    for _ in range(count):
        start = time.perf_counter()
        async with session.get("/metrics") as response:
            text = await response.text()
        times.append((time.perf_counter() - start) * 1000)
        await asyncio.sleep(PAUSE_S)
    return times, text


def cpu_s(text: str) -> float:
    """What the server says that it has used of its CPU so far, in seconds."""
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith("process_cpu_seconds_total "))


async def measure(at: Server, options: argparse.Namespace) -> None:
    """Idle, then under load."""
    gate = at.folder / "gate"
    async with aiohttp.ClientSession(at.url, headers=at.authorization) as session:
        _, before = await scrapes(session, 1)
        idle, after = await scrapes(session, options.scrapes)
        await fill(session, options.queue, gate)
        with load(at, options.clients):
            busy, text = await scrapes(session, options.scrapes)
    gate.touch()
    series = sum(not line.startswith("#") for line in text.splitlines())
    result = {
        "cpu_ms": (cpu_s(after) - cpu_s(before)) / options.scrapes * 1000,
        "idle_p50_ms": statistics.median(idle),
        "idle_max_ms": max(idle),
        "load_p50_ms": statistics.median(busy),
        "load_p99_ms": percentile(busy, 0.99),
        "load_max_ms": max(busy),
        "series": float(series),
    }
    rows = [
        ("the server's CPU for a scrape, idle", f"{result['cpu_ms']:8.1f} ms"),
        ("scrape, idle, p50 / max", f"{result['idle_p50_ms']:8.1f} / {result['idle_max_ms']:.1f} ms"),
        (f"scrape, {options.clients} clients upload, p50", f"{result['load_p50_ms']:8.1f} ms"),
        ("the same, p99", f"{result['load_p99_ms']:8.1f} ms"),
        ("the same, longest", f"{result['load_max_ms']:8.1f} ms"),
        ("series, bytes", f"{series:8d}, {len(text)}"),
    ]
    report("scrape", rows, result, {"idle_ms": idle, "load_ms": busy})


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scrapes", type=int, default=300)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--queue", type=int, default=1000)
    options = parser.parse_args()
    with workplace() as folder, server(folder, WORKER_QUEUE_LIMIT="100000") as at:
        asyncio.run(measure(at, options))


if __name__ == "__main__":
    main()
