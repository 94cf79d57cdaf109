"""A Ray cluster of several boxes on this machine, for the demo, the tests and the bench of the fleet: `ray start
--block` for each of them, as their units have it, each with folders and settings of its own. Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

BESIDE = str(Path(sys.executable).parent / "ray")
START_S = 120.0
UP = b"Ray runtime started"
QUICK = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_worker_niceness": "0",
}
"""What docs/fleet.md advises: the head notices the end of a box within 10 s, and children come before nothing else."""


@dataclass(frozen=True)
class Network:
    """Where a box is."""

    address: str
    enter: tuple[str, ...] = ()
    """What begins a command that runs there."""


LOOPBACK = Network("127.0.0.1")


def free_port() -> int:
    """A port that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@dataclass
class RayHere:
    """The cluster. The first box that is started is its head."""

    folder: Path
    environment: Mapping[str, str]
    """Of all boxes and of the front end: settings of btworker."""
    port: int = field(default_factory=free_port)
    token: str = field(default_factory=lambda: secrets.token_hex(32))
    units: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    """Name of a box -> its `ray start`."""
    own: dict[str, Mapping[str, str]] = field(default_factory=dict)
    """Name of a box -> settings of its own."""
    networks: Mapping[str, Network] = field(default_factory=dict)
    """Name of a box -> where it is; else all share this machine's loopback."""
    reconnect_s: int = 10
    """Seconds after which a box ends whose head has ended; docs/fleet.md advises as many."""

    @property
    def address(self) -> str:
        """Of the head."""
        head = next(iter(self.own or self.networks), "")
        return f"{self.networks.get(head, LOOPBACK).address}:{self.port}"

    @property
    def access(self) -> dict[str, str]:
        """What lets a process into the cluster."""
        reconnect = {"RAY_gcs_rpc_server_reconnect_timeout_s": str(self.reconnect_s)}
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token, **QUICK, **reconnect}

    @property
    def ray_folder(self) -> Path:
        """Ray's own files; in a place with a short name, since sockets are among them."""
        return Path(f"/tmp/ray-{self.port}")  # noqa: S108 - the port is ours

    def log(self, name: str) -> Path:
        """Output of a box's `ray start`."""
        return self.folder / f"{name}.log"

    def start(self, name: str, **own: str) -> None:
        """Start a box, or start it again with the settings it had; returns before it has joined."""
        self.own.setdefault(name, own)
        first = next(iter(self.own)) == name
        place = ["--head", "--port", str(self.port), "--include-dashboard", "false", "--no-monitor"] if first else []
        network = self.networks.get(name, LOOPBACK)
        command = [
            *(*network.enter, sys.executable, BESIDE, "start", "--block"),
            *("--node-ip-address", network.address, "--node-name", name),
            *(place or ["--address", self.address]),
            *(
                "--num-cpus",
                "0",
                "--num-gpus",
                "0",
                "--include-log-monitor",
                "false",
                "--object-store-memory",
                "80000000",
                "--disable-usage-stats",
            ),
            *("--resources", json.dumps({"btworker_box": 1}), "--min-worker-port", "0", "--max-worker-port", "0"),
        ]
        if first:
            command += ["--temp-dir", str(self.ray_folder)]
        self.log(name).unlink(missing_ok=True)
        data = {"WORKER_DATA_DIR": str(self.folder / name)}
        environment = {**os.environ, **self.environment, **self.access, **data, **self.own[name]}
        with open(self.log(name), "ab") as log:
            self.units[name] = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def restart_ended(self) -> None:
        """Do what the units do: start again what has ended."""
        for name, process in list(self.units.items()):
            if process.poll() is not None:
                self.start(name)

    def until_up(self, name: str) -> None:
        """Wait until a box is in the cluster: two that start at once on one machine take each other's ports."""
        end = time.monotonic() + START_S
        while UP not in self.log(name).read_bytes():
            if self.units[name].poll() is not None or time.monotonic() > end:
                raise RuntimeError(self.log(name).read_text())
            time.sleep(0.1)

    def kill(self, name: str) -> None:
        """End a box with all that it has started, as a power cut does."""
        process = self.units[name]
        for pid in session_of(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        """End all boxes, the head last."""
        for name in reversed(list(self.units)):
            self.kill(name)
        self.units.clear()
        shutil.rmtree(self.ray_folder, ignore_errors=True)


def session_of(leader: int) -> list[int]:
    """The processes of a session, and those below them."""
    sessions: dict[int, int] = {}
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                parents[int(entry.name)], sessions[int(entry.name)] = int(fields[1]), int(fields[3])
    found = {pid for pid, session in sessions.items() if session == leader}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found)


@contextmanager
def ray_here(
    folder: Path,
    environment: Mapping[str, str],
    *boxes: str,
    networks: Mapping[str, Network] | None = None,
    reconnect_s: int = RayHere.reconnect_s,
) -> Iterator[RayHere]:
    """A cluster with these boxes, until the end of the block."""
    cluster = RayHere(folder, environment, networks=networks or {}, reconnect_s=reconnect_s)
    try:
        for name in boxes:
            cluster.start(name)
            cluster.until_up(name)
        yield cluster
    finally:
        cluster.stop()
