"""R12: a full disk is orderly. 507 before reading where the length says so, 507 while reading, nothing stays behind;
reads and deletes go on, what runs waits for room, and everything works again once there is some. A real small disk.
"""

import http.client
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.faults.clients import BOUNDARY, KIND, SLOW, WAYS, body_of, folders_of, jobs_of, open_files, post
from tests.faults.disks import MIB, fill, small_disk, use_up_inodes
from tests.process.server_of import TOKEN, Server, serving
from tests.slices import slice_of
from tests.waiting import until

pytestmark = [pytest.mark.serial, pytest.mark.system("root", "mount"), pytest.mark.timeout(300)]
SMALL = {"WORKER_DECODED_FACTOR": "0"}
"""The room for decoded sound has its own test."""
HOLD = '{"steps": [["wait_file", "%s"], ["windows", 1]]}'


def post_in_pieces(
    server: Server, megabytes: int, *, midway: Callable[[], None] | None = None
) -> tuple[int, Any] | None:
    """An upload in pieces: status and JSON, or None when the connection broke. With `midway`, which is called before
    its second half is sent, it says its length beforehand."""
    host, port = server.url.removeprefix("http://").rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'.encode()
    tail = f"\r\n--{BOUNDARY}--\r\n".encode()
    length = {} if midway is None else {"Content-Length": str(len(head) + megabytes * MIB + len(tail))}

    def pieces() -> Iterator[bytes]:
        yield head
        for number in range(megabytes):
            if midway is not None and number == megabytes // 2:
                midway()
            yield os.urandom(MIB)
        yield tail

    with suppress(OSError):  # the answer may come before the last piece
        connection.request(
            "POST", "/v1/jobs", pieces(), {"Authorization": f"Bearer {TOKEN}", "Content-Type": KIND, **length},
            encode_chunked=midway is None,
        )  # fmt: skip
    try:
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def test_uploads_on_a_full_disk(tmp_path: Path) -> None:
    """Refused before reading, refused while reading, and accepted as soon as there is room."""
    with small_disk(tmp_path / "data") as disk, serving(tmp_path, **SLOW, **SMALL) as server:
        status, kept = post(server, body_of(b"kept"))
        assert status == 201
        filler = fill(disk, leave_bytes=8 * MIB)
        for _ in range(3):
            status, answer = post(server, body_of(bytes(20 * MIB)))
            assert (status, answer["error"]["code"]) == (507, "DISK_FULL")
            got = post_in_pieces(server, 20)
            assert got is None or (got[0], got[1]["error"]["code"]) == (507, "DISK_FULL"), got
            assert folders_of(tmp_path) == {kept["workerJobId"]}
            assert open_files(server.process.pid) == []
        assert post_in_pieces(server, 2)[0] == 201
        filler.unlink()
        assert post(server, body_of(bytes(20 * MIB)))[0] == 201
        assert post_in_pieces(server, 20)[0] == 201
        assert '"status": 500' not in server.log.read_text()


@pytest.mark.parametrize("way", slice_of(list(WAYS), 1, "ways of an upload under which the disk fills up"))
def test_a_disk_that_fills_up_under_an_upload(tmp_path: Path, way: str) -> None:
    """There was room when it began: it is refused all the same, nothing of it stays, and the next one finds room."""
    fillers: list[Path] = []
    with small_disk(tmp_path / "data") as disk, serving(tmp_path, **SLOW, **SMALL, **WAYS[way]) as server:

        def fill_up() -> None:
            until(lambda: any(path.stat().st_size for path in disk.glob("jobs/*/in/0.part")))
            fillers.append(fill(disk, leave_bytes=MIB))

        got = post_in_pieces(server, 20, midway=fill_up)
        assert got is None or (got[0], got[1]["error"]["code"]) == (507, "DISK_FULL"), got
        until(lambda: folders_of(tmp_path) == set() and open_files(server.process.pid) == [])
        fillers.pop().unlink()
        assert post_in_pieces(server, 20, midway=lambda: None)[0] == 201
        assert '"status": 500' not in server.log.read_text()


