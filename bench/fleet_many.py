"""How far one front end reaches: 50 boxes of 8 GPUs, simulated (fleet_boxes.py), and recordings that wait all the time.

    python bench/fleet_many.py [--boxes 50] [--seconds 30] [--speed 100] [--minutes 10] [--input-kb 1200]

Real are: submissions over HTTP, the store, scheduling, the gateway with its queues, what boxes do but for their
children, and all bytes over the fleet's listener. Not in it are Ray, whose nodes are too many for a small machine, and
the line: all is on this machine. So the CPU that a job costs the front end is what counts, whoever else uses the cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from fleet_boxes import Load
from support import ROOT, cpu_s, memory_mb, report, workplace

from btworker.control import ask
from tests.fleet.fleet_of import BOX
from tests.process.server_of import TOKEN, Server, descendants, plain_environment, serving
from tests.waiting import eventually, until

PROGRAM = str(Path(__file__).with_name("fleet_boxes.py"))
CLIENTS = 16
BUSY = 0.85
"""Of a core: a loop that has as much to do is the bound."""


@dataclass
class Usage:
    """What the processes used while it was measured."""

    seconds: float
    jobs: int
    events: int
    records: int
    cpu_s: dict[str, float] = field(default_factory=dict)
    memory_mb: dict[str, float] = field(default_factory=dict)
    lag_s: float = 0.0
    scrape_ms: float = 0.0
    series: int = 0
    lost: int = 0
    doubled: int = 0
    slots: int = 0


def main() -> None:
    """Measure, print the table and a RESULT line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--boxes", type=int, default=50)
    parser.add_argument("--gpus", type=int, default=8, help="of each box")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long it is measured, once all GPUs have work")
    parser.add_argument("--speed", type=float, default=100.0, help="seconds of audio a second, of one GPU")
    parser.add_argument("--minutes", type=float, default=10.0, help="length of each recording")
    parser.add_argument("--input-kb", type=int, default=1200, help="size of each: 16 kbit/s")
    parser.add_argument("--rendition-kb", type=int, default=2400, help="of what players get: 32 kbit/s")
    parser.add_argument("--profile", help="file for the profile of the front end's main thread (which slows it)")
    options = parser.parse_args()
    load = Load(options.gpus, options.speed, options.minutes, rendition_bytes=options.rendition_kb * 1000)
    used = measure(options.boxes, load, options.seconds, options.input_kb * 1000, options.profile)
    report("fleet_many", rows(used, options.boxes, load), result(used), {"load": asdict(load), **asdict(used)})


def rows(used: Usage, boxes: int, load: Load) -> list[tuple[str, str]]:
    """The table."""
    wanted = boxes * load.gpus * load.speed / (load.minutes * 60)
    cores = {name: seconds / used.seconds for name, seconds in used.cpu_s.items()}
    front_ms = used.cpu_s["front end"] / used.jobs * 1000
    return [
        ("boxes, GPUs", f"{boxes} x {load.gpus}, each {load.speed:.0f} times real time"),
        ("recordings", f"{load.minutes:g} minutes; all GPUs busy would be {wanted:.1f} jobs/s"),
        ("done", f"{used.jobs / used.seconds:.1f} jobs/s ({used.jobs} in {used.seconds:.0f} s)"),
        ("GPUs busy", f"{used.jobs / used.seconds / wanted:.0%}"),
        ("events of jobs", f"{used.events / used.seconds:.0f}/s; records {used.records / used.seconds:.0f}/s"),
        *((f"CPU: {name}", f"{value:.2f} cores") for name, value in cores.items()),
        *((f"memory: {name}", f"{value:.0f} MB") for name, value in used.memory_mb.items()),
        ("front end's CPU", f"{front_ms:.1f} ms a job; one core: {1000 / front_ms:.0f} jobs/s"),
        ("event loop's lag", f"{used.lag_s * 1000:.0f} ms at most"),
        ("a scrape", f"{used.scrape_ms:.0f} ms, {used.series} series"),
        ("lost, doubled", f"{used.lost}, {used.doubled}"),
        ("bound", bound(cores, used.jobs / used.seconds / wanted)),
    ]


def bound(cores: dict[str, float], busy: float) -> str:
    """What kept it from doing more."""
    if busy > BUSY:
        return "the GPUs"
    names = [name for name, value in cores.items() if name in ("front end", "gateway") and value > BUSY]
    here = os.cpu_count() or 1
    if sum(cores.values()) > BUSY * here:
        names.append(f"the {here} cores of this machine, which boxes and clients use as well")
    if not names and os.getloadavg()[0] > 2 * here:
        names.append(f"others on this machine (load {os.getloadavg()[0]:.0f})")
    return ", ".join(names) or "none of the processes: the disk, or how long a recording waits for its turns"


def result(used: Usage) -> dict[str, float]:
    """For the RESULT line."""
    return {
        "jobs_per_s": used.jobs / used.seconds,
        "events_per_s": used.events / used.seconds,
        "front_ms_per_job": used.cpu_s["front end"] / used.jobs * 1000,
        "front_mb": used.memory_mb["front end"],
        "lost": used.lost,
        "doubled": used.doubled,
    }


