"""The same on a real cluster of Ray's, with token authentication: boxes on this machine, a worker in front of them, and
the death of each kind of process under load. `make test-fleet` runs this; `make full` with 500 deaths."""

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from btworker import __version__
from ray_here import RayHere, ray_here, session_of
from tests.fleet.fleet_of import BOX
from tests.process.server_of import ROOT, Server, plain_environment
from tests.slices import FULL, luck_of, slice_of
from tests.waiting import until as until_at_once

pytestmark = [pytest.mark.ray, pytest.mark.timeout(21600)]
KINDS = ("child", "box", "actor", "raylet", "gateway", "front", "head")
KILLS = int(os.environ.get("BTWORKER_FLEET_KILLS", "500"))
"""Under BTWORKER_FULL=1, which may be asked for in pieces; else some of the kinds, once each."""
NAMES = ("one", "two", "three") if FULL else ("one", "two")
"""The boxes; the first one is the head."""
until = partial(until_at_once, pause_s=0.1)
"""A look asks the front end, which is busy enough."""
WINDOWS = 8
STEPS: list[list[Any]] = [step for n in range(1, WINDOWS + 1) for step in (["windows", n], ["sleep", 0.2])]


@dataclass
class World:
    """The cluster and its front end."""

    cluster: RayHere
    server: Server

    def boxes(self) -> dict[str, Any]:
        """What `btworker fleet list` says; empty while nobody answers."""
        from btworker.control import NoAnswerError, ask

        self.cluster.restart_ended()
        try:
            found = ask(self.server.folder / "data", "fleet", {}, timeout_s=10)["boxes"]
        except NoAnswerError:
            return {}
        return {box["box"]: box for box in found}

    def until_ready(self, *names: str) -> None:
        """Wait until these boxes take jobs."""
        until(lambda: all(self.boxes().get(name, {}).get("ready") for name in names), f"{names} are ready")

    def done(self, job_id: str) -> Any:
        """The job, once it is complete, whatever has to be started again meanwhile."""

        def look() -> Any:
            self.cluster.restart_ended()
            job = self.server.job(job_id)
            return job if job["status"] in ("complete", "failed", "canceled") else None

        job = until(look, f"{job_id} ends")
        assert job["status"] == "complete", job["error"]
        return job

    def has_windows(self, job_id: str, count: int) -> bool:
        """Whether so many windows of the job are done."""
        self.cluster.restart_ended()
        job = self.server.job(job_id)
        return job["status"] == "complete" or job["progress"]["chunkIndex"] >= count

    def kill(self, kind: str, name: str) -> None:
        """End a process of this kind, on this box where it is one of a box."""
        if kind == "head":
            self.cluster.kill(NAMES[0])
        elif kind == "front":
            self.server.stop(signal.SIGKILL)
            self.server.start()
        elif kind == "gateway":
            _kill(pid for pid in self.server.children() if "spawn_main" in _command(pid))
        else:
            _kill(_processes(self.cluster, name, kind))


def _processes(cluster: RayHere, name: str, kind: str) -> Iterator[int]:
    for pid in session_of(cluster.units[name].pid):
        command = _command(pid)
        if kind == "raylet" and "/raylet/raylet " in command:
            yield pid
        if f"box_process {name} " in command and kind == "box":
            yield pid
        if "spawn_main" in command and kind == "child":
            yield pid
        if f"box_process {name} " in command and kind == "actor":
            yield int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def _kill(pids: Iterator[int]) -> None:
    for pid in list(pids)[:1]:
        os.kill(pid, signal.SIGKILL)


def on_box(job: Any) -> list[str]:
    """The boxes that the job was on."""
    return [line["message"].rpartition(" ")[2] for line in job["logs"] if "runs on the box" in line["message"]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Boxes that are ready."""
    folder = tmp_path_factory.mktemp("fleet")
    with ray_here(folder, plain_environment(**BOX), *NAMES) as cluster:
        settings = {
            **BOX,
            **cluster.access,
            "WORKER_POOL": "ray",
            "WORKER_RAY_ADDRESS": cluster.address,
            "WORKER_FLEET_PORT": "0",
            "WORKER_MAX_ATTEMPTS": "10",
        }
        server = Server(folder, settings)
        server.start()
        try:
            found = World(cluster, server)
            found.until_ready(*NAMES)
            yield found
        finally:
            if server.running:
                server.stop()


def test_each_box_does_its_share(world: World) -> None:
    """Jobs go to the emptiest box, their log names it, and the front end imports no Ray."""
    jobs = [world.server.submit(["windows", 1], ["sleep", 2]) for _ in range(2 * len(NAMES))]
    assert Counter(box for job_id in jobs for box in on_box(world.done(job_id))) == dict.fromkeys(NAMES, 2)
    maps = Path(f"/proc/{world.server.process.pid}/maps").read_text()
    assert "_raylet" not in maps
    ping = world.server.request("GET", "/v1/ping")[1]
    assert ping["maxConcurrentJobs"] == len(NAMES)


def test_a_box_of_another_release_takes_no_jobs(world: World, tmp_path: Path) -> None:
    """It says so in one sentence, while the others work; with the same release it is used."""
    (tmp_path / "sitecustomize.py").write_text("import btworker\nbtworker.__version__ = '9.9.9'\n")
    world.cluster.start("odd", PYTHONPATH=f"{tmp_path}:{ROOT}")
    sentence = f"the box odd takes no jobs: it has btworker 9.9.9, and the front end {__version__}"
    until(lambda: world.boxes().get("odd", {}).get("problem", "").startswith(sentence), "the odd box was refused")
    assert world.boxes()["odd"]["status"] == "refused"
    assert on_box(world.done(world.server.submit(["windows", 1])))[0] in NAMES
    world.cluster.kill("odd")
    world.cluster.own["odd"] = {}
    world.cluster.start("odd")
    world.until_ready("odd")
    world.cluster.kill("odd")
    del world.cluster.units["odd"], world.cluster.own["odd"]


def test_no_job_is_lost(world: World) -> None:
    """Under load, whatever is killed: each job is complete, and its windows are there once, in order, whichever boxes
    did them."""
    luck = luck_of("fleet kills")
    kinds = slice_of([KINDS[number % len(KINDS)] for number in range(KILLS if FULL else len(KINDS))], 3, "fleet kills")
    luck.shuffle(kinds)
    jobs: list[str] = []
    moves = 0
    for kind in kinds:
        began = time.monotonic()
        world.until_ready(luck.choice(NAMES))
        ready_s = time.monotonic() - began
        jobs += [world.server.submit(*STEPS) for _ in range(3)]
        until(partial(world.has_windows, jobs[-3], 2), kind)
        world.kill(kind, luck.choice(NAMES))
        print(f"{time.strftime('%X')} killed: {kind}; a box was ready after {ready_s:.1f} s")
    for job_id in jobs:
        job = world.done(job_id)
        moves += len(set(on_box(job))) > 1
        transcript = json.loads(world.server.output(job_id, job["outputs"][0]["filename"]))
        assert [window["index"] for window in transcript["windows"]] == list(range(WINDOWS)), job["logs"]
    print(f"{len(kinds)} deaths, {len(jobs)} jobs, {moves} of them on more than one box")
    world.until_ready(*NAMES)
    assert all(box["jobs"] == 0 for box in world.boxes().values())
    folders = [world.cluster.folder / name / "boxes" / name / "jobs" for name in NAMES]
    until(lambda: not any(path for folder in folders for path in folder.iterdir()), "nothing of a job is left on a box")
