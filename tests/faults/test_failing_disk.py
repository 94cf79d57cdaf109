"""R3, R12 and R18: a disk that fails, is full, or hangs never turns into a success answer, a crash, or a stuck service.

strace makes one system call of an upload fail, for every such call on a file of the worker, one after the other; no
restart is needed between them. The log is a file as well, and a log that cannot be written must cost nothing.
"""

import signal

import pytest

from tests.conftest import FULL
from tests.faults.clients import KEEP, SLOW, body_of, folders_of, jobs_of, open_files, post
from tests.faults.strace import injected, recorded
from tests.process.server_of import serving

ONE_FILE = body_of(b"the sound " * 200)


def calls_on_files(server, folder):
    """The calls of one upload that touch a file of the worker, in their order."""
    with recorded(server.process.pid) as recording:
        status, _ = post(server, ONE_FILE)
        assert status == 201
    answered = next(call.began for call in recording.calls if "HTTP/1.1 201" in call.text)
    mine = [call for call in recording.calls if str(folder) in call.path and call.began < answered]
    mine = [call for call in mine if "ENOENT" not in call.text]
    return mine if FULL else [*mine[::4], *(call for call in mine[1:] if call.name in ("fsync", "fdatasync"))]


def only_a_log(call):
    """A failure to write this is the operator's loss and not the client's."""
    return call.path.endswith(".log")


@pytest.mark.system("strace", "root")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_every_call_of_an_upload_fails_once(tmp_path, error):
    """EIO: 5xx; ENOSPC: 507 or 503 with Retry-After, never 500. No folder, descriptor or job is left, the same key is
    free, the very next upload succeeds; after a kill -9 the store still holds exactly what was accepted."""
    with serving(tmp_path, **SLOW, **KEEP) as server:
        points = calls_on_files(server, tmp_path)
        kinds = {call.name for call in points}
        assert {"fsync", "fdatasync", "pwrite64", "rename", "openat"} <= kinds, kinds
        before = len(open_files(server.process.pid, str(tmp_path)))
        for number, call in enumerate(points):
            kept = {job["workerJobId"] for job in jobs_of(server)}
            key = f"{error}-{number}"
            with injected(call, f"error={error}"):
                status, answer = post(server, ONE_FILE, Idempotency_Key=key)
            if only_a_log(call):
                assert status == 201, (call, answer)
                continue
            assert status >= 500, (call, answer)
            assert error == "EIO" or status in (503, 507), (call, answer)
            assert {job["workerJobId"] for job in jobs_of(server)} == kept == folders_of(tmp_path), call
            status, answer = post(server, ONE_FILE, Idempotency_Key=key)
            assert status == 201, (call, answer)
        assert len(open_files(server.process.pid, str(tmp_path))) == before
        print(f"{error} at {len(points)} calls: {sorted(kinds)}")
        accepted = {job["workerJobId"] for job in jobs_of(server)}
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
    with serving(tmp_path, **SLOW, **KEEP) as server:
        assert {job["workerJobId"] for job in jobs_of(server)} == accepted == folders_of(tmp_path)


@pytest.mark.system("strace", "root")
def test_a_row_whose_commit_failed_is_no_job_after_a_crash(tmp_path):
    """The commit's fsync fails from now on, and the server is killed: what it refused does not come back as work."""
    with serving(tmp_path, **SLOW, **KEEP) as server:
        call = next(call for call in calls_on_files(server, tmp_path) if call.name == "fdatasync")
        [kept] = jobs_of(server)
        with injected(call, "error=EIO", when="1+"):
            status, _ = post(server, ONE_FILE, Idempotency_Key="again")
            assert status >= 500
            server.process.send_signal(signal.SIGKILL)
            server.process.wait()
    with serving(tmp_path, **SLOW, **KEEP) as server:
        [row] = [job["workerJobId"] for job in jobs_of(server) if job["workerJobId"] != kept["workerJobId"]]
        assert server.ended(row)["status"] == "failed"
        status, job = post(server, ONE_FILE, Idempotency_Key="again")
        assert status == 201 and job["workerJobId"] != row
        assert server.job(kept["workerJobId"])["status"] == "queued"
