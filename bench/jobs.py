"""Tiny jobs with the scripted engine: how many are accepted a second with durable rows, and how soon they are complete.

    python bench/jobs.py [--jobs 500] [--clients 16] [--single 200] [--before COMMIT --rounds 3] [--held]

Phase 1 submits all jobs from several clients at once. Phase 2 sends one job at a time and measures from the end of
its upload to the finishedAt that the server states (same clock). The disk's own fsync in the same run stands beside.
With --held, phase 1 once more, with a server of its own in which a job that waits keeps all others waiting: what
accepting alone costs.

With --before, each round measures this tree and an earlier commit, in turns. All folders are there until the last
round has ended: an ext4 without a journal looks, for each file that it makes, at those that were deleted in the last
minutes, so that what one round deletes would be the next one's time.
"""

import argparse
import asyncio
import json
import os
import statistics
import time
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import aiohttp
from support import ROOT, Server, cpu_s, earlier_tree, percentile, report, server, spread, workplace

BODY = b"a tiny recording"


def form(prompt: str = "") -> aiohttp.FormData:
    """One small file."""
    data = aiohttp.FormData()
    if prompt:
        data.add_field("prompt", prompt)
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


async def many(session: aiohttp.ClientSession, jobs: int, clients: int) -> tuple[list[str], list[float], float]:
    """Submit all jobs: their ids, milliseconds from each request to its answer, and seconds for all of them."""
    left = iter(range(jobs))
    ids: list[str] = []
    answers_ms: list[float] = []

    async def client() -> None:
        for _ in left:
            job_id, sent_at = await submit(session)
            ids.append(job_id)
            answers_ms.append((time.time() - sent_at) * 1000)

    start = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return ids, answers_ms, time.perf_counter() - start


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


async def measure(
    at: Server, options: argparse.Namespace, *, held: bool
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Both phases, after a warm-up, or the first alone: the figures, and what some of them are of."""
    async with aiohttp.ClientSession(at.url, headers=at.authorization) as session:
        await one_by_one(session, 5)
        if held:
            await hold(session, at)
        start, before_s = time.perf_counter(), cpu_s(at.pid)
        ids, answers_ms, accepted_s = await many(session, options.jobs, options.clients)
        figures = {
            "accepted_per_s": options.jobs / accepted_s,
            "answer_p50_ms": statistics.median(answers_ms),
            "parent_cpu_ms": (cpu_s(at.pid) - before_s) * 1000 / options.jobs,
        }
        raw = {"answers_ms": answers_ms, "fsync_ms": fsync_ms(at.folder)}
        figures["fsync_p50_ms"] = statistics.median(raw["fsync_ms"])
        if held:
            (at.folder / "go").touch()
            return figures, raw
        for job_id in ids:
            await finished(session, job_id)
        figures["completed_per_s"] = options.jobs / (time.perf_counter() - start)
        raw["latencies_ms"] = await one_by_one(session, options.single)
        figures["p50_ms"] = statistics.median(raw["latencies_ms"])
        figures["p99_ms"] = percentile(raw["latencies_ms"], 0.99)
    return figures, raw


async def hold(session: aiohttp.ClientSession, at: Server) -> None:
    """Keep the only place at work until there is a file `go`."""
    prompt = json.dumps({"steps": [["wait_file", str(at.folder / "go")]]})
    async with session.post("/v1/jobs", data=form(prompt)) as response:
        job_id = (await response.json())["workerJobId"]
    while True:
        async with session.get(f"/v1/jobs/{job_id}") as response:
            if (await response.json())["status"] == "running":
                return


def in_turns(options: argparse.Namespace, trees: dict[str, Path]) -> tuple[list[dict[str, float]], list[object]]:
    """The figures of each round, and all that was measured."""
    ways = {"": False, "held_": True} if options.held else {"": False}
    rounds: list[dict[str, float]] = []
    raw: list[object] = []
    with ExitStack() as until_the_end:
        for number in range(options.rounds):
            figures: dict[str, float] = {}
            for way, held in ways.items():
                for tree in sorted(trees, reverse=number % 2 == 1):
                    folder = until_the_end.enter_context(workplace())
                    with server(folder, tree=trees[tree], WORKER_QUEUE_LIMIT="100000") as at:
                        found, measured = asyncio.run(measure(at, options, held=held))
                    figures |= {f"{way}{tree}{key}": value for key, value in found.items()}
                    raw.append({"round": number + 1, "of": way + tree, **measured})
                if options.before:
                    times = figures[f"{way}accepted_per_s"] / figures[f"{way}before_accepted_per_s"]
                    figures[f"{way}accepted_times"] = times
            rounds.append(figures)
            shown = ", ".join(f"{key} {value:.3g}" for key, value in figures.items())
            print(f"  round {number + 1}: {shown}", flush=True)
    return rounds, raw


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--single", type=int, default=200)
    parser.add_argument("--before", metavar="COMMIT")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--held", action="store_true")
    options = parser.parse_args()
    trees = {"": ROOT}
    with ExitStack() as stack:
        if options.before:
            trees["before_"] = stack.enter_context(earlier_tree(options.before))
        rounds, raw = in_turns(options, trees)
    result = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    report("jobs", [(name, spread([one[name] for one in rounds])) for name in result], result, raw)


if __name__ == "__main__":
    main()