def test_no_inodes_left(tmp_path: Path) -> None:
    """The other way in which a disk is full."""
    with small_disk(tmp_path / "data", inodes=200) as disk, serving(tmp_path, **SLOW, **SMALL) as server:
        assert post(server, body_of(b"kept"))[0] == 201
        used = use_up_inodes(disk)
        before = folders_of(tmp_path)
        for _ in range(3):
            status, answer = post(server, body_of(b"no room"))
            assert (status, answer["error"]["code"]) == (507, "DISK_FULL")
            assert folders_of(tmp_path) == before
        shutil.rmtree(used)
        assert post(server, body_of(b"room"))[0] == 201


def test_the_service_lives_on_without_a_byte_of_room(tmp_path: Path) -> None:
    """A job that ends meanwhile ends; reads, deletes and cancels go on; the next jobs run once there is room."""
    gate = tmp_path / "gate"
    with small_disk(tmp_path / "data", size_mb=16) as disk, serving(tmp_path, **SMALL) as server:
        old = [server.submit() for _ in range(3)]
        for job_id in old:
            server.ended(job_id)
        running = post(server, body_of(b"x", prompt=HOLD % gate))[1]["workerJobId"]
        waiting = post(server, body_of(b"y"))[1]["workerJobId"]
        until(lambda: server.job(running)["status"] == "running")
        filler = fill(disk)
        status, answer = post(server, body_of(b"no room"))
        assert (status, answer["error"]["code"]) == (507, "DISK_FULL")
        assert server.request("GET", "/health/ready")[0] == 503
        gate.touch()
        assert server.ended(running)["status"] == "failed"
        assert server.job(old[0])["status"] == "complete"
        assert server.request("GET", f"/v1/jobs/{old[0]}/outputs")[0] == 200
        assert len(jobs_of(server)) == 5
        assert server.request("POST", f"/v1/jobs/{old[2]}/cancel")[0] == 200
        assert server.request("DELETE", f"/v1/jobs/{old[1]}")[0] == 204
        assert server.request("GET", "/health/live")[0] == 200
        filler.unlink()
        assert server.ended(waiting)["status"] in ("complete", "failed")
        assert server.ended(server.submit())["status"] == "complete"
        assert '"status": 500' not in server.log.read_text()


def test_a_start_on_a_full_disk_answers(tmp_path: Path) -> None:
    """After a kill it starts without room, shows the job that ran, and runs it again once there is some."""
    gate = tmp_path / "gate"
    with small_disk(tmp_path / "data", size_mb=16) as disk:
        with serving(tmp_path, **SMALL) as server:
            running = post(server, body_of(b"x", prompt=HOLD % gate))[1]["workerJobId"]
            until(lambda: server.job(running)["status"] == "running")
            server.process.kill()
            server.process.wait()
        filler = fill(disk)
        with serving(tmp_path, **SMALL) as server:
            assert server.job(running)["status"] in ("running", "queued")
            until(lambda: server.request("GET", "/health/ready")[0] == 503)
            filler.unlink()
            gate.touch()
            job = server.ended(running)
            assert (job["status"], job["attempt"]) == ("complete", 2)
            fill(disk)
            assert server.stop() == 0


def test_no_upload_is_accepted_that_could_not_be_decoded(tmp_path: Path) -> None:
    """The room for the sound of the jobs at work counts: on the data's disk or, where it is another, on the scratch's;
    for uploads with a length before they are read, for the others before they are accepted."""
    with small_disk(tmp_path / "data"), serving(tmp_path, **SLOW) as server:
        status, answer = post(server, body_of(bytes(10 * MIB)))
        assert (status, answer["error"]["code"]) == (507, "DISK_FULL")
        got = post_in_pieces(server, 10)
        assert got is not None and (got[0], got[1]["error"]["code"]) == (507, "DISK_FULL")
        assert folders_of(tmp_path) == set()
        assert post(server, body_of(bytes(4 * MIB)))[0] == 201
        assert post_in_pieces(server, 4)[0] == 201  # one slot decodes one at a time
    with small_disk(tmp_path / "tmp"), serving(tmp_path, **SLOW, WORKER_TMP_DIR=str(tmp_path / "tmp")) as server:
        status, answer = post(server, body_of(bytes(10 * MIB)))
        assert (status, answer["error"]["code"]) == (507, "DISK_FULL")
        assert post(server, body_of(bytes(4 * MIB)))[0] == 201
    with small_disk(tmp_path / "data"), serving(tmp_path, **SLOW, WORKER_MAX_AUDIO_HOURS="0.1") as server:
        assert post(server, body_of(bytes(20 * MIB)))[0] == 201  # no more than 0.1 hours would be decoded
