"""tuspy, unmodified, against the real worker: resumable uploads over kills of the server (R14)."""

import hashlib
import json
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.acceptance.conftest import Worker
from tests.process.server_of import TOKEN
from tests.slices import FULL
from tests.waiting import until

client = pytest.importorskip("tusclient.client", reason="tuspy needs Python 3.11")
exceptions = pytest.importorskip("tusclient.exceptions")

MIB = 2**20
SIZE = (512 if FULL else 48) * MIB
KILLS = 20 if FULL else 4
AUTH = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    worker = Worker(tmp_path, {"WORKER_MODEL": "fake", "WORKER_MODELS": "fake"}).start()
    yield worker
    assert worker.stop() == 0, worker.log.read_text()[-3000:]


@pytest.fixture
def source(tmp_path: Path) -> Iterator[BinaryIO]:
    """tuspy leaves a file that it opens itself open."""
    path = tmp_path / "long.wav"
    rng = random.Random(3)
    path.write_bytes(b"".join(rng.randbytes(MIB) for _ in range(SIZE // MIB)))
    with path.open("rb") as file:
        yield file


def job_of(worker: Worker, uploader: object) -> str:
    """The job that the finished upload became."""
    import requests

    url = uploader.url  # type: ignore[attr-defined]
    answer = requests.head(url, headers={**AUTH, "Tus-Resumable": "1.0.0"}, timeout=60)
    assert answer.headers["Upload-Offset"] == str(SIZE)
    return str(answer.headers["Btworker-Job"])


def check_input(worker: Worker, job_id: str, source: BinaryIO) -> None:
    """What the worker has is what was sent."""
    import requests

    def job() -> dict[str, object]:
        found: dict[str, object] = requests.get(f"{worker.url}/v1/jobs/{job_id}", headers=AUTH, timeout=60).json()
        return found

    until(lambda: job()["status"] == "complete", "the job is complete")
    (item,) = job()["inputs"]  # type: ignore[misc]
    assert (item["sizeBytes"], item["filename"]) == (SIZE, "long.wav")
    assert item["sha256"] == hashlib.sha256(Path(source.name).read_bytes()).hexdigest()


def test_a_file_in_pieces_becomes_a_job(worker: Worker, source: BinaryIO) -> None:
    """With checksums, as tuspy sends them."""
    tus = client.TusClient(f"{worker.url}/v1/uploads", headers=AUTH)
    metadata = {"filename": "long.wav", "submit": json.dumps({"language": "en"})}
    uploader = tus.uploader(file_stream=source, chunk_size=5 * MIB + 1, metadata=metadata, upload_checksum=True)
    uploader.upload()
    check_input(worker, job_of(worker, uploader), source)


@pytest.mark.timeout(600)
def test_an_upload_goes_on_over_kills_of_the_server(worker: Worker, source: BinaryIO) -> None:
    """SIGKILL, again and again, in the middle; the hash of what arrived is right."""
    tus = client.TusClient(f"{worker.url}/v1/uploads", headers=AUTH)
    metadata = {"filename": "long.wav", "submit": "{}"}
    uploader = tus.uploader(file_stream=source, chunk_size=max(MIB, SIZE // 64), metadata=metadata)
    done = threading.Event()
    failures: list[BaseException] = []

    def upload() -> None:
        while not done.is_set():
            try:
                uploader.offset = uploader.get_offset()
                uploader.upload()
                done.set()
            except (exceptions.TusCommunicationError, OSError):
                time.sleep(0.1)  # the server is away: as a client waits
            except BaseException as error:  # noqa: BLE001 - told by the test
                failures.append(error)
                done.set()

    uploader.url = uploader.create_url()
    thread = threading.Thread(target=upload)
    thread.start()
    rng = random.Random(5)
    kills = 0
    while kills < KILLS and not done.is_set():
        target = SIZE * (kills + rng.random()) / (KILLS + 1)
        until(lambda target=target: done.is_set() or uploader.offset >= target, "the upload goes on")
        worker.stop(signal.SIGKILL)
        worker.start()
        kills += 1
    thread.join(300)
    assert not failures, failures
    assert kills == KILLS
    check_input(worker, job_of(worker, uploader), source)
