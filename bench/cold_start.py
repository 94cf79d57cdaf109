"""How soon a worker with a real checkpoint can work: a start, a job after an idle child's end, `btworker transcribe`.

    python bench/cold_start.py --checkpoint base.pt [--recording FILE] [--rounds 3] [--before COMMIT]

On the CPU. Wall time stands beside CPU time, which a busy machine changes least; memory is the child's, resident (RSS)
and its own (RssAnon), once it is ready and after a job. With an earlier commit, all of it is done in turns.
"""

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
from support import ROOT, Server, cpu_s, earlier_tree, memory_mb, report, server, spread, workplace

POLL_S = 0.01
IDLE_MINUTES = "0.1"
"""Long enough for the next job to find the child, on a busy machine, too."""


def speech(checkpoint: Path) -> dict[str, str]:
    """Settings of a worker with this model."""
    return {
        "WORKER_ENGINE": "btworker.engine.engine:load",
        "WORKER_MODEL": "measured",
        "WORKER_MODELS": f"measured={checkpoint.resolve()}",
        "WORKER_OFFLINE": "1",
    }


def children_of(pid: int) -> list[int]:
    """Process ids of its spawned children that load an engine."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(one) for one in found if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]


async def readiness(session: aiohttp.ClientSession, *, loading: bool) -> None:
    """Return once the worker is ready, with a loaded child or without one."""
    while True:
        async with session.get("/health/ready") as response:
            state = await response.json()
        if response.status == 200 and state.get("loading", False) == loading:
            return
        await asyncio.sleep(POLL_S)


async def ended(session: aiohttp.ClientSession, job_id: str) -> dict[str, Any]:
    """A job once it has ended, by its events: to ask again and again takes cores from the worker."""
    name = ""
    async with session.get(f"/v1/jobs/{job_id}/events", timeout=aiohttp.ClientTimeout(total=None)) as response:
        async for line in response.content:
            kind, _, value = line.decode().strip().partition(": ")
            name = value if kind == "event" else name
            if kind == "data" and name == "done":
                return dict(json.loads(value))
    raise SystemExit("the job's events broke off")


async def job_s(session: aiohttp.ClientSession, recording: bytes) -> float:
    """Seconds from sending a recording until its job is complete."""
    began = time.perf_counter()
    form = aiohttp.FormData()
    form.add_field("file", recording, filename="recording")
    async with session.post("/v1/jobs", data=form) as response:
        job = await response.json()
    job = await ended(session, job["workerJobId"])
    if job["status"] == "failed":
        raise SystemExit(f"the job failed: {job['error']}")
    return time.perf_counter() - began


def started_s(pid: int) -> float:
    """When a process was started, in seconds since the machine was."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


async def start(at: Server, began: float, recording: bytes) -> dict[str, float]:
    """A worker's start until it is ready, and its first two jobs."""
    async with aiohttp.ClientSession(at.url, headers=at.authorization) as session:
        await readiness(session, loading=False)
        ready_s = time.perf_counter() - began
        [child] = children_of(at.pid)
        figures = {"spawned_s": started_s(child) - started_s(at.pid)}
        figures |= {"ready_s": ready_s, "child_cpu_s": cpu_s(child), "parent_cpu_s": cpu_s(at.pid)}
        figures |= {"ready_rss_mb": memory_mb(child), "ready_own_mb": memory_mb(child, "RssAnon")}
        figures |= {"first_job_s": await job_s(session, recording), "second_job_s": await job_s(session, recording)}
        return figures | {"rss_mb": memory_mb(child), "own_mb": memory_mb(child, "RssAnon")}


async def after_idleness(at: Server, recording: bytes) -> dict[str, float]:
    """A job that finds no child, and one that finds it."""
    async with aiohttp.ClientSession(at.url, headers=at.authorization) as session:
        await readiness(session, loading=True)
        cold_s = await job_s(session, recording)
        [child] = children_of(at.pid)
        cold_cpu_s = cpu_s(child)  # all of its life
        warm_s = await job_s(session, recording)
        warm_cpu_s = cpu_s(child) - cold_cpu_s
        return {"cold_job_s": cold_s, "warm_job_s": warm_s, "cold_cpu_s": cold_cpu_s, "warm_cpu_s": warm_cpu_s}


