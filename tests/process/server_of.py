"""A real `python -m btworker serve` for the process tests, and who its children are."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import Self

from tests.process.pool_of import FAKE_ENGINE
from tests.waiting import WITHIN_S, until

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "a-token-for-tests"


def plain_environment(**more: str) -> dict[str, str]:
    """This process's environment without any setting of btworker, and with `more`."""
    bound = ("WORKER_", "CUDA_", "HF_", "OMP_WAIT_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(bound)}
    return {**kept, "PYTHONPATH": str(ROOT), "COLUMNS": "100", **more}


@dataclass
class Server:
    """`python -m btworker serve` on a data folder of its own, with the scripted engine unless `settings` say otherwise.

    A second start keeps the port and the data. `request` gives (status, JSON).
    """

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    program: Sequence[str] = ("-m", "btworker", "serve")
    url: str = ""
    process: "subprocess.Popen[bytes]" = field(init=False)
    ready: Path = field(init=False)
    """The file that it writes once it listens."""
    defaults: ClassVar[dict[str, str]] = {
        "WORKER_MODEL": "fake",
        "WORKER_MODELS": "fake",
        "WORKER_LOG_FORMAT": "json",
    }

    @property
    def log(self) -> Path:
        """Its output, of all starts."""
        return self.folder / "server.log"

    @property
    def running(self) -> bool:
        """The parent exists."""
        return hasattr(self, "process") and self.process.poll() is None

    def environment(self) -> dict[str, str]:
        """What it is started with."""
        return plain_environment(
            **{
                "WORKER_TOKEN": TOKEN,
                "WORKER_PORT": self.url.rpartition(":")[2] or "0",
                "WORKER_DATA_DIR": str(self.folder / "data"),
                "WORKER_ENGINE": FAKE_ENGINE,
                "WORKER_DEVICE": "cpu",
                "WORKER_DISK_RESERVE_MB": "0",
                **self.defaults,
                **self.settings,
            }
        )

    def spawn(self) -> None:
        """Start it, and wait for nothing."""
        self.ready = self.folder / f"ready-{uuid.uuid4().hex}.json"
        command = [sys.executable, *self.program, "--ready-file", str(self.ready)]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, env=self.environment(), stdout=log, stderr=log, cwd=ROOT)

    def start(self) -> Self:
        """Start it and wait until it listens."""
        self.spawn()
        until(lambda: not self.running or (self.ready.exists() and self.ready.stat().st_size), "the server listens")
        assert self.running, self.log.read_text()
        self.url = json.loads(self.ready.read_text())["url"]
        return self

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send it a signal and wait for its exit code."""
        self.process.send_signal(number)
        return self.process.wait(WITHIN_S)

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
        """One request with the token."""
        request = urllib.request.Request(self.url + path, data=body, method=method)
        for name, value in {"Authorization": f"Bearer {TOKEN}", **headers}.items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                raw = answer.read()
                return answer.status, json.loads(raw) if raw else None
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def submit(self, *steps: list[Any]) -> str:
        """Upload one small file with a script; the job's id."""
        return self.upload("talk.wav", b"hello", prompt=json.dumps({"steps": list(steps)}))

    def upload(self, name: str, content: bytes, **options: str) -> str:
        """Upload one file; the job's id."""
        boundary = uuid.uuid4().hex
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="'
        fields = "".join(f'{head}{key}"\r\n\r\n{value}\r\n' for key, value in options.items())
        file = f'{head}file"; filename="{name}"\r\n\r\n'
        body = (fields + file).encode() + content + f"\r\n--{boundary}--\r\n".encode()
        kind = f"multipart/form-data; boundary={boundary}"
        status, job = self.request("POST", "/v1/jobs", body, **{"Content-Type": kind})
        assert status == 201, job
        return str(job["workerJobId"])

    def output(self, job_id: str, name: str) -> str:
        """One result as text."""
        request = urllib.request.Request(f"{self.url}/v1/jobs/{job_id}/outputs/{name}")
        request.add_header("Authorization", f"Bearer {TOKEN}")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return str(answer.read().decode())

    def job(self, job_id: str) -> Any:
        """The job as the API shows it."""
        return self.request("GET", f"/v1/jobs/{job_id}")[1]

    def ended(self, job_id: str) -> Any:
        """The job once it has ended."""
        return until(lambda: (job := self.job(job_id))["status"] in ("complete", "failed", "canceled") and job)

    def children(self) -> list[int]:
        """Process ids of everything that this server started, at any depth."""
        return descendants(self.process.pid)


@contextmanager
def serving(
    folder: Path, *, wait: bool = True, program: Sequence[str] = Server.program, **settings: str
) -> Iterator[Server]:
    """Start a server on a free port; it is killed at the end if the test has not stopped it."""
    server = Server(folder, settings, program)
    try:
        if wait:
            server.start()
        else:
            server.spawn()
        yield server
    finally:
        if server.running:
            server.process.kill()
        if hasattr(server, "process"):
            server.process.wait()


def descendants(pid: int) -> list[int]:
    """All processes below one, from /proc."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        children = parents.get(todo.pop(), [])
        found += children
        todo += children
    return found


def busy_port() -> socket.socket:
    """A socket that listens on a port of its own."""
    return socket.create_server(("127.0.0.1", 0))
