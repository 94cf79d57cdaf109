"""Recordings that the worker fetches itself, by the command line and the Python client, from real servers."""

import hashlib
import json
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from btworker.client import Client
from tests.acceptance.conftest import Cli, Worker
from tests.buckets import Storage, Trouble, storage
from tests.light_stack import light_stack
from tests.process.server_of import TOKEN, plain_environment


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Say nothing."""


@pytest.fixture(scope="module")
def talks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a folder of recordings."""
    folder = tmp_path_factory.mktemp("talks")
    for name in ("Gespräch 1.mp3", "two.wav"):
        (folder / name).write_text("hello from elsewhere\n")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def store() -> Iterator[Storage]:
    with storage() as found:
        yield found


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory, talks: str, store: Storage) -> Iterator[Worker]:
    """A worker that may fetch from there, and from a bucket."""
    folder = tmp_path_factory.mktemp("worker")
    settings = {
        "WORKER_ALLOWED_HOSTS": talks.removeprefix("http://"),
        "WORKER_DOWNLOAD_RETRY_SECONDS": "0.1",
        "WORKER_STORES_FILE": str(store.stores_file(folder)),
    }
    worker = Worker(folder, settings).start()
    yield worker
    assert worker.stop() == 0, worker.log.read_text()


@pytest.fixture
def cli(worker: Worker, tmp_path: Path) -> Cli:
    return Cli(tmp_path, plain_environment(WORKER_URL=worker.url, WORKER_TOKEN=TOKEN))


def test_an_address_is_transcribed_like_a_file(cli: Cli, talks: str) -> None:
    """Beside files, with results here; what is secret in an address is on no line of the output."""
    (cli.folder / "here.mp3").write_text("hello from here\n")
    found = cli("transcribe", f"{talks}/Gespr%C3%A4ch%201.mp3?sig=secret", "here.mp3")
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines() == ["Gespräch 1_transcript.json", "here_transcript.json"]
    assert "hello from elsewhere" in (cli.folder / "Gespräch 1_transcript.json").read_text()
    assert "secret" not in found.stdout + found.stderr


def test_an_address_that_gives_nothing_is_said(cli: Cli, talks: str) -> None:
    """With the worker's sentence; the others go on."""
    found = cli("transcribe", f"{talks}/none.mp3", f"{talks}/two.wav")
    assert found.returncode == 1
    assert found.stdout.splitlines() == ["two_transcript.json"]
    assert "none.mp3: failed: 127.0.0.1 answered 404 to the download" in found.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["http://169.254.169.254/latest"], "inputs.0.url is refused: 169.254.169.254 is not on the public internet"),
        (["https://a.example/b", "--known-speaker", "Ann=ann.wav"], "ann.wav does not exist"),
    ],
)
def test_an_address_that_cannot_be_taken_is_said(cli: Cli, words: list[str], sentence: str) -> None:
    """The worker's guard, and what the command itself knows."""
    found = cli("transcribe", *words)
    assert found.returncode != 0
    assert sentence in found.stderr


def test_voices_go_along_with_an_address(cli: Cli, talks: str) -> None:
    """As uploads of their own."""
    (cli.folder / "ann.wav").write_bytes(b"ann" * 1000)
    found = cli("transcribe", f"{talks}/two.wav", "--known-speaker", "Ann=ann.wav", "--json")
    assert found.returncode == 0, found.stderr
    (known,) = json.loads(found.stdout)[0]["options"]["knownSpeakers"]
    assert known == {"name": "Ann", "sha256": hashlib.sha256(b"ann" * 1000).hexdigest()}


async def test_the_python_client_names_several(worker: Worker, talks: str) -> None:
    """One job of all of them; the same key is the same job."""
    inputs = [{"url": f"{talks}/two.wav"}, {"url": f"{talks}/two.wav", "filename": "again.wav"}]
    async with Client(worker.url, TOKEN) as client:
        job = await client.submit_inputs(inputs, {"outputs": ["json"]}, idempotency_key="two")
        assert (await client.submit_inputs(inputs, idempotency_key="two")).id == job.id
        job = await client.wait(job.id)
    names = [output.filename for output in job.outputs]
    assert names == ["two_transcript.json", "again_transcript.json"], json.dumps(job.raw)


def test_a_bucket_gives_the_recording_and_takes_the_text(cli: Cli, store: Storage) -> None:
    """Both by an address of one line; the results come here as well."""
    store.put("calls/Gespr\u00e4ch 100%.mp3", b"hello from the bucket\n")
    target = "s3://archive/results/texts/2026"
    found = cli("transcribe", "s3://archive/recordings/calls/Gespr\u00e4ch 100%.mp3", "--outputs-to", target)
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines() == ["Gespr\u00e4ch 100%_transcript.json"]
    here = (cli.folder / "Gespr\u00e4ch 100%_transcript.json").read_bytes()
    assert b"hello from the bucket" in here
    assert store.get("texts/2026/Gespr\u00e4ch 100%_transcript.json") == here
    assert store.wrong == []


def test_the_doctor_looks_at_the_stores(lone_cli: Cli, store: Storage) -> None:
    """The file, who may read it, and whether each bucket answers; what does not is a failed check with its reason."""
    path = store.stores_file(lone_cli.folder, read=["recordings", "nowhere"])
    settings = {"WORKER_TOKEN": "x" * 20, "WORKER_STORES_FILE": str(path), "WORKER_DEVICE": "cpu"}
    settings["PYTHONPATH"] = light_stack(lone_cli.folder)

    def checks() -> list[tuple[str, str, str]]:
        found = json.loads(lone_cli("doctor", "--json", **settings).stdout)
        return [(one["check"], one["verdict"], one["found"]) for one in found if one["check"].startswith("store")]

    assert checks() == [
        ("stores", "ok", f"archive in {path}"),
        ("store archive", "ok", "recordings answers"),
        ("store archive", "fail", "nowhere: the store archive has no bucket nowhere"),
        ("store archive", "ok", "results answers"),
    ]
    path.chmod(0o644)
    store.trouble = Trouble(status=403)
    assert [verdict for _, verdict, _ in checks()] == ["warn", "warn", "warn", "warn"]
    store.stores_file(lone_cli.folder, endpoint="http://127.0.0.1:1", write=[])
    assert checks()[1] == ("store archive", "fail", "recordings: the store archive could not be reached, or broke off")
    store.trouble = None
