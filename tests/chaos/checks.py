"""The end of a run: wait until everything has ended, then look at the server's word, its folder and its processes."""

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from btworker.job_folder import transcript_name
from tests.chaos.client import NO_ANSWER, request, text_of
from tests.chaos.ledger import ENDED, number_of
from tests.chaos.plan import JobPlan
from tests.chaos.server import ServerProcess

QUIET_DEADLINE_S = 180.0
"""Without a single job that ends; a machine that is busy with other things may need long for all of them."""
CLEAN_DEADLINE_S = 20.0
DESCRIPTORS_SLACK = 6
"""Descriptors that may be more than at the start: threads of the file executor that were not there yet, a log."""


async def quiet(server: ServerProcess) -> bool:
    """Wait until no job waits or runs; False when that does not come, and nothing moves any more either."""
    least = 2**31
    deadline = time.monotonic() + QUIET_DEADLINE_S
    while time.monotonic() < deadline:
        await server.up.wait()
        try:
            left = unended(await all_jobs(server))
        except (*NO_ANSWER, RuntimeError):
            left = least
        if left == 0:
            return True
        if left < least:
            least, deadline = left, time.monotonic() + QUIET_DEADLINE_S
        await asyncio.sleep(1)
    return False


async def all_jobs(server: ServerProcess) -> dict[str, Any]:
    """Every job that the server knows, by id."""
    jobs: dict[str, Any] = {}
    cursor = ""
    while True:
        page = await request(server.url, "GET", f"/v1/jobs?limit=200{cursor}")
        if page.status != 200:
            raise RuntimeError(f"the list of jobs is answered with {page.status}: {page.body}")
        jobs |= {job["workerJobId"]: job for job in page.body["jobs"]}
        if page.body["nextCursor"] is None:
            return jobs
        cursor = f"&cursor={page.body['nextCursor']}"


def wrong_results(data: Path, jobs: Mapping[str, Any], plans: Mapping[int, JobPlan]) -> list[str]:
    """Complete jobs whose result is not what their input and their script say, or repeats a window."""
    wrong: list[str] = []
    for job_id, job in jobs.items():
        if job["status"] == "complete":
            wrong += [f"{job_id}: {why}" for why in _wrong_with(data / "jobs" / job_id / "out", job, plans)]
    return wrong


def _wrong_with(out: Path, job: Any, plans: Mapping[int, JobPlan]) -> list[str]:
    if len(job["outputs"]) != 1:
        return [f"it has {len(job['outputs'])} outputs"]
    output = job["outputs"][0]
    try:
        content = (out / output["filename"]).read_bytes()
    except OSError as error:
        return [f"its result cannot be read: {error}"]
    if hashlib.sha256(content).hexdigest() != output["sha256"]:
        return ["its result is not the one that its row speaks of"]
    plan = plans[number_of(job)]
    transcript = json.loads(content)
    wrong = [] if transcript["text"] == text_of(plan) else [f"its transcript is {transcript['text']!r}"]
    indexes = [window["index"] for window in transcript["windows"]]
    if indexes != list(range(windows_of(plan))):
        wrong.append(f"its windows are {indexes}, of {windows_of(plan)}")
    return wrong


def windows_of(plan: JobPlan) -> int:
    """How many windows a job's script has."""
    return max(int(step[1]) for step in plan.steps if step[0] == "windows")


async def leftover_files(data: Path, jobs: Mapping[str, Any]) -> list[str]:
    """What nobody will read again and nobody has removed, once the server had a moment for it."""
    return await _settled(lambda: _leftover_files(data, jobs))


def _leftover_files(data: Path, jobs: Mapping[str, Any]) -> list[str]:
    left = [f"scratch/{path.name}" for path in (data / "scratch").iterdir()]
    for folder in (data / "jobs").iterdir():
        job = jobs.get(folder.name)
        if job is None:
            left.append(f"jobs/{folder.name}: of no job")
            continue
        allowed = {"out"} if job["status"] == "complete" else set()
        left += [f"jobs/{folder.name}/{name} ({job['status']})" for name in _names(folder) - allowed]
        out = folder / "out"
        named = {output["filename"] for output in job["outputs"]}
        named |= {transcript_name(index) for index in range(len(job["inputs"]))}
        if out.is_dir():
            left += [f"jobs/{folder.name}/out/{name}" for name in _names(out) - named]
    return left


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def descriptors(pid: int) -> int:
    """Open descriptors of a process."""
    return len(_names(Path(f"/proc/{pid}/fd")))


async def leaked_descriptors(server: ServerProcess, *, before: int) -> list[str]:
    """One sentence where the parent holds more than at its start."""

    def look() -> list[str]:
        now = descriptors(server.pid)
        return [f"{now} descriptors, {before} at the start"] if now > before + DESCRIPTORS_SLACK else []

    return await _settled(look)


async def leftover_processes(server: ServerProcess) -> list[str]:
    """Processes of this run that are there though no server is."""

    def look() -> list[str]:
        return [f"process {pid}" for pid in server.marked()]

    return await _settled(look) + server.orphans


async def _settled(look: Callable[[], list[str]]) -> list[str]:
    """What is still found after a while."""
    deadline = time.monotonic() + CLEAN_DEADLINE_S
    while (found := look()) and time.monotonic() < deadline:
        await asyncio.sleep(0.2)
    return found


def unended(jobs: Mapping[str, Any]) -> int:
    """Jobs that wait or run."""
    return sum(job["status"] not in ENDED for job in jobs.values())


def errors_in(log: Path) -> dict[str, int]:
    """Events at level error in the server's log, and lines that are no events, counted."""
    counts: dict[str, int] = {}
    for line in log.read_text(errors="replace").splitlines():
        try:
            event = json.loads(line)
            name = event["event"] if event["level"] in ("error", "critical") else ""
        except (ValueError, KeyError, TypeError):
            name = "(not an event)"
        if name:
            counts[name] = counts.get(name, 0) + 1
    return counts
