"""The real engine under the controller: three recordings with speakers, from URLs to files with names in them."""

import json
from pathlib import Path

import aiohttp
import pytest

import btworker
from tests.acceptance.conftest import Worker
from tests.acceptance.controller.controller import Record, controlling
from tests.acceptance.controller.dispatching import ALL_OPTIONS, PROGRESS
from tests.demo_worker import DEMO_WORKER
from tests.process.server_of import TOKEN

pytestmark = [pytest.mark.speech, pytest.mark.timeout(600)]

DEMO = Path(btworker.__file__).parent / "demo"
DIALOGUES = Path(__file__).resolve().parents[2] / "data" / "dialogues"
TYPES = {"json", "markdown", "diarization-json", "speaker-markdown"}


@pytest.mark.sliced("whole jobs", 1)
async def test_three_recordings_with_speakers(tmp_path: Path) -> None:
    """Every output of every input, every field at every stage, in the order that the controller expects."""
    sources = {"a": DEMO / "sample.flac", "b": DIALOGUES / "01.opus", "c": DIALOGUES / "02.opus"}
    inputs = {name: (path.name, path.read_bytes()) for name, path in sources.items()}
    options = {**ALL_OPTIONS, "model": "large-v3", "language": "en", "minSpeakers": None, "maxSpeakers": None}
    record = Record("job-1", inputs, {**options, "diarizationEffective": {"clamped": {}}})
    async with controlling() as controller:
        worker = Worker(
            tmp_path,
            {
                **DEMO_WORKER,
                "WORKER_MODEL": "large-v3",
                "WORKER_MODELS": f"large-v3={DEMO / 'whisper-tiny-words.pt'}",
                "WORKER_ALLOWED_HOSTS": f"127.0.0.1:{controller.port}",
            },
        ).start()
        async with aiohttp.ClientSession(worker.url, headers={"Authorization": f"Bearer {TOKEN}"}) as session:
            status, _ = await controller.dispatch(session, record)
            assert status == 201
            job = await controller.poll(session, record, within_s=400)
        assert worker.stop() == 0, worker.log.read_text()[-3000:]
    assert (job["status"], job["error"]) == ("complete", None)
    told = {(one["inputId"], one["type"]) for one in record.callbacks[0]["outputs"]}
    assert told == {(name, kind) for name in inputs for kind in TYPES}
    assert [(one["inputId"], one["type"]) for one in record.manifest] == [
        (one["inputId"], one["type"]) for one in record.callbacks[0]["outputs"]
    ]
    assert controller.requests == {"input": 3, "output": 12, "callback": 1}
    turns = json.loads(record.contents["02_diarization.json"])
    assert {turn["speaker"] for turn in turns} == {f"SPEAKER_0{n}" for n in range(3)}
    assert "**[00:00] SPEAKER_00:** Hello happy teacher." in record.contents["sample_speaker.md"].decode()
    assert json.loads(record.contents["01_transcript.json"])["segments"][0]["speaker"] == "SPEAKER_00"
    stages = list(dict.fromkeys(seen["stage"] for seen in record.seen))
    assert {"transcribing", "diarizing"} <= set(stages)
    assert stages[-1] == "complete"
    percents = [seen["progress"]["percent"] for seen in record.seen]
    assert percents == sorted(percents)
    assert all(set(seen["progress"]) >= PROGRESS for seen in record.seen)
    assert {seen["progress"]["currentFile"] for seen in record.seen} == {path.name for path in sources.values()}