def measure(boxes: int, load: Load, seconds: float, input_bytes: int, profile: str | None = None) -> Usage:
    """Run it."""
    with workplace() as folder, box_process(folder, boxes, load) as simulated:
        settings = {
            "WORKER_POOL": "ray",
            "WORKER_RAY_ADDRESS": str(folder / "boxes"),
            "WORKER_FLEET_PORT": "0",
            "WORKER_QUEUE_LIMIT": "100000",
            **({"BENCH_PROFILE": os.path.abspath(profile)} if profile else {}),
        }
        with serving(folder, program=(PROGRAM, "serve"), **settings) as server:
            until(lambda: ready(folder) == boxes * load.gpus, f"{boxes} boxes are ready", within_s=120)
            used = asyncio.run(keep_busy(server, simulated, folder, seconds, bytes(input_bytes)))
            used.slots = boxes * load.gpus
            server.stop()
        return used


@contextmanager
def box_process(folder: Path, boxes: int, load: Load) -> Iterator[int]:
    """All boxes in one process; its id."""
    place = folder / "boxes"
    place.mkdir()
    arguments = [PROGRAM, str(place), "1", str(boxes), json.dumps(asdict(load))]
    environment = plain_environment(**BOX, WORKER_DISK_RESERVE_MB="0")
    with open(folder / "boxes.log", "wb") as log:
        process = subprocess.Popen([sys.executable, *arguments], env=environment, cwd=ROOT, stdout=log, stderr=log)
    try:
        until((place / "box-01.counts").exists, "the boxes are there")
        yield process.pid
    finally:
        process.kill()
        process.wait()


def ready(folder: Path) -> int:
    """Workers that take jobs."""
    return sum(box["ready"] for box in ask(folder / "data", "fleet", {}, timeout_s=30)["boxes"])


async def keep_busy(server: Server, boxes: int, folder: Path, seconds: float, body: bytes) -> Usage:
    """Have recordings wait all the time; measure once all GPUs have one, then let all of them come to their end."""
    slots = ready(folder)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(server.url, headers=headers, connector=aiohttp.TCPConnector(limit=0)) as session:
        ids: list[str] = []
        stop = asyncio.Event()
        clients = [asyncio.create_task(submit(session, folder, ids, body, slots, stop)) for _ in range(CLIENTS)]
        await eventually(lambda: counts(folder)["finished"] >= slots, "each GPU has done one", within_s=600)
        used = await watch(session, server.process.pid, boxes, folder, seconds)
        stop.set()
        await asyncio.gather(*clients)
        await eventually(lambda: counts(folder)["finished"] >= len(ids), "all have been done", within_s=600)
        await until_idle(session)
    for job_id in ids:
        found = windows(folder, job_id)
        used.lost += found is None
        used.doubled += found is not None and found != list(range(len(found)))
    return used


async def submit(
    session: aiohttp.ClientSession, folder: Path, ids: list[str], body: bytes, slots: int, stop: asyncio.Event
) -> None:
    """Submit a job whenever fewer than half as many wait as there are GPUs."""
    while not stop.is_set():
        if len(ids) - counts(folder)["finished"] > 1.5 * slots:
            await asyncio.sleep(0.05)
            continue
        form = aiohttp.FormData()
        form.add_field("file", body, filename="recording.opus")
        async with session.post("/v1/jobs", data=form) as response:
            answer = await response.json()
            if response.status != 201:
                raise SystemExit(f"a job was refused: {answer}")
        ids.append(answer["workerJobId"])


async def watch(session: aiohttp.ClientSession, front: int, boxes: int, folder: Path, seconds: float) -> Usage:
    """What is used from now on, for so many seconds."""
    processes = {"front end": front, "gateway": gateway_of(front), "boxes": boxes, "clients": os.getpid()}
    before, cpu_before, began = counts(folder), {k: cpu_s(pid) for k, pid in processes.items()}, time.monotonic()
    await asyncio.sleep(seconds)
    after, lasted = counts(folder), time.monotonic() - began
    used = Usage(
        lasted,
        after["finished"] - before["finished"],
        after["events"] - before["events"],
        after["words"] - before["words"],
        {name: cpu_s(pid) - cpu_before[name] for name, pid in processes.items()},
        {name: memory_mb(pid) for name, pid in processes.items() if name != "clients"},
    )
    scrape_began = time.perf_counter()
    async with session.get("/metrics") as response:
        text = await response.text()
    used.scrape_ms = (time.perf_counter() - scrape_began) * 1000
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    used.series = len(lines)
    used.lag_s = next(float(line.split()[1]) for line in lines if line.startswith("btworker_event_loop_lag_seconds "))
    return used


def gateway_of(front: int) -> int:
    """The one child that is spawned; another process of the front end's keeps names of shared memory."""
    (found,) = [pid for pid in descendants(front) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return found


async def until_idle(session: aiohttp.ClientSession) -> None:
    """Wait until the front end has noted the end of all jobs."""
    while True:
        async with session.get("/v1/ping") as response:
            if (await response.json())["activeJobs"] == 0:
                return
        await asyncio.sleep(0.2)


def counts(folder: Path) -> dict[str, int]:
    """Of all boxes."""
    found: dict[str, Any] = json.loads((folder / "boxes" / "box-01.counts").read_text())
    return found


def windows(folder: Path, job_id: str) -> list[int] | None:
    """Indices of the windows in the job's transcript, None where it has none."""
    found = list((folder / "data" / "jobs" / job_id / "out").glob("*_transcript.json"))
    return [window["index"] for window in json.loads(found[0].read_text())["windows"]] if found else None


if __name__ == "__main__":
    main()
