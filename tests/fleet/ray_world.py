"""A real cluster of Ray's on this machine, with a worker in front of it: what the tests on Ray share."""

import json
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from btworker.control import NoAnswerError, ask
from ray_here import Network, RayHere, ray_here, session_of
from tests.fleet.fleet_of import BOX
from tests.process.server_of import Server, plain_environment
from tests.waiting import until as until_at_once

until = partial(until_at_once, pause_s=0.1)
"""A look asks the front end, which is busy enough."""
WINDOWS = 8
PROGRAMS = {"gcs": "/gcs/gcs_server ", "raylet": "/raylet/raylet "}
"""Ray's own, and what is in their command lines."""


def script(window_s: float) -> list[list[Any]]:
    """A job of WINDOWS windows, which take so many seconds each."""
    return [step for n in range(1, WINDOWS + 1) for step in (["windows", n], ["sleep", window_s])]


@dataclass
class World:
    """The cluster and its front end."""

    cluster: RayHere
    server: Server

    def boxes(self) -> dict[str, Any]:
        """What `btworker fleet list` says; empty while nobody answers."""
        self.cluster.restart_ended()
        try:
            return self.fleet()
        except NoAnswerError:
            return {}

    def fleet(self, action: str = "list", box: str = "") -> dict[str, Any]:
        """Do what `btworker fleet drain` and its like do; the boxes. Raises NoAnswerError."""
        found = ask(self.server.folder / "data", "fleet", {"action": action, "box": box}, timeout_s=10)["boxes"]
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

    def kill(self, kind: str, name: str) -> int:
        """End a process of this kind, on this box where it is one of a box; 0 where there is none just now, else 1."""
        if kind == "head":
            self.cluster.kill(next(iter(self.cluster.own)))
            return 1
        if kind == "front":
            self.server.stop(signal.SIGKILL)
            self.server.start()
            return 1
        if kind == "gateway":
            return _kill(pid for pid in self.server.children() if "spawn_main" in _command(pid))
        return _kill(processes(self.cluster, next(iter(self.cluster.own)) if kind == "gcs" else name, kind))

    def transcript(self, job_id: str) -> Any:
        """What became of the job, once it is complete."""
        return json.loads(self.server.output(job_id, self.done(job_id)["outputs"][0]["filename"]))


def processes(cluster: RayHere, name: str, kind: str) -> Iterator[int]:
    """Those of this kind on a box."""
    for pid in session_of(cluster.units[name].pid):
        command = _command(pid)
        if kind in PROGRAMS and PROGRAMS[kind] in command:
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


def _kill(pids: Iterator[int]) -> int:
    found = list(pids)[:1]
    for pid in found:
        os.kill(pid, signal.SIGKILL)
    return len(found)


def on_box(job: Any) -> list[str]:
    """The boxes that the job was on."""
    return [line["message"].rpartition(" ")[2] for line in job["logs"] if "runs on the box" in line["message"]]


@contextmanager
def ray_world(
    folder: Path,
    *boxes: str,
    networks: Mapping[str, Network] | None = None,
    reconnect_s: int = RayHere.reconnect_s,
    all_have: Mapping[str, str] | None = None,
    **settings: str,
) -> Iterator[World]:
    """Boxes that are ready, the first one of them the head, and a front end with these settings beside it; `all_have`
    is for both."""
    if networks:
        settings = {"WORKER_FLEET_HOST": networks[boxes[0]].address, **settings}
    shared = {**BOX, **(all_have or {})}
    environment = plain_environment(**shared)
    with ray_here(folder, environment, *boxes, networks=networks, reconnect_s=reconnect_s) as cluster:
        of_front = {
            **shared,
            **cluster.access,
            "WORKER_POOL": "ray",
            "WORKER_RAY_ADDRESS": cluster.address,
            "WORKER_FLEET_PORT": "0",
            **settings,
        }
        server = Server(folder, of_front)
        server.start()
        try:
            found = World(cluster, server)
            found.until_ready(*boxes)
            yield found
        finally:
            if server.running:
                server.stop()
