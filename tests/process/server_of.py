"""A real `python -m btworker serve` for the process tests, and who its children are."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.process.pool_of import FAKE_ENGINE

DEADLINE_S = 300.0
TOKEN = "a-token-for-tests"


@dataclass
class Server:
    """A running server. `request` gives (status, JSON)."""

    process: "subprocess.Popen[bytes]"
    url: str
    log: Path

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
    folder: Path, *, wait: bool = True, program: Sequence[str] = ("-m", "btworker", "serve"), **environment: str
) -> Iterator[Server]:
    """Start the server on a free port; it is killed at the end if the test has not stopped it."""
    ready = folder / f"ready-{uuid.uuid4().hex}.json"
    log = folder / "server.log"
    values = {
        "WORKER_TOKEN": TOKEN,
        "WORKER_PORT": "0",
        "WORKER_DATA_DIR": str(folder / "data"),
        "WORKER_ENGINE": FAKE_ENGINE,
        "WORKER_DEVICE": "cpu",
        "WORKER_MODEL": "fake",
        "WORKER_MODELS": "fake",
        "WORKER_DISK_RESERVE_MB": "0",
        "WORKER_LOG_FORMAT": "json",
        **environment,
    }
    command = [sys.executable, *program, "--ready-file", str(ready)]
    with open(log, "ab") as output:
        process = subprocess.Popen(command, env={**os.environ, **values}, stdout=output, stderr=output)
    server = Server(process, "", log)
    try:
        if wait:
            until(lambda: process.poll() is not None or (ready.exists() and ready.stat().st_size))
            assert process.poll() is None, log.read_text()
            server.url = json.loads(ready.read_text())["url"]
        yield server
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def stop(server: Server, number: signal.Signals = signal.SIGTERM) -> int:
    """Send a signal and wait for the exit code."""
    server.process.send_signal(number)
    return server.process.wait(DEADLINE_S)


def until(condition: Callable[[], Any], *, deadline_s: float = DEADLINE_S) -> Any:
    """Poll a condition until it holds; fails the test after the deadline."""
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < end, "the condition did not come true in time"
        time.sleep(0.01)
    return value


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
