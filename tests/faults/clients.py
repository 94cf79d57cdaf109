"""Honest clients with a ledger: what they sent, what was accepted, and what must be true of it in the end.

A client gives every submission an Idempotency-Key and sends it again until it has an answer of 200 or 201: so a
connection that broke without an answer decides nothing, and each submission must become exactly one job.
"""

import hashlib
import http.client
import json
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.process.server_of import TOKEN, Server
from tests.waiting import until

BOUNDARY = "a-boundary-of-the-faults"
KIND = f"multipart/form-data; boundary={BOUNDARY}"
PATIENCE_S = 30
SLOW = {"WORKER_MODEL": "slow", "WORKER_MODELS": "slow"}
"""Settings: no child becomes ready before `let_go`, so nothing but uploads happens in the server."""
WAYS = {"parser": {"WORKER_FAST_UPLOADS": "0"}, "socket": {"WORKER_FAST_BODY_MB": "0"}}
"""Settings: how bodies are received, through the HTTP parser or past it."""
KEEP = {"WORKER_KEEP_INPUTS": "true", "WORKER_FILE_THREADS": "1"}
"""Settings: what a job left can be counted afterwards, and one thread does all file work, as strace.py wants it."""


def body_of(content: bytes, *, filename: str = "talk.wav", **fields: str) -> bytes:
    """A form with one file."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="'
    plain = "".join(f'{head}{name}"\r\n\r\n{value}\r\n' for name, value in fields.items())
    file = f'{head}file"; filename="{filename}"\r\n\r\n'
    return (plain + file).encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


def head(method: str = "POST", path: str = "/v1/jobs", *, token: bool = True, **headers: str | int) -> bytes:
    """The head of a raw request."""
    given = {"Host": "t", **({"Authorization": f"Bearer {TOKEN}"} if token else {}), **headers}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name.replace('_', '-')}: {value}" for name, value in given.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def check_accounts(server: Server, jobs: list[dict[str, Any]]) -> None:
    """Each job that has ended was counted once, whatever came between."""
    days = server.request("GET", "/v1/usage")[1]["usage"]
    inputs = [item for job in jobs for item in job["inputs"]]
    assert sum(day["jobs"] for day in days) == len(jobs)
    assert sum(day["inputBytes"] for day in days) == sum(item["sizeBytes"] for item in inputs)
    audio_ms = sum(round(item["durationSeconds"] * 1000) for item in inputs)
    assert sum(round(day["audioSeconds"] * 1000) for day in days) == audio_ms


def descriptors(server: Server) -> int:
    """How many descriptors the server has."""
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


def memory_mb(server: Server) -> float:
    """Resident memory of the server."""
    with open(f"/proc/{server.process.pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmRSS:"))


def post(server: Server, body: bytes, **headers: str) -> tuple[int, Any] | None:
    """POST /v1/jobs: status and JSON; None when the connection broke before there was an answer."""
    host, port = server.url.removeprefix("http://").rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE_S)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with suppress(BrokenPipeError, ConnectionResetError):  # an early refusal may be read all the same
            connection.request(
                "POST", "/v1/jobs", body, {"Authorization": f"Bearer {TOKEN}", "Content-Type": KIND, **named}
            )
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    except TimeoutError as error:
        raise AssertionError(f"no answer in {PATIENCE_S} s") from error
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def let_go(folder: Path) -> None:
    """Let the children of a SLOW server load."""
    (folder / "data" / "scratch" / "go").touch()


def jobs_of(server: Server) -> list[dict[str, Any]]:
    """Every job that the server lists."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        status, page = server.request("GET", f"/v1/jobs?limit=200{cursor}")
        assert status == 200, page
        found += page["jobs"]
        if page["nextCursor"] is None:
            return found
        cursor = f"&cursor={page['nextCursor']}"


def folders_of(folder: Path) -> set[str]:
    """The names in the jobs folder."""
    return {path.name for path in (folder / "data" / "jobs").iterdir()}


def open_files(pid: int, part: str = "/data/jobs/") -> list[str]:
    """Files below the jobs folder that a process has open."""
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(link.readlink())
        except FileNotFoundError:
            continue
        if part in target:
            found.append(target)
    return found


@dataclass
class Ledger:
    """Submissions by number, and the job that the server says each became."""

    name: str = "n"
    steps: str = '{"steps": [["windows", 3]]}'
    lines: int = 40
    """In each file; from about 7,000 on it is written as it comes, and not with the folders."""
    sent: int = 0
    accepted: dict[int, str] = field(default_factory=dict)
    doubtful: list[int] = field(default_factory=list)
    """Sent without an answer: to be sent again."""
    answers: Counter[int] = field(default_factory=Counter)
    deaths: list[tuple[str, bool]] = field(default_factory=list)
    """Calls at which the server was to die, and whether it did."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def submit(self, server: Server) -> bool:
        """One submission, the oldest doubtful one first; False when there was no answer."""
        with self.lock:
            if self.doubtful:
                number = self.doubtful.pop(0)
            else:
                number, self.sent = self.sent, self.sent + 1
        body = body_of(self.content(number), filename=f"{number}.wav", prompt=self.steps)
        answer = post(server, body, Idempotency_Key=f"{self.name}-{number}")
        with self.lock:
            if answer is not None:
                self.answers[answer[0]] += 1
            if answer is None or answer[0] not in (200, 201):
                self.doubtful.append(number)
            else:
                self.accepted[number] = answer[1]["workerJobId"]
        return answer is not None

    def content(self, number: int) -> bytes:
        """What is in the file of a submission."""
        return f"{self.name} {number}\n".encode() * self.lines

    def check_kept(self, server: Server, folder: Path) -> None:
        """Nothing that was accepted is missing; no submission became two jobs; no file without a job."""
        jobs = jobs_of(server)
        by_number = Counter(int(job["inputs"][0]["filename"].removesuffix(".wav")) for job in jobs)
        assert max(by_number.values(), default=1) == 1, "doubled"
        ids = {job["workerJobId"] for job in jobs}
        missing = set(self.accepted.values()) - ids
        assert not missing, f"lost: {missing}"
        assert folders_of(folder) <= ids, "a folder that no job has"

    def settle(self, server: Server) -> None:
        """Send the doubtful ones until none is left."""
        while self.doubtful:
            assert self.submit(server)

    def check_done(self, server: Server, folder: Path) -> None:
        """Every submission is one complete job; its effect is there once: each window was appended by one attempt."""
        self.settle(server)
        until(lambda: all(job["status"] == "complete" for job in jobs_of(server)))
        self.check_kept(server, folder)
        jobs = {int(job["inputs"][0]["filename"].removesuffix(".wav")): job for job in jobs_of(server)}
        assert len(jobs) == self.sent == len(self.accepted)
        check_accounts(server, list(jobs.values()))
        for number, job in jobs.items():
            assert job["workerJobId"] == self.accepted[number]
            assert job["inputs"][0]["sha256"] == hashlib.sha256(self.content(number)).hexdigest()
            place = folder / "data" / "jobs" / job["workerJobId"]
            lines = [json.loads(line) for line in (place / "windows" / "0.jsonl").read_text().splitlines()]
            assert [line["index"] for line in lines] == [0, 1, 2], lines
            [output] = job["outputs"]
            data = (place / "out" / output["filename"]).read_bytes()
            assert hashlib.sha256(data).hexdigest() == output["sha256"]
            assert json.loads(data)["text"] == f"{self.name} {number}"
