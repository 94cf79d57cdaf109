"""How far a front end reaches, with 50 simulated boxes (fleet_many.py); then how many jobs three boxes do beside one:
real boxes of a Ray cluster on this machine, the whole dispatch path real, only the engine scripted (a job waits, so
that the boxes do not take each other's cores).

    python bench/fleet.py [--jobs 20] [--seconds 1] [--boxes 50]

Twice the same cluster: first with two of its boxes drained, then with all. Lost is what did not complete, doubled what
has a window twice. Where this Python has no Ray, the bench starts itself again in the environment that has.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]
BOXES = ("one", "two", "three")
MANY = Path(__file__).with_name("fleet_many.py")


def main() -> None:
    """Measure, and print the RESULT line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=20, help="jobs for each box that works")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long a job waits")
    parser.add_argument("--boxes", type=int, default=50, help="simulated ones before that; 0: none")
    options = parser.parse_args()
    if find_spec("ray") is None:
        run_beside_ray()
    from support import report

    if options.boxes:
        subprocess.run([sys.executable, str(MANY), "--boxes", str(options.boxes)], check=True)
    one, three = measure(options.jobs, options.seconds)
    rows = [(f"{len(done.boxes)} box(es)", f"{done.jobs} jobs in {done.seconds:.1f} s") for done in (one, three)]
    rows += [(f"CPU a job: {name}", f"{seconds / three.jobs * 1000:.1f} ms") for name, seconds in three.cpu_s.items()]
    speedup = (three.jobs / three.seconds) / (one.jobs / one.seconds)
    result = {
        "boxes3_speedup": speedup,
        "jobs_per_s": three.jobs / three.seconds,
        "lost": one.lost + three.lost,
        "doubled": one.doubled + three.doubled,
    }
    report("fleet", rows, result, [asdict(done) for done in (one, three)])


def run_beside_ray() -> None:
    """Go on in the environment that has Ray, which is set up where it is missing."""
    stack, beside = Path(sys.prefix), Path(f"{sys.prefix.removesuffix('-fleet')}-fleet")
    setup = [sys.executable, str(ROOT / "tools" / "fleet_env.py"), "--stack-venv", str(stack), "--venv", str(beside)]
    subprocess.run(setup, check=True, stdout=sys.stderr)
    python = str(beside / "bin" / "python")
    os.execv(python, [python, "-W", "ignore", __file__, *sys.argv[1:]])  # noqa: S606 - no shell is meant


@dataclass(frozen=True)
class Done:
    """One measurement."""

    boxes: tuple[str, ...]
    jobs: int
    seconds: float
    lost: int
    doubled: int
    cpu_s: dict[str, float]
    """Of the front end, and of its gateway, which Ray is in."""


def measure(jobs: int, seconds: float) -> tuple[Done, Done]:
    """With one box, and with three."""
    from ray_here import ray_here
    from tests.fleet.fleet_of import BOX
    from tests.process.server_of import plain_environment, serving

    with tempfile.TemporaryDirectory() as name, ray_here(Path(name), plain_environment(**BOX), *BOXES) as cluster:
        front = {"WORKER_POOL": "ray", "WORKER_RAY_ADDRESS": cluster.address, "WORKER_FLEET_PORT": "0"}
        with serving(Path(name), **BOX, **cluster.access, **front) as server:
            control(name, BOXES)
            one = work(server, name, BOXES[:1], jobs, seconds)
            return one, work(server, name, BOXES, jobs, seconds)


def control(folder: str, ready: tuple[str, ...], **request: str) -> None:
    """Ask the worker for a change of its boxes, then wait until these are ready."""
    from btworker.control import ask
    from tests.waiting import until

    data = Path(folder) / "data"
    ask(data, "fleet", request, timeout_s=30)

    def all_ready() -> bool:
        boxes = ask(data, "fleet", {}, timeout_s=30)["boxes"]
        return {box["box"] for box in boxes if box["ready"]} >= set(ready)

    until(all_ready, f"{ready} are ready")


def work(server: Any, folder: str, boxes: tuple[str, ...], jobs: int, seconds: float) -> Done:
    """Have these boxes do so many jobs each."""
    from fleet_many import gateway_of
    from support import cpu_s

    for name in BOXES:
        control(folder, boxes, action="resume" if name in boxes else "drain", box=name)
    processes = {"front end": server.process.pid, "gateway, with Ray": gateway_of(server.process.pid)}
    before = {name: cpu_s(pid) for name, pid in processes.items()}
    ids = [server.submit(["windows", 1], ["sleep", seconds], ["windows", 2]) for _ in range(jobs * len(boxes))]
    found = [server.ended(job_id) for job_id in ids]
    used = {name: cpu_s(pid) - before[name] for name, pid in processes.items()}
    began = min(moment(job["startedAt"]) for job in found)
    lasted = max(moment(job["finishedAt"]) for job in found) - began
    complete = [job for job in found if job["status"] == "complete"]
    doubled = sum(windows(server, job) != [0, 1] for job in complete)
    return Done(boxes, len(ids), lasted, len(found) - len(complete), doubled, used)


def windows(server: Any, job: Any) -> list[int]:
    """Indices of the windows in the job's transcript."""
    text = server.output(job["workerJobId"], job["outputs"][0]["filename"])
    return [window["index"] for window in json.loads(text)["windows"]]


def moment(text: str) -> float:
    """Seconds since the epoch."""
    from datetime import datetime

    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


if __name__ == "__main__":
    main()
