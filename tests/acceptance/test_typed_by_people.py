"""What people and their programs send, to the running worker with the embedded model: each is a public report."""

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import btworker
from tests.acceptance.conftest import TOKEN, Worker

pytestmark = [pytest.mark.speech, pytest.mark.timeout(300)]

DEMO = Path(btworker.__file__).parent / "demo"
SPEECH = (Path(__file__).resolve().parents[1] / "data" / "heldout" / "20.opus").read_bytes()
SPEECH_PATH = "/v1/audio/transcriptions"
BOUNDARY = "XX"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Of a worker that serves the demo's model."""
    settings = {
        "WORKER_ENGINE": "btworker.engine.engine:load",
        "WORKER_MODEL": "demo",
        "WORKER_MODELS": f"demo={DEMO / 'whisper-tiny-words.pt'}",
        "WORKER_DIARIZATION_PIPELINE": str(DEMO / "diarization"),
        "WORKER_OFFLINE": "true",
    }
    worker = Worker(tmp_path_factory.mktemp("worker"), settings).start()
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
