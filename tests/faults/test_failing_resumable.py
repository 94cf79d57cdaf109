"""R3 and R14 on a disk that fails under a resumable upload: no success is said that is none, what is told as its offset
is there and durable, and the client goes on from there to the file that it has."""

import base64
import hashlib
import http.client
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.faults.clients import KEEP, SLOW, WAYS, open_files
from tests.faults.strace import Call, injected, recorded
from tests.process.server_of import TOKEN, Server, serving
from tests.slices import slice_of

TUS = {"Authorization": f"Bearer {TOKEN}", "Tus-Resumable": "1.0.0"}
FIRST_BYTES, MORE_BYTES = 5_001, 3 * 2**20 + 77
"""Of an upload before the disk fails, and of the request under which it does."""
CASES = [(error, way) for error in ("EIO", "ENOSPC") for way in WAYS]


def asked(server: Server, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str]]:
    """Status and headers of one request; 0 where the connection broke."""
    host, port = server.url.removeprefix("http://").rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, path, body, TUS | named)
        answer = connection.getresponse()
        answer.read()
        return answer.status, dict(answer.getheaders())
    except (OSError, http.client.HTTPException):
        return 0, {}
    finally:
        connection.close()


def begun(server: Server, content: bytes) -> str:
    """The place of an upload of which the first bytes are there."""
    status, headers = asked(server, "POST", "/v1/uploads", Upload_Length=str(len(content)))
    assert status == 201
    assert sent(server, headers["Location"], content[:FIRST_BYTES], 0) == 204
    return headers["Location"]


def sent(server: Server, place: str, data: bytes, offset: int, **headers: str) -> int:
    """The status of one PATCH."""
    kind = "application/offset+octet-stream"
    return asked(server, "PATCH", place, data, Content_Type=kind, Upload_Offset=str(offset), **headers)[0]


def offset_of(server: Server, place: str) -> int:
    """What the server says is there."""
    return int(asked(server, "HEAD", place)[1]["Upload-Offset"])


def job_of(server: Server, place: str) -> Any:
    """The job that it becomes."""
    body = json.dumps({"uploads": [place.rsplit("/", 1)[1]]}).encode()
    status, job = server.request("POST", "/v1/jobs", body, **{"Content-Type": "application/json"})
    assert status == 201, job
    return job


def check_gone_on_with(server: Server, place: str, content: bytes) -> None:
    """From where the server says: the job has the file, and its hash."""
    offset = offset_of(server, place)
    if offset < len(content):
        assert sent(server, place, content[offset:], offset) == 204
    job = job_of(server, place)
    stored = Path(server.folder, "data", "jobs", job["workerJobId"], "in", "0").read_bytes()
    assert stored == content
    assert job["inputs"][0]["sha256"] == hashlib.sha256(content).hexdigest()


def calls_of(server: Server) -> list[Call]:
    """The calls of one PATCH that touch the upload's files, in their order."""
    content = os.urandom(FIRST_BYTES + MORE_BYTES)
    place = begun(server, content)
    with recorded(server.process.pid) as recording:
        assert sent(server, place, content[FIRST_BYTES:], FIRST_BYTES) == 204
    return [call for call in recording.calls if "/data/uploads/" in call.path and "ENOENT" not in call.text]


def is_fsync_of_bytes(call: Call) -> bool:
    return call.name == "fsync" and call.path.endswith("/data")


def fails_once(server: Server, call: Call, error: str) -> bool:
    """One upload that meets a fault in this call, and is gone on with; whether it met it."""
    content = os.urandom(FIRST_BYTES + MORE_BYTES)
    place = begun(server, content)
    with injected(call, f"error={error}") as injection:
        status = sent(server, place, content[FIRST_BYTES:], FIRST_BYTES)
    if server.process.poll() is not None:
        return True
    offset = offset_of(server, place)
    assert status == 0 or status >= 500 or offset == len(content), (call, status, offset)
    if injection.fired and is_fsync_of_bytes(call):
        assert (status, offset) == (500 if error == "EIO" else 507, FIRST_BYTES), call
    check_gone_on_with(server, place, content)
    return injection.fired


@pytest.mark.system("strace", "root")
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("error", "way"), slice_of(CASES, 2, "ways of a failing disk under a resumable upload"))
def test_every_call_of_a_resumable_upload_fails_once(tmp_path: Path, error: str, way: str) -> None:
    """5xx, or nothing was lost; where the fsync failed, the offset is the one before: what came since may not be on the
    disk, though it is in the file."""
    with serving(tmp_path, **SLOW, **KEEP, **WAYS[way]) as server:
        points = calls_of(server)
        assert {"write", "fsync", "openat"} <= {call.name for call in points}
        others = [call for call in points if call.name != "write"]
        fired = [call for call in others if fails_once(server, call, error)]
        assert any(is_fsync_of_bytes(call) for call in fired) and len(fired) >= 0.8 * len(others)
        assert open_files(server.process.pid, "/data/uploads/") == []
        # A thread writes to sockets, too: a count that shifts by one may meet the loop's wake-up, and uvloop aborts
        writes = (call for call in points if call.name == "write" and server.process.poll() is None)
        fired += [call for call in writes if fails_once(server, call, error)]
        assert any(call.name == "write" for call in fired) or server.process.poll() is not None
        print(f"{error} by {way} at {len(fired)} of {len(points)} calls")


@pytest.mark.system("strace", "root")
def test_bytes_whose_checksum_is_not_known_are_marked_first(tmp_path: Path) -> None:
    """R2: the mark, and its name, are durable before the first of them is written: a power cut leaves none that
    counts."""
    with serving(tmp_path, **SLOW, **KEEP) as server:
        content = os.urandom(FIRST_BYTES + MORE_BYTES)
        place = begun(server, content)
        checksum = base64.b64encode(hashlib.sha256(content[FIRST_BYTES:]).digest()).decode()
        with recorded(server.process.pid) as recording:
            more = {"Upload_Checksum": f"sha256 {checksum}"}
            assert sent(server, place, content[FIRST_BYTES:], FIRST_BYTES, **more) == 204
        folder = place.rsplit("/", 1)[1]
        first, *_ = (call for call in recording.of("write", f"{folder}/data"))
        (mark,), (name, *_) = recording.of("fsync", f"{folder}/unverified"), recording.of("fsync", folder)
        assert mark.ended < name.began <= name.ended < first.began
        check_gone_on_with(server, place, content)
