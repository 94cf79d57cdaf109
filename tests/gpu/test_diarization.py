"""Speakers on an NVIDIA GPU: those of the CPU, on the device that the log names."""

import json
from pathlib import Path

import pytest
import torch

from btworker.engine.diarization.diarizer import Diarizer
from tests.gpu.real_worker import REAL, ROOT
from tests.process.server_of import serving
from tests.speech.diarization.cases import settings
from tests.waiting import until
from tools.demo_diarization.dialogue_files import read
from tools.demo_diarization.measure import Case, diarize, diarizer_of, error_rate

pytestmark = [pytest.mark.gpu, pytest.mark.speech, pytest.mark.timeout(300)]

PIPELINE = ROOT / "btworker" / "demo" / "diarization"
DIALOGUE = ROOT / "tests" / "data" / "dialogues" / "02.opus"


def test_speakers_are_told_apart_on_the_gpu(tmp_path: Path) -> None:
    """Through the whole worker; the turns are nearly those that the CPU finds, and the right ones."""
    with serving(tmp_path, **REAL, WORKER_DIARIZATION_PIPELINE=str(PIPELINE)) as server:
        until(lambda: server.request("GET", "/v1/ping")[1]["diarization"])
        job_id = server.upload("talk.opus", DIALOGUE.read_bytes(), language="en", diarizationEnabled="true")
        job = server.ended(job_id)
        assert (job["status"], job["warnings"]) == ("complete", [])
        turns = json.loads(server.output(job_id, "talk_diarization.json"))
    log = server.log.read_text()
    assert '"device": "cuda:0"' in log
    assert "diarization_one_by_one" not in log
    dialogue = read(DIALOGUE)
    found = diarize(diarizer_of(PIPELINE), dialogue.samples)
    assert {turn["speaker"] for turn in turns} == {turn.speaker for turn in found.turns}
    assert error_rate([Case(dialogue, found)])[0] < 0.1
    whole = sum(turn.end - turn.start for turn in found.turns)
    assert abs(sum(turn["end"] - turn["start"] for turn in turns) - whole) < 0.02 * whole


def test_speakers_do_not_wait_for_text_nor_read_too_early() -> None:
    """While the stream of decoding has seconds of work before it: a chunk that is cut there would not be there yet when
    it is embedded, and the voice would be another one."""
    samples = read(DIALOGUE).samples
    diarizer = Diarizer(settings(Path("unused")), on_gpu=True)
    assert diarizer.beside and diarizer.pipeline.looks_ahead
    found = []
    for cycles in (0, 1 << 33):
        torch.cuda._sleep(cycles)
        found.append(diarize(diarizer, samples))
        torch.cuda.synchronize()
    diarizer.beside = diarizer.pipeline.looks_ahead = False
    found.append(diarize(diarizer, samples))
    assert found[0].turns
    assert found[0].turns == found[1].turns == found[2].turns
