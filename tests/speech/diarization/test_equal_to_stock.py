"""Fast paths give what the stock pipeline gives."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from btworker.engine.diarization.diarizer import Diarizer
from tests.speech.diarization.cases import DIALOGUES, settings
from tools.demo_diarization.dialogue_files import read
from tools.demo_diarization.heldout import Dialogue
from tools.demo_diarization.measure import diarize, pcm

pytestmark = [pytest.mark.speech, pytest.mark.timeout(600)]


def stock() -> Any:
    """pyannote's own class, from the same folder."""
    from btworker.engine.diarization.loading import load_pipeline

    return load_pipeline(settings(Path("unused")), torch.device("cpu"))


def stock_turns(output: Any) -> list[tuple[float, float, str]]:
    """The tracks of what pyannote returns."""
    annotation = getattr(output, "speaker_diarization", output)
    return [(segment.start, segment.end, label) for segment, _, label in annotation.itertracks(yield_label=True)]


@pytest.mark.sliced("equal to stock", 1)
def test_the_result_is_the_stock_pipelines(diarizer: Diarizer, dialogue: Dialogue) -> None:
    """Turn for turn; and where stock pyannote has exclusive turns, those too."""
    samples = pcm(dialogue.samples)
    waveform = torch.from_numpy(samples.astype(np.float32) / np.float32(32768))[None]
    theirs = stock()
    assert type(theirs).__name__ == "SpeakerDiarization"
    assert type(diarizer.pipeline).__name__ == "OnePassDiarization"
    output = theirs({"waveform": waveform, "sample_rate": 16_000, "uri": "x"})
    expected = stock_turns(output)
    found = diarize(diarizer, dialogue.samples)
    assert len(expected) > 10
    np.testing.assert_allclose([(turn.start, turn.end) for turn in found.turns], [turn[:2] for turn in expected])
    pairs = {(turn.speaker, label) for turn, (_, _, label) in zip(found.turns, expected, strict=True)}
    assert len(pairs) == len({label for _, _, label in expected}) == len({speaker for speaker, _ in pairs})
    if exclusive := getattr(output, "exclusive_speaker_diarization", None):
        times = [(turn.start, turn.end) for turn in found.exclusive]
        np.testing.assert_allclose(times, [turn[:2] for turn in stock_turns(exclusive)])


def test_exclusive_turns_never_overlap(diarizer: Diarizer) -> None:
    """The ordinary ones of a dialogue in which people cut in do."""
    found = diarize(diarizer, read(DIALOGUES[1]).samples)

    def overlaps(turns: Any) -> int:
        ordered = sorted(turns, key=lambda turn: turn.start)
        return sum(later.start < before.end - 1e-6 for before, later in pairwise(ordered))

    assert overlaps(found.turns) > 0
    assert overlaps(found.exclusive) == 0
    assert {turn.speaker for turn in found.exclusive} <= {turn.speaker for turn in found.turns}


@pytest.mark.sliced("equal to stock", 1)
def test_one_pass_gives_the_embeddings_of_many(diarizer: Diarizer, dialogue: Dialogue) -> None:
    """To the rounding of float32, with silent chunks among them and overlaps left out."""
    samples = np.concatenate([dialogue.samples[: 16_000 * 25], np.zeros(16_000 * 15, np.float32)])
    file = {"waveform": torch.from_numpy(samples)[None], "sample_rate": 16_000, "uri": "x"}
    theirs = stock()
    segmentations = theirs.get_segmentations(file)
    for exclude in (False, True):
        expected = theirs.get_embeddings(file, segmentations, exclude_overlap=exclude)
        found = diarizer.pipeline.get_embeddings(file, segmentations, exclude_overlap=exclude)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
        assert found.dtype == expected.dtype


def test_a_model_that_takes_one_mask_only_keeps_the_stock_method(diarizer: Diarizer, dialogue: Dialogue) -> None:
    """An embedding of another library: found out when it is loaded, and slower, not wrong."""
    from btworker.engine.diarization.pipeline import silent_embedding

    class OneMask:
        """Takes what pyannote's stock method gives, and nothing else."""

        sample_rate = 16_000

        def __init__(self, embedding: Any) -> None:
            self._embedding = embedding

        def __call__(self, waveforms: torch.Tensor, masks: torch.Tensor) -> Any:
            _batch, _frames = masks.shape
            return self._embedding(waveforms, masks=masks)

    class Pipeline:
        """Has it."""

        _embedding = OneMask(diarizer.pipeline._embedding)

    assert silent_embedding(Pipeline()) is None  # type: ignore[arg-type]
    assert silent_embedding(diarizer.pipeline) is not None
    theirs = stock()
    theirs.__class__ = type(diarizer.pipeline)
    theirs.silent = None
    file = {"waveform": torch.from_numpy(dialogue.samples[None, : 16_000 * 15]), "sample_rate": 16_000, "uri": "x"}
    segmentations = theirs.get_segmentations(file)
    found = theirs.get_embeddings(file, segmentations)
    np.testing.assert_allclose(found, diarizer.pipeline.get_embeddings(file, segmentations), rtol=1e-4, atol=1e-4)
