"""Recordings with little to tell apart: silence, noise, one person, half a second, a telephone."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from btworker.engine.engine import WhisperEngine
from btworker.engine.job import speaker_stage as stage
from btworker.jobs import OutputFormat
from btworker.messages import Finished
from btworker.outputs import SPEAKER_FILES
from tests.speech.conftest import write_wav
from tests.speech.diarization.cases import (
    DEMO,
    FIRST_WORDS,
    NO_SPEAKERS,
    OPTIONS,
    decoded,
    first_sentences,
    speakers_of,
    transcript_of,
    warnings_of,
)
from tests.speech.jobs import run, task_for

pytestmark = [pytest.mark.speech, pytest.mark.timeout(600)]


def silence(seconds: float) -> npt.NDArray[np.int16]:
    """Not a sound."""
    return np.zeros(int(seconds * 16_000), np.int16)


def noise(seconds: float) -> npt.NDArray[np.int16]:
    """A hiss."""
    return (np.random.default_rng(5).standard_normal(int(seconds * 16_000)) * 30).astype(np.int16)


@pytest.mark.parametrize("make_sound", [silence, noise], ids=["silence", "noise"])
def test_no_speech_is_said(engine: WhisperEngine, tmp_path: Path, make_sound: Any) -> None:
    """An empty transcript, no speakers, files about speakers in which nobody is, and why."""
    source = write_wav(tmp_path / "empty.wav", make_sound(12))
    events = run(engine, task_for(tmp_path / "job", source, options=OPTIONS))
    assert isinstance(events[-1], Finished)
    assert f"{NO_SPEAKERS}{stage.NO_SPEECH}" in warnings_of(events)
    assert transcript_of(tmp_path / "job").turns == ()
    assert {output.type for output in events[-1].outputs} == {kind.value for kind in OutputFormat} | set(SPEAKER_FILES)
    out = tmp_path / "job" / "out"
    assert (out / "talk-0_diarization.json").read_text() == "[]\n"
    assert (out / "talk-0_speaker.md").read_text() == f"# empty.wav\n\n*No speakers: {stage.NO_SPEECH}*\n\n"


def test_one_speaker_has_all_the_words(engine: WhisperEngine, tmp_path: Path) -> None:
    """And keeps them."""
    events = run(engine, task_for(tmp_path / "job", first_sentences(tmp_path), options=OPTIONS))
    transcript = transcript_of(tmp_path / "job")
    assert warnings_of(events) == []
    assert " ".join(transcript.text.split()) == FIRST_WORDS
    assert {word.speaker for segment in transcript.segments for word in segment.words} == {"SPEAKER_00"}


def test_half_a_second_does_no_harm(engine: WhisperEngine, tmp_path: Path) -> None:
    """One word, of one speaker or of nobody, but a transcript."""
    samples = decoded(DEMO / "sample.flac")[int(0.84 * 16_000) : int(1.34 * 16_000)]
    events = run(engine, task_for(tmp_path / "job", write_wav(tmp_path / "short.wav", samples), options=OPTIONS))
    transcript = transcript_of(tmp_path / "job")
    assert isinstance(events[-1], Finished)
    assert events[-1].durations_s == (0.5,)
    found = {segment.speaker for segment in transcript.segments}
    assert found <= {"SPEAKER_00"} or warnings_of(events)
    assert transcript.text.strip()


def test_a_telephone_recording_has_its_speakers(engine: WhisperEngine, tmp_path: Path, make: Any) -> None:
    """8 kHz, as a switchboard records it."""
    source = make("phone.wav", "-i", DEMO / "sample.flac", "-ar", 8000)
    events = run(engine, task_for(tmp_path / "job", source, options=OPTIONS))
    transcript = transcript_of(tmp_path / "job")
    assert not any(NO_SPEAKERS in said for said in warnings_of(events))
    assert speakers_of(transcript.segments)[:2] == ["SPEAKER_00", "SPEAKER_01"]
    assert len(transcript.text.split()) > 80
