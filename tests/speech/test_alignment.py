"""The parts of word alignment equal openai-whisper's; the whole is compared in test_equal_to_transcribe.py. And what
the attention shows beside the times of words.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from whisper import timing

from btworker.engine.asr.decoding.alignment import Alignment, Text, align, median_of_seven, words
from btworker.engine.asr.decoding.warping import keep_compiled
from btworker.engine.asr.timeline import WINDOW_FRAMES
from btworker.engine.asr.weights import Model, load_model
from btworker.engine.quality.coverage import unattended
from btworker.engine.sound.ffmpeg import Audio
from btworker.specs import EngineSettings
from tests.slices import FULL

pytestmark = pytest.mark.speech


@pytest.mark.parametrize("length", [1, 3, 4, 5, 7, 50, 1500])
def test_the_median_is_whispers(length: int) -> None:
    """With ties, at the ends, and where there is nothing to mirror."""
    generator = torch.Generator().manual_seed(length)
    for values in (torch.randn((3, 9, length), generator=generator), torch.randint(0, 4, (2, 5, length)).float()):
        assert torch.equal(median_of_seven(values), timing.median_filter(values, 7))


HELD_OUT = sorted(Path("tests/data/heldout").glob("*.opus"))[8 : 14 if FULL else 11]
"""Of up to 30 s, which the embedded model writes without an error."""
LEFT_OUT_S = 1.5
"""Seconds of words in a row that are left out."""


@pytest.fixture(scope="module")
def demo_model() -> Model:
    """The embedded one."""
    keep_compiled()
    models = (("demo", Path("btworker/demo/whisper-tiny-words.pt")),)
    settings = EngineSettings("demo", models, Path("unused"), Path("unused"), offline=True)
    return load_model("demo", settings, torch.device("cpu"))


def test_speech_that_a_text_leaves_out_gets_no_attention(demo_model: Model, decoded: Callable[..., Audio]) -> None:
    """Seven in ten of all places where words are left out are found, and none is found in whole texts."""
    noticed = []
    for path in HELD_OUT:
        recording = Aligner(demo_model, decoded(path).samples)
        text = json.loads(path.with_suffix(".json").read_text())["text"]
        whole = recording.tokenizer.encode(" " + text)
        assert recording.skipped(whole) == ()
        for first, last, start, end in recording.places(whole):
            found = recording.skipped([*whole[:first], *whole[last:]])
            noticed.append(any(low < end and high > start for low, high in found))
    print(f"\n{sum(noticed)} of {len(noticed)} places noticed")
    assert len(noticed) > 20
    assert sum(noticed) >= 0.7 * len(noticed)


class Aligner:
    """A recording of one window, and texts aligned with it."""

    def __init__(self, model: Model, samples: npt.NDArray[np.int16]) -> None:
        self._network = model.network
        self._frames = len(samples) // 160
        self._speech = [span.seconds for span in model.detector.speech(samples).voiced]
        self.tokenizer = model.tokens.tokenizer("en", "transcribe")
        mel = model.log_mel(samples).stretch(0, self._frames, size=WINDOW_FRAMES)
        with torch.inference_mode():
            self._sound = list(model.network.cross_keys_values(model.network.encode(mel[None])))

    def align(self, tokens: Sequence[int]) -> Alignment:
        """Align a text."""
        text = Text((*self.tokenizer.sot_sequence, self.tokenizer.no_timestamps), tuple(tokens), self._frames)
        (found,) = align(self._network, [text], self._sound, end=self.tokenizer.eot)
        return found

    def skipped(self, tokens: Sequence[int]) -> Sequence[tuple[float, float]]:
        """Find what a text leaves out."""
        return unattended(self._speech, self.align(tokens).attention, 0.0)

    def places(self, tokens: Sequence[int]) -> Iterator[tuple[int, int, float, float]]:
        """List words in a row that are long enough: their first token, the one after them, begin and end in seconds."""
        timed = words(self.align(tokens), self.tokenizer)
        borders = list(accumulate((len(word.tokens) for word in timed), initial=0))
        for first in range(1, len(timed) - 1, 1 if FULL else 2):
            for last in range(first + 1, len(timed)):
                start, end = timed[first].start, timed[last - 1].end
                if sum(max(0.0, min(high, end) - max(low, start)) for low, high in self._speech) >= LEFT_OUT_S:
                    yield borders[first], borders[last], start, end
                    break
