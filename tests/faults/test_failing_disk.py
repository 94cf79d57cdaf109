"""R3, R12 and R18: a disk that fails, is full, or hangs never turns into a success answer, a crash, or a stuck service.

strace makes one system call of an upload fail, for every such call on a file of the worker, one after the other; no
restart is needed between them. The log is a file as well, and a log that cannot be written must cost nothing.
"""

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tests.faults.clients import KEEP, SLOW, WAYS, body_of, folders_of, jobs_of, open_files, post
from tests.faults.strace import Call, injected, recorded
from tests.process.server_of import Server, serving
from tests.slices import FULL, slice_of
from tests.waiting import until

TRIES = 3
"""How often a call's number may shift by one, before it counts as not made again."""
ONE_FILE = body_of(b"the sound " * 200)
LARGE_FILE = body_of(b"the sound " * 20_000)
BODIES = {"parser": ONE_FILE, "socket": LARGE_FILE}
CASES = [(error, way) for error in ("EIO", "ENOSPC") for way in WAYS]


def calls_on_files(server: Server, folder: Path, body: bytes = ONE_FILE) -> list[Call]:
    """The calls of one upload that touch a file of the worker, in their order.

    One upload goes before: what is made once, as the folder of the audit log, is not made again.
    """
    assert post(server, body)[0] == 201
    until(lambda: any(folder.glob("data/audit/*")))
    with recorded(server.process.pid) as recording:
        status, _ = post(server, body)
        assert status == 201
    answered = next(call.began for call in recording.calls if "HTTP/1.1 201" in call.text)
    mine = [call for call in recording.calls if str(folder) in call.path and call.began < answered]
    mine = [call for call in mine if "ENOENT" not in call.text]
    if FULL:
        return mine
    last = {call.name: call for call in mine}
    others = [call for call in mine if call is not last[call.name]]
    return [*last.values(), *slice_of(others, 3, "calls of an upload")]


def costs_nothing(call: Call) -> bool:
    """The logs, which are the operator's; the mark of an upload on its way, which says nothing once there is a row."""
    return (
        call.path.endswith(".log")
        or "/audit" in call.path
        or (call.name == "unlink" and call.path.endswith("/receiving"))
    )


def fails_once(server: Server, folder: Path, body: bytes, call: Call, error: str, *, key: str) -> bool:
    """One upload with a fault in this call, and then the same without; False when the call was not made again."""
    kept = {job["workerJobId"] for job in jobs_of(server)}
    with injected(call, f"error={error}") as injection:
        answered = post(server, body, Idempotency_Key=key)
    is_shifted = answered is None and call.name == "write" and not costs_nothing(call)
    if costs_nothing(call) or not injection.fired or is_shifted:
        # A thread writes to sockets, too: where its count shifts by one, the fault breaks a connection instead, or the
        # wake-up of the event loop, and uvloop aborts
        if is_shifted and server.process.poll() is not None:
            return False
        again = partial(post, server, body, Idempotency_Key=key)
        status, answer = answered or until(again, "an answer, once the disk works", within_s=30)
        assert status in (200, 201), (call, answer)
        return injection.fired and not is_shifted
    assert answered is not None, call
    status, answer = answered
    assert status >= 500, (call, answer)
    assert error == "EIO" or status in (503, 507), (call, answer)
    assert {job["workerJobId"] for job in jobs_of(server)} == kept == folders_of(folder), call
    status, answer = post(server, body, Idempotency_Key=key)
    assert status == 201, (call, answer)
    return True


def fail_each(server: Server, folder: Path, body: bytes, calls: list[Call], error: str) -> list[str]:
    """Names of the calls that met the fault, one upload after the other while the server lives."""
    fired = []
    for call in calls:
        keys = (f"{error}-{call.name}-{call.began}-{turn}" for turn in range(TRIES))
        if any(
            server.process.poll() is None and fails_once(server, folder, body, call, error, key=key) for key in keys
        ):
            fired.append(call.name)
    return fired


