"""tus-js-client and the official openai package for Node, unmodified, against the running worker."""

import hashlib
import json
import os
import random
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import btworker
from btworker.cli.embedded import CHECKPOINT
from btworker.cli.wer import word_errors
from btworker.web.openai.names import NAMES
from tests.acceptance.conftest import Worker
from tests.clients.short_talk import short_talk
from tests.demo_worker import DEMO_WORKER
from tests.process.server_of import TOKEN
from tests.waiting import until

pytestmark = [pytest.mark.clients, pytest.mark.system("node"), pytest.mark.timeout(300)]

HERE = Path(__file__).parent
DEMO = Path(btworker.__file__).parent / "demo"
TALK = HERE.parent / "data" / "heldout" / "20.opus"
MIB = 2**20
NEXT = os.environ.get("BTWORKER_CLIENTS") == "next"
"""Take the openai package that needs a newer Node.js than systems have, and that one (tests/clients/next)."""
MODULES = HERE / "next" / "node_modules"
NODE = str(next(MODULES.glob("node-linux-*/bin/node"))) if NEXT else "node"
PACKAGE = {"OPENAI_PACKAGE": (MODULES / "openai" / "index.mjs").as_uri()} if NEXT else {}
SIZE = 40 * MIB + 1
KILLS = 3


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    """With the demo's model and pipeline."""
    worker = Worker(tmp_path, DEMO_WORKER).start()
    yield worker
    assert worker.stop() == 0, worker.log.read_text()[-3000:]


def test_tus_js_client_goes_on_over_kills(tmp_path: Path) -> None:
    """By its own retries; what arrives is what was sent."""
    worker = Worker(tmp_path, {"WORKER_MODEL": "fake", "WORKER_MODELS": "fake"}).start()
    source, progress = tmp_path / "long.wav", tmp_path / "progress"
    rng = random.Random(4)
    source.write_bytes(b"".join(rng.randbytes(MIB) for _ in range(40)) + b"!")
    command = ["node", "upload.mjs", f"{worker.url}/v1/uploads", TOKEN, str(source)]
    with progress.open("wb") as log:
        client = subprocess.Popen(command, cwd=HERE, stdout=subprocess.PIPE, stderr=log)
    for kill in range(KILLS):
        share = SIZE * (kill + 1) // (KILLS + 2)
        until(lambda share=share: _sent(progress) > share, "more was sent", within_s=120)
        worker.stop(signal.SIGKILL)
        worker.start()
    out, _ = client.communicate(timeout=120)
    assert client.returncode == 0, progress.read_text()[-2000:]
    answer = json.loads(out)
    assert answer["retries"] >= 1
    job = _job(worker, answer["job"])
    assert job["inputs"][0]["sizeBytes"] == SIZE
    assert job["inputs"][0]["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert worker.stop() == 0


def _sent(progress: Path) -> int:
    lines = [line for line in progress.read_text().splitlines() if line.isdecimal()]
    return int(lines[-1]) if lines else 0


def _job(worker: Worker, job_id: str) -> Any:
    command = ["curl", "-sS", "-H", f"Authorization: Bearer {TOKEN}", f"{worker.url}/v1/jobs/{job_id}"]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


def run_node(script: str, worker: Worker, *words: str) -> "subprocess.CompletedProcess[str]":
    """What a script of this folder prints of the worker's OpenAI routes."""
    command = [NODE, script, f"{worker.url}/v1", TOKEN, *words]
    env = {**os.environ, **PACKAGE}
    return subprocess.run(command, cwd=HERE, env=env, capture_output=True, text=True, timeout=280, check=False)


@pytest.mark.speech
def test_every_shape_of_openais_reference(worker: Worker, tmp_path: Path) -> None:
    """Those of shapes.json, which tests/acceptance/test_openai_shapes.py runs with the package for Python."""
    talk, dialogue = str(short_talk(tmp_path)), str(DEMO / "sample.flac")
    ended = run_node("shapes.mjs", worker, talk, dialogue)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found.keys() == {shape["name"] for shape in json.loads((HERE / "shapes.json").read_text())}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


@pytest.mark.speech
def test_the_openai_package_for_node(worker: Worker, tmp_path: Path) -> None:
    """Text, words, subtitles, a stream, models, and errors as it reads them."""
    no_sound = tmp_path / "notes.mp3"
    no_sound.write_text("no sound at all")
    ended = run_node("transcribe.mjs", worker, str(TALK), str(no_sound))
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    reference = json.loads(TALK.with_suffix(".json").read_text())["text"]
    assert word_errors(reference=reference, hypothesis=found["text"]).rate < 0.1
    assert found["node"] >= (22 if NEXT else 18)
    assert found["streamed"] == found["done"] == found["text"]
    assert found["words"] > 10
    assert found["segments"] >= 1
    assert "-->" in found["srt"]
    assert set(found["models"]) == {"demo", *NAMES}
    assert found["errors"] == {
        "format": {"status": 400, "code": "BAD_OPTION", "param": "response_format"},
        "model": {"status": 400, "code": "BAD_OPTION", "param": "model"},
        "sound": {"status": 400, "code": "CORRUPT_AUDIO", "param": None},
    }


@pytest.mark.speech
def test_the_ai_sdk_and_groqs_package(tmp_path: Path) -> None:
    """Each has the one text: their schemas, which throw a whole answer away for a field, find nothing wrong."""
    models = f"demo={CHECKPOINT},large-v3={CHECKPOINT}"
    worker = Worker(tmp_path, {**DEMO_WORKER, "WORKER_MODELS": models}).start()
    ended = run_node("others.mjs", worker, str(short_talk(tmp_path)))
    assert worker.stop() == 0, worker.log.read_text()[-3000:]
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert len(found) == 9
    assert len(set(found.values())) == 1, found
