"""Our loop gives the segments of openai-whisper's transcribe(), whichever release is installed.

On random weights every rule of the loop is met: timestamps anywhere, windows that are decoded again at each
temperature, empty segments. test_demo_model.py does the same on speech.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from btworker.engine.asr.weights import Model
from btworker.jobs import Options
from tests.speech.conftest import noise_of
from tests.speech.oracle import assert_equal, ours, theirs

pytestmark = [
    pytest.mark.speech,
    pytest.mark.timeout(300),
    # whisper's beam search hands tensors to numpy 2
    pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning"),
]

EXACT = Options(model="random", decode="exact")
COLD = replace(EXACT, temperature=0.0)
CASES = {
    "words": COLD,
    "no words": replace(COLD, word_timestamps=False),
    "prompt": replace(COLD, word_timestamps=False, prompt="A long prompt. " * 30),
    "translate": replace(COLD, word_timestamps=False, task="translate", language="de"),
    "beam": replace(COLD, word_timestamps=False, beam_size=2, language="en"),
    "fallback": replace(EXACT, word_timestamps=False, language="en"),
    "silence": replace(EXACT, word_timestamps=False, language="en", no_speech_threshold=-1.0),
}


@pytest.mark.sliced("loops equal", 3)
@pytest.mark.parametrize("name", CASES)
def test_segments_equal(
    name: str, random_model: Model, random_whisper: Any, noise: npt.NDArray[np.int16], tmp_path: Path
) -> None:
    """With the same options (and the same seeds above temperature 0)."""
    mine = ours(random_model, noise, CASES[name], tmp_path / "0.jsonl")
    assert_equal(mine, theirs(random_whisper, noise, CASES[name]))
    assert mine.segments or name == "silence"


@pytest.mark.parametrize("count", [0, 100, 16_000])
def test_short_recordings_equal(count: int, random_model: Model, random_whisper: Any, tmp_path: Path) -> None:
    """Down to nothing at all."""
    samples = noise_of(count)
    options = CASES["no words"]
    assert_equal(ours(random_model, samples, options, tmp_path / "0.jsonl"), theirs(random_whisper, samples, options))
