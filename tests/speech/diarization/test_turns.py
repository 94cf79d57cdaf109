"""Who says what: through pyannote, and through a whole attempt."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from btworker.engine.diarization.diarizer import Diarizer
from btworker.engine.engine import WhisperEngine
from btworker.messages import Finished
from tests.speech.conftest import write_wav
from tests.speech.diarization.cases import (
    DEMO,
    DIALOGUES,
    OPTIONS,
    SAMPLE_TURNS,
    speakers_of,
    transcript_of,
    warnings_of,
)
from tests.speech.jobs import run, task_for
from tools.demo_diarization.dialogue_files import read
from tools.demo_diarization.heldout import Dialogue
from tools.demo_diarization.measure import Case, diarize, error_rate, pcm
from tools.demo_diarization.words import speaker_accuracy

pytestmark = [pytest.mark.speech, pytest.mark.timeout(600)]


def test_the_samples_two_speakers_take_turns(engine: WhisperEngine, tmp_path: Path) -> None:
    """Through a whole attempt: words as without speakers, five turns in the right order, and every file says so."""
    events = run(engine, task_for(tmp_path / "job", DEMO / "sample.flac", options=OPTIONS))
    transcript = transcript_of(tmp_path / "job")
    assert warnings_of(events) == []
    assert speakers_of(transcript.segments) == (["SPEAKER_00", "SPEAKER_01"] * 3)[:SAMPLE_TURNS]
    spoken = (DEMO / "sample.txt").read_text().splitlines()
    by_speaker = {f"SPEAKER_{who:02d}": [s for n, s in enumerate(spoken) if n // 4 % 2 == who] for who in (0, 1)}
    for speaker, sentences in by_speaker.items():
        text = " ".join("".join(s.text for s in transcript.segments if s.speaker == speaker).split())
        assert text == " ".join(sentences)
    without = replace(OPTIONS, diarization_enabled=False)
    plain = run(engine, task_for(tmp_path / "plain", DEMO / "sample.flac", options=without))
    assert transcript_of(tmp_path / "plain").text == transcript.text
    assert not transcript_of(tmp_path / "plain").turns
    assert isinstance(plain[-1], Finished)


def test_every_file_of_a_job_with_speakers_names_them(engine: WhisperEngine, tmp_path: Path) -> None:
    """The two extra files, RTTM, and the speakers inside the others."""
    events = run(engine, task_for(tmp_path / "job", DEMO / "sample.flac", options=OPTIONS))
    finished, out = events[-1], tmp_path / "job" / "out"
    assert isinstance(finished, Finished)
    assert {output.type for output in finished.outputs} >= {"diarization-json", "speaker-markdown", "rttm", "json"}
    turns = json.loads((out / "talk-0_diarization.json").read_text())
    assert {turn["speaker"] for turn in turns} == {"SPEAKER_00", "SPEAKER_01"}
    by_speaker = (out / "talk-0_speaker.md").read_text()
    assert by_speaker.startswith("# sample.flac\n\n**[00:00] SPEAKER_00:** Hello happy teacher.")
    assert len((out / "talk-0.rttm").read_text().splitlines()) == len(turns)
    assert "\nSPEAKER_01: " in (out / "talk-0.srt").read_text()
    assert "\n<v SPEAKER_01>" in (out / "talk-0.vtt").read_text()
    assert "SPEAKER\\_01:" in (out / "talk-0_transcript.md").read_text()
    assert {name for name, _ in finished.timings} >= {"decode", "transcribe", "diarize"}


@pytest.mark.sliced("speakers", 2)
def test_held_out_dialogues_have_the_right_speakers(engine: WhisperEngine, tmp_path: Path) -> None:
    """Their number in each; over all of them the error rate, and the speaker of nearly every recognised word.

    They last a minute and a half each: in a single one, one chunk that rounds otherwise on another CPU moves the error
    rate by 3 points.
    """
    cases, words = [], np.zeros(3, int)
    for path in DIALOGUES:
        dialogue = read(path)
        cases.append(Case(dialogue, diarize(engine.equipment.speakers.load(), dialogue.samples)))
        run(engine, task_for(tmp_path / path.stem, path, options=OPTIONS))
        right, recognised = speaker_accuracy(dialogue.words, transcript_of(tmp_path / path.stem).segments)
        words += (right, recognised, len(dialogue.words))
        print(f"{path.stem}: {error_rate(cases[-1:])}, {right} of {recognised} recognised of {len(dialogue.words)}")
    assert all(case.counted_right for case in cases)
    assert error_rate(cases)[0] < 0.1
    assert words[1] > 0.8 * words[2]
    assert words[0] >= 0.95 * words[1]


def test_a_voice_too_short_to_be_known_is_a_speaker_all_the_same(
    diarizer: Diarizer, dialogue: Dialogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Embedding models give NaN for a few frames of speech: with nothing to compare, it is one person's."""
    stock = diarizer.pipeline.get_embeddings

    def unknown(*args: Any, **named: Any) -> Any:
        return np.full_like(stock(*args, **named), np.nan)

    monkeypatch.setattr(diarizer.pipeline, "get_embeddings", unknown)
    assert diarize(diarizer, dialogue.samples[: 4 * 16_000]).speaker_count == 1


@pytest.mark.sliced("speakers", 2)
def test_numbers_of_speakers_are_honoured(diarizer: Diarizer, dialogue: Dialogue) -> None:
    """Exactly so many, at least, at most; and a number that cannot be reached is said."""
    counts = [
        diarize(diarizer, dialogue.samples, replace(OPTIONS, **asked)).speaker_count
        for asked in ({"num_speakers": 1}, {"num_speakers": 3}, {"min_speakers": 3}, {"max_speakers": 1})
    ]
    assert counts == [1, 3, 3, 1]


def test_a_number_that_cannot_be_reached_is_said(engine: WhisperEngine, tmp_path: Path) -> None:
    """Half a second cannot hold ten people."""
    short = write_wav(tmp_path / "short.wav", pcm(read(DIALOGUES[0]).samples[16_000 : 16_000 + 8_000]))
    events = run(engine, task_for(tmp_path / "job", short, options=replace(OPTIONS, num_speakers=10)))
    assert isinstance(events[-1], Finished)
    assert any("10 speakers were asked for, but" in said for said in warnings_of(events))
