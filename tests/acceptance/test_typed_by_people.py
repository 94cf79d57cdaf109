"""What people and their programs send, to the running worker with the embedded model: each is a public report."""

import http.client
import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

import btworker
from tests.acceptance.conftest import Worker
from tests.demo_worker import DEMO_WORKER
from tests.process.server_of import TOKEN
from tests.waiting import until

pytestmark = [pytest.mark.speech, pytest.mark.timeout(300)]

DEMO = Path(btworker.__file__).parent / "demo"
SPEECH = (Path(__file__).resolve().parents[1] / "data" / "heldout" / "11.opus").read_bytes()
SPEECH_PATH = "/v1/audio/transcriptions"
BOUNDARY = "XX"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Of a worker that serves the demo's model."""
    worker = Worker(tmp_path_factory.mktemp("worker"), DEMO_WORKER).start()
    yield int(worker.url.rpartition(":")[2])
    assert worker.stop() == 0, worker.log.read_text()[-3000:]


def part(disposition: bytes, content: bytes, boundary: bytes = BOUNDARY.encode()) -> bytes:
    """One part of a form."""
    return b"--%b\r\nContent-Disposition: form-data; %b\r\n\r\n%b\r\n" % (boundary, disposition, content)


def field(name: str, value: str) -> bytes:
    """A form field."""
    return part(f'name="{name}"'.encode(), value.encode())


def file(disposition: bytes = b'name="file"; filename="talk.opus"', content: bytes = SPEECH) -> bytes:
    """The recording."""
    return part(disposition, content)


def post(port: int, *parts: bytes, path: str = SPEECH_PATH, boundary: str = BOUNDARY) -> tuple[int, Any]:
    """Send a form; the status and the JSON of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": f"multipart/form-data; boundary={boundary}"}
    connection.request("POST", path, b"".join(parts) + f"--{boundary}--\r\n".encode(), headers)
    answer = connection.getresponse()
    status, raw = answer.status, json.loads(answer.read())
    connection.close()
    return status, raw


def ended(port: int, job_id: str) -> Any:
    """The job, once it has ended."""
    found: dict[str, Any] = {}

    def has_ended() -> bool:
        url = f"http://127.0.0.1:{port}/v1/jobs/{job_id}"
        with urlopen(Request(url, headers={"Authorization": f"Bearer {TOKEN}"}), timeout=60) as answer:
            found.update(json.load(answer))
        return found["status"] in ("complete", "failed", "canceled")

    until(has_ended, f"{job_id} ends")
    assert found["status"] == "complete", found["error"]
    return found


def test_a_prompt_that_quotes_a_sign_of_the_model_is_text(port: int) -> None:
    """neavo/KeywordGacha#146, bespokelabsai/curator#178, raphaelmansuy/code2prompt#23"""
    status, answer = post(port, file(), field("prompt", "He wrote <|endoftext|> on the board."))
    assert (status, bool(answer["text"])) == (200, True)


def test_a_locale_names_a_language(port: int) -> None:
    """THU-MAIC/OpenMAIC#1440, iOfficeAI/AionUi#1939, mikealicea/obsidian-scribe#27"""
    status, answer = post(port, file(), field("language", "en-US"), field("response_format", "verbose_json"))
    assert (status, answer["language"]) == (200, "english")


def test_a_language_that_the_model_lacks_is_named(port: int) -> None:
    """`yue` exists only from large-v3 on, and of an operator's own model only the child knows it."""
    status, answer = post(port, file(), field("language", "yue"))
    assert (status, answer["error"]["code"]) == (400, "BAD_OPTION")
    assert "does not know cantonese" in answer["error"]["message"]


def test_a_name_from_a_mac_and_the_same_name_typed(port: int) -> None:
    """droppyjs/droppy#72, sanic-org/sanic#2625, filesender/filesender#1338: their results can be told apart."""
    forms = [unicodedata.normalize(form, "Gespr\u00e4ch.opus") for form in ("NFD", "NFC")]
    parts = [file(f'name="file"; filename="{name}"'.encode()) for name in forms]
    status, job = post(port, *parts, field("outputs", "srt"), path="/v1/jobs")
    assert status == 201
    job = ended(port, job["workerJobId"])
    assert [item["filename"] for item in job["outputs"]] == ["Gespr\u00e4ch.srt", "Gespr\u00e4ch-2.srt"]


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8", "cp932", "gbk", "cp437", "utf-16-le"])
def test_a_name_in_the_code_page_of_the_client_costs_no_upload(port: int, encoding: str) -> None:
    """curl/curl#2267: a name is only shown."""
    name = "Gespräch \u4f1a".encode(encoding, "ignore").replace(b"\0", b"").replace(b'"', b"")
    part_of_file = file(b'name="file"; filename="' + name + b'.opus"', b"no recording")
    status, job = post(port, part_of_file, path="/v1/jobs")
    assert status == 201, job
    assert job["inputs"][0]["filename"].endswith(".opus")


@pytest.mark.parametrize("size", [4_000, len(SPEECH)])
def test_a_file_part_without_a_filename(port: int, size: int) -> None:
    """vllm-project/guidellm#983, D7EAD/liboai#64: the sentence says what is missing."""
    status, answer = post(port, field("model", "whisper-1"), file(b'name="file"', SPEECH[:size]))
    assert (status, answer["error"]["code"]) == (400, "NO_FILE")
    assert "the part 'file' has no filename" in answer["error"]["message"]


@pytest.mark.parametrize("boundary", ["b/QeEbFgqK9PCZo4T", "aaa=bbb"])
def test_a_boundary_that_should_be_quoted(port: int, boundary: str) -> None:
    """aspnet/HttpAbstractions#820, jshttp/media-typer#5, mscdex/busboy#306"""
    recording = part(b'name="file"; filename="talk.opus"', SPEECH, boundary.encode())
    status, answer = post(port, recording, boundary=boundary)
    assert (status, bool(answer["text"])) == (200, True)


def test_empty_fields_of_a_form(port: int) -> None:
    """Kochava-Studios/witsy#340, and the same for the other fields."""
    names = ("language", "prompt", "temperature", "model", "response_format", "stream", "timestamp_granularities[]")
    status, answer = post(port, file(), *(field(name, "") for name in names))
    assert (status, bool(answer["text"])) == (200, True)
