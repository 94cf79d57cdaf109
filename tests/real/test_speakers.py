"""People's voices told apart by segmentation-3.0 and CAM++: `make real-check`. The wheel comes by its hash."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.real.pipeline_folder import pipeline_folder
from bench.real.recordings import OWN, decoded
from bench.real.speakers import Turns, errors, same_turns, settings_of, stock_pipeline
from bench.real.weights import UnreachableError
from btworker.engine.campplus import CamPlusPlus
from btworker.engine.cooperate.result import result_of
from btworker.engine.diarization.diarizer import Diarizer
from btworker.engine.diarization.voices import Likeness, match
from btworker.transcript import Turn
from tools.demo_diarization.measure import OPTIONS, diarize

pytestmark = [pytest.mark.speech, pytest.mark.real, pytest.mark.full, pytest.mark.timeout(600)]
RATE = 16_000
PAUSE_S = 0.5
Samples = NDArray[np.int16]
ORDER = (
    ("kennedy", "jfk", 0.3, 4.0), ("reader", "librivox-0870", 0.2, 6.9), ("linda", "ljspeech", 0.1, 5.0),
    ("reader", "librivox-0920", 0.2, 5.8), ("kennedy", "jfk", 5.0, 10.5), ("linda", "ljspeech", 6.0, 11.0),
    ("reader", "librivox-0890", 0.2, 5.1),
)  # fmt: skip
"""(who, recording, from, to): three people who take turns."""


@pytest.fixture(scope="module")
def folder() -> Path:
    """The pipeline."""
    try:
        return pipeline_folder()
    except UnreachableError as error:
        pytest.skip(f"left out: real voices told apart, {error}")


@pytest.fixture(scope="module")
def conversation() -> tuple[Samples, Turns]:
    """36 s of three people, and who speaks when."""
    pieces, turns, now = [], [], 0.0
    for who, name, start, end in ORDER:
        pieces += [decoded(OWN / f"{name}.opus")[int(start * RATE) : int(end * RATE)], np.zeros(int(PAUSE_S * RATE))]
        turns.append(Turn(now, now + end - start, who))
        now += end - start + PAUSE_S
    return np.concatenate(pieces).astype(np.int16), tuple(turns)


def test_three_people_are_three(folder: Path, conversation: tuple[Samples, Turns]) -> None:
    """By one pass a chunk, with the very turns of stock pyannote; less than 15 % of the speech is wrong."""
    samples, reference = conversation
    settings = settings_of(folder)
    diarizer = Diarizer(settings, on_gpu=False)
    assert diarizer.pipeline._embedding.min_num_samples > 0  # found by trying, once
    passes: list[int] = []
    frames = CamPlusPlus.frames

    def counted(network: CamPlusPlus, waveforms: object) -> object:
        passes.append(len(waveforms))  # type: ignore[arg-type]
        return frames(network, waveforms)  # type: ignore[arg-type]

    with mock.patch.object(CamPlusPlus, "frames", counted):
        found = diarize(diarizer, samples)
    assert found.speaker_count == 3
    speech_s, *wrong_s = errors(reference, found.turns, len(samples) / RATE)
    assert sum(wrong_s) < 0.15 * speech_s
    assert sum(passes) <= len(samples) / RATE - 10 + 2  # chunks of 10 s, one a second
    assert same_turns(found.turns, stock_pipeline(settings)(samples))


def test_blocks_keep_the_people(folder: Path, conversation: tuple[Samples, Turns]) -> None:
    """In two blocks of 24 s they are the same three, and nine tenths of the speech are whose stock pyannote has it."""
    samples, _ = conversation
    settings = settings_of(folder, diarization_block_s=25.0, diarization_overlap_s=8.0)
    three = replace(OPTIONS, num_speakers=3)
    blocks = diarize(Diarizer(settings, on_gpu=False), samples, three)
    assert (blocks.block_count, blocks.speaker_count) == (2, 3)
    speech_s, *apart_s = errors(stock_pipeline(settings)(samples), blocks.turns, len(samples) / RATE)
    assert sum(apart_s) < 0.1 * speech_s
    assert all(before.start <= after.start for before, after in pairwise(blocks.turns))


def test_people_are_known_by_other_recordings_of_theirs(folder: Path, conversation: tuple[Samples, Turns]) -> None:
    """Each name goes to its person, well apart from the others; the fourth, who is not there, stays without one."""
    samples, reference = conversation
    diarizer = Diarizer(settings_of(folder), on_gpu=False)
    found = diarize(diarizer, samples)
    clips = {
        "kennedy": ("jfk", 4.0, 5.0 + 4.0), "reader": ("librivox-0930", 0.0, 3.2), "linda": ("ljspeech", 20.0, 28.0),
    }  # fmt: skip
    known = [
        (name, result_of(diarizer.voice(decoded(OWN / f"{file}.opus")[int(start * RATE) : int(end * RATE)])))
        for name, (file, start, end) in clips.items()
    ]
    matches = match(found.voices, known, Likeness(0.5, 0.05))
    assert all(one.matched for one in matches)
    names = {one.speaker: one.name for one in matches}
    right_s = sum(
        max(0.0, min(turn.end, other.end) - max(turn.start, other.start))
        for turn in reference
        for other in found.turns
        if names[other.speaker] == turn.speaker
    )
    assert right_s > 0.85 * sum(turn.end - turn.start for turn in reference)
    without = match({speaker: voice for speaker, voice in found.voices.items() if names[speaker] != "linda"}, known,
                    Likeness(0.5, 0.05))  # fmt: skip
    assert [one.name for one in without if not one.matched] == ["linda"]
    assert result_of(diarizer.voice(np.zeros(3 * RATE, np.int16))) is None