@pytest.mark.system("strace", "root")
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("error", "way"), slice_of(CASES, 2, "ways of a failing disk"))
def test_every_call_of_an_upload_fails_once(tmp_path: Path, error: str, way: str) -> None:
    """EIO: 5xx; ENOSPC: 507 or 503 with Retry-After, never 500. No folder, descriptor or job is left, the same key is
    free, the very next upload succeeds; after a kill -9 the store still holds exactly what was accepted."""
    with serving(tmp_path, **SLOW, **KEEP, **WAYS[way]) as server:
        points = calls_on_files(server, tmp_path, BODIES[way])
        kinds = {call.name for call in points}
        assert [call.name for call in points].count("fdatasync") == 1  # an upload is one commit of the table
        assert {"fsync", "fdatasync", "pwrite64", "rename", "openat"} <= kinds, kinds
        before = len(open_files(server.process.pid, str(tmp_path)))
        fired = fail_each(server, tmp_path, BODIES[way], [call for call in points if call.name != "write"], error)
        assert len(open_files(server.process.pid, str(tmp_path))) == before
        accepted = {job["workerJobId"] for job in jobs_of(server)}
        fired += fail_each(server, tmp_path, BODIES[way], [call for call in points if call.name == "write"], error)
        print(f"{error} at {len(fired)} of {len(points)} calls: {sorted(kinds)}")
        aborted = {"write"} if server.process.poll() is not None else set()
        assert len(fired) >= 0.8 * len(points) and set(fired) | aborted == kinds
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
    with serving(tmp_path, **SLOW, **KEEP) as server:
        assert accepted <= {job["workerJobId"] for job in jobs_of(server)} == folders_of(tmp_path)


@pytest.mark.system("strace", "root")
def test_a_row_whose_commit_failed_is_no_job_after_a_crash(tmp_path: Path) -> None:
    """The commit's fsync fails, its repair's as well, and the server is killed: what it refused does not come back."""
    with serving(tmp_path, **SLOW, **KEEP) as server:
        call = next(call for call in calls_on_files(server, tmp_path) if call.name == "fdatasync")
        kept = jobs_of(server)
        with injected(call, "error=EIO", when="1+") as injection:
            status, answer = post(server, ONE_FILE, Idempotency_Key="again")
            assert (status, answer["error"]["code"]) == (503, "NOT_READY")
            server.process.send_signal(signal.SIGKILL)
            server.process.wait()
        assert injection.fired
    with serving(tmp_path, **SLOW, **KEEP) as server:
        assert [job["workerJobId"] for job in jobs_of(server)] == [job["workerJobId"] for job in kept]
        assert post(server, ONE_FILE, Idempotency_Key="again")[0] == 201


@pytest.mark.system("strace", "root")
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_the_end_of_a_job_waits_for_a_disk_that_takes_it(tmp_path: Path, error: str) -> None:
    """While no commit succeeds, a job that has ended stays as it was and the service answers; then it completes."""
    gate = tmp_path / "gate"
    with serving(tmp_path, **KEEP) as server:
        call = next(call for call in calls_on_files(server, tmp_path) if call.name == "fdatasync")
        until(lambda: all(job["status"] == "complete" for job in jobs_of(server)))
        job_id = server.submit(["wait_file", str(gate)])
        until(lambda: server.job(job_id)["status"] == "running")
        with injected(call, f"error={error}", when="1+") as injection:
            gate.touch()
            until(lambda: "store_waits_for_disk" in server.log.read_text())
            assert server.job(job_id)["status"] == "running"
            assert server.request("GET", "/health/live")[0] == 200
            until(lambda: server.request("GET", "/health/ready")[0] == 503)
        assert injection.fired
        assert server.ended(job_id)["status"] == "complete"
        assert server.stop() == 0


@pytest.mark.serial
@pytest.mark.system("strace", "root")
@pytest.mark.timeout(300)
def test_a_stuck_disk_blocks_only_uploads(tmp_path: Path) -> None:
    """R18: an upload's fsync takes 5 s; with more uploads waiting than file threads, health, ping and the list of jobs
    are answered meanwhile, and all uploads are accepted in the end."""
    with serving(tmp_path, **SLOW, **KEEP) as server:
        call = next(call for call in calls_on_files(server, tmp_path) if call.name == "fsync")
        with ThreadPoolExecutor(3) as clients, injected(call, "delay_enter=5s") as injection:
            uploads = [clients.submit(post, server, ONE_FILE) for _ in range(3)]
            waits = []
            while not any(upload.done() for upload in uploads):
                began = time.monotonic()
                for path in ("/health", "/health/live", "/v1/ping", "/v1/jobs"):
                    assert server.request("GET", path)[0] == 200
                waits.append((time.monotonic() - began) / 4)
            print(f"stuck disk: {4 * len(waits)} requests, the slowest four took {max(waits) * 4000:.0f} ms")
            assert sum(waits) > 1 and max(waits) < 1
        assert [upload.result()[0] for upload in uploads] == [201] * len(uploads)
        assert injection.fired
