"""Long recordings go through in blocks, and little memory is enough."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from btworker.engine.diarization.blocks import plan
from btworker.engine.diarization.diarizer import Diarizer
from tests.speech.diarization.cases import DIALOGUES, OPTIONS
from tools.demo_diarization.dialogue_files import read
from tools.demo_diarization.heldout import Dialogue
from tools.demo_diarization.measure import Case, diarize, error_rate

pytestmark = [pytest.mark.speech, pytest.mark.timeout(600)]


@pytest.mark.sliced("speakers", 2)
def test_speakers_keep_their_names_across_blocks(diarizer: Diarizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording in blocks of 50 s has the people and nearly the turns that it has in one piece."""
    dialogue = read(DIALOGUES[1])
    whole = diarize(diarizer, dialogue.samples)
    monkeypatch.setattr(diarizer, "_block_s", 50.0)
    monkeypatch.setattr(diarizer, "_overlap_s", 10.0)
    parts = diarize(diarizer, dialogue.samples)
    assert (whole.block_count, parts.block_count) == (1, 3)
    assert parts.speaker_count == whole.speaker_count == 3
    rate, _ = error_rate([Case(replace(dialogue, turns=_said(whole.turns)), parts)])
    assert rate < 0.05
    exact = diarize(diarizer, dialogue.samples, replace(OPTIONS, num_speakers=2))
    assert exact.speaker_count == 2


def _said(turns: Any) -> Any:
    from tools.demo_diarization.heldout import Said

    return tuple(Said(turn.start, turn.end, turn.speaker) for turn in turns)


@pytest.mark.sliced("speakers", 2)
def test_a_block_is_all_that_is_in_memory(diarizer: Diarizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the recording is: only a block of it reaches pyannote, as floats."""
    lengths: list[float] = []

    def apply(file: dict[str, Any], limits: dict[str, int], hook: Callable[..., None]) -> Any:
        lengths.append(file["waveform"].shape[1] / 16_000)
        return original(file, limits, hook)

    original = diarizer._apply
    monkeypatch.setattr(diarizer, "_apply", apply)
    monkeypatch.setattr(diarizer, "_block_s", 60.0)
    monkeypatch.setattr(diarizer, "_overlap_s", 5.0)
    found = diarize(diarizer, np.zeros(16_000 * 300, np.float32))
    assert (found.turns, found.block_count) == ((), 6)
    assert lengths == pytest.approx([block.end - block.start for block in plan(300, block_s=60, overlap_s=5)], abs=1e-3)


@pytest.mark.sliced("speakers", 2)
def test_memory_that_is_short_halves_the_batches(
    diarizer: Diarizer, dialogue: Dialogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Down to what fits, also for the next recording; with the same result."""
    expected = diarize(diarizer, dialogue.samples)
    monkeypatch.setattr(diarizer, "_cores", 4)
    monkeypatch.setattr(diarizer, "_most", None)
    original = diarizer._apply
    tried: list[int] = []

    def apply(*args: Any) -> Any:
        tried.append(diarizer.pipeline.embedding_batch_size)
        if tried[-1] > 1:
            raise RuntimeError("CUDA out of memory")
        return original(*args)

    monkeypatch.setattr(diarizer, "_apply", apply)
    found = diarize(diarizer, dialogue.samples)
    diarizer._fit_batches()
    assert diarizer.pipeline.embedding_batch_size == 1
    assert tried == [4, 2, 1]
    assert len(found.turns) == len(expected.turns)