def command(checkpoint: Path, recording: Path, folder: Path, tree: Path) -> dict[str, float]:
    """`btworker transcribe --live` until its first line of text, and to its end."""
    environment = {**os.environ, **speech(checkpoint), "WORKER_DEVICE": "cpu", "PYTHONPATH": str(tree)}
    line = [
        sys.executable,
        "-m",
        "btworker",
        "transcribe",
        str(recording.resolve()),
        "--live",
        "--output-dir",
        str(folder),
    ]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(line, env=environment, stdout=pipe, stderr=nothing, cwd=tree) as process:
        assert process.stdout is not None
        if not process.stdout.readline().startswith(b"["):
            raise SystemExit("the command printed no text")
        first_s = time.perf_counter() - began
        process.stdout.read()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"first_text_s": first_s, "command_s": time.perf_counter() - began, "command_cpu_s": used_s}


def once(options: argparse.Namespace, folder: Path, tree: Path) -> dict[str, float]:
    """One round."""
    (folder / "out").mkdir()
    figures = command(options.checkpoint, options.recording, folder / "out", tree)
    for name, settings in (("start", {}), ("idle", {"WORKER_IDLE_UNLOAD_MINUTES": IDLE_MINUTES})):
        if name == "idle" and options.no_idle:
            continue
        (folder / name).mkdir()
        began = time.perf_counter()
        with server(folder / name, tree=tree, **speech(options.checkpoint), **settings) as at:
            sound = options.recording.read_bytes()
            work = start(at, began, sound) if name == "start" else after_idleness(at, sound)
            figures |= asyncio.run(work)
    return figures


ROWS = {
    "first_text_s": "transcribe: seconds to the first text",
    "command_s": "transcribe: seconds to its end",
    "command_cpu_s": "transcribe: CPU seconds of all its processes",
    "spawned_s": "serve: seconds until the child is spawned",
    "ready_s": "serve: seconds until ready",
    "child_cpu_s": "serve: CPU seconds of the child until ready",
    "parent_cpu_s": "serve: CPU seconds of the parent until ready",
    "ready_rss_mb": "child when ready, MB",
    "ready_own_mb": "child when ready, its own MB",
    "rss_mb": "child after two jobs, MB",
    "own_mb": "child after two jobs, its own MB",
    "first_job_s": "first job, seconds",
    "second_job_s": "second job, seconds",
    "cold_job_s": "job without a child, seconds",
    "warm_job_s": "the next one, seconds",
    "cold_cpu_s": "job without a child: CPU seconds of the child, its start included",
    "warm_cpu_s": "the next one: CPU seconds of the child",
}


def main() -> None:
    """All rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--recording", type=Path, default=ROOT / "tests" / "data" / "real" / "jfk.opus")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-idle", action="store_true", help="for releases without WORKER_IDLE_UNLOAD_MINUTES")
    parser.add_argument("--before", metavar="COMMIT", help="measure this one, too")
    options = parser.parse_args()
    rounds: list[dict[str, Any]] = []
    with ExitStack() as stack:
        trees = {"": ROOT}
        if options.before:
            trees = {"before_": stack.enter_context(earlier_tree(options.before)), **trees}
        for number in range(options.rounds):
            rounds.append({})
            for which, tree in trees.items():
                with workplace() as folder:
                    rounds[-1] |= {which + name: value for name, value in once(options, folder, tree).items()}
            print(f"  round {number + 1}: " + " ".join(f"{k}={v:.2f}" for k, v in rounds[-1].items()), flush=True)
    texts = {which + name: which.replace("_", ": ") + text for which in trees for name, text in ROWS.items()}
    texts = {name: text for name, text in texts.items() if name in rounds[0]}
    rows = [(text, spread([one[name] for one in rounds])) for name, text in texts.items()]
    report("cold_start", rows, {name: statistics.median(one[name] for one in rounds) for name in texts}, rounds)


if __name__ == "__main__":
    main()
