"""kill -9 while an input comes from a bucket, and while outputs go into one: the next start goes on with both."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.buckets import SECRET, Asked, Storage, Trouble, storage
from tests.process.server_of import Server
from tests.waiting import until

MISLEADING = {
    "AWS_SESSION_TOKEN": "of-somebody-else",
    "AWS_ACCESS_KEY_ID": "somebody-else",
    "AWS_SECRET_ACCESS_KEY": "of-somebody-else",
    "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    "AWS_SKIP_SIGNATURE": "true",
    "AWS_REGION": "elsewhere",
}
"""What a machine's environment may hold for other programs."""
SOUND = b"hello from the bucket\n" + b"\0" * 3_000_000


@pytest.fixture(scope="module")
def store() -> Iterator[Storage]:
    with storage() as found:
        yield found


@pytest.fixture
def server(store: Storage, tmp_path: Path) -> Iterator[Server]:
    store.clear()
    settings = {"WORKER_STORES_FILE": str(store.stores_file(tmp_path)), "WORKER_LOG_LEVEL": "debug", **MISLEADING}
    server = Server(tmp_path, settings).start()
    yield server
    if server.running:
        server.stop()


def submit(server: Server, keys: list[str], **more: Any) -> str:
    """A job of objects."""
    inputs = [{"s3": {"store": "archive", "bucket": "recordings", "key": name}} for name in keys]
    body = json.dumps({"inputs": inputs, **more}).encode()
    status, job = server.request("POST", "/v1/jobs", body, **{"Content-Type": "application/json"})
    assert status == 201, job
    return str(job["workerJobId"])


def ended(server: Server, job_id: str) -> dict[str, Any]:
    """The job, once it has ended."""

    def look() -> dict[str, Any] | None:
        _, job = server.request("GET", f"/v1/jobs/{job_id}")
        return job if job["status"] in ("complete", "failed") else None

    found: dict[str, Any] = until(look, f"{job_id} has ended")
    return found


def killing(server: Server, method: str, *, after: int) -> Trouble:
    """kill -9 at the request of this method that follows `after` others, before the store sees it."""
    seen: list[Asked] = []

    def at(asked: Asked) -> bool:
        if asked.method == method:
            seen.append(asked)
        return asked.method == method and len(seen) > after

    return Trouble(at=at, before=server.process.kill, status=500, times=1)


def test_a_kill_costs_neither_input_nor_output(store: Storage, server: Server) -> None:
    """Killed in the middle of reading, and again while the second of three outputs is put; every signature is that of
    the file's credentials, whatever the environment holds, and the secret is in no line of the log."""
    names = ["one.wav", "two.wav", "three.wav"]
    for name in names:
        store.put(f"calls/{name}", SOUND)
    maps = Path(f"/proc/{server.process.pid}/maps")
    assert "_obstore" not in maps.read_text(), "nobody has asked for a bucket yet"
    store.trouble = killing(server, "GET", after=1)
    target = {"s3": {"store": "archive", "bucket": "results", "prefix": "texts"}}
    job_id = submit(server, [f"calls/{name}" for name in names], outputsTo=target, options={"outputs": ["json"]})
    server.process.wait(30)
    server.start()
    store.trouble = killing(server, "PUT", after=1)
    server.process.wait(60)
    put_before = [one.path for one in store.asked if one.method == "PUT"]
    assert len(put_before) == 2
    store.trouble = None
    server.start()
    job = ended(server, job_id)
    assert job["status"] == "complete", job
    assert [item["sha256"] for item in job["inputs"]] == [hashlib.sha256(SOUND).hexdigest()] * 3
    assert sorted(store.keys()) == sorted(f"texts/{output['filename']}" for output in job["outputs"])
    assert len(store.keys()) == 3
    for output in job["outputs"]:
        assert hashlib.sha256(store.get(f"texts/{output['filename']}")).hexdigest() == output["sha256"]
    put = [one.path for one in store.asked if one.method == "PUT"]
    assert put.count(put_before[0]) == 1, "what was accepted is not put again"
    assert store.wrong == []
    assert SECRET not in server.log.read_text()


def test_a_store_that_was_closed_meanwhile_is_not_read(store: Storage, server: Server, tmp_path: Path) -> None:
    """The operator's file decides at the moment of reading: a restart with another one ends the job with a sentence."""
    store.put("calls/talk.wav", SOUND)
    store.trouble = Trouble(status=503)
    job_id = submit(server, ["calls/talk.wav"])
    until(lambda: len(store.asked) > 0, "the store was asked")
    server.stop()
    store.stores_file(tmp_path, read=["recordings/public"])
    store.asked.clear()
    server.start()
    job = ended(server, job_id)
    assert job["error"]["message"] == "the store archive is not open for this object any more (WORKER_STORES_FILE)"
    assert store.asked == []
