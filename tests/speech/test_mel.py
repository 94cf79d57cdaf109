"""The spectrogram by windows equals openai-whisper's over the whole file."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
import whisper

from btworker.engine.asr import mel as mel_module
from btworker.engine.asr.mel import LogMel, find_peak
from btworker.engine.asr.spectrograms import Spectrograms
from btworker.engine.cooperate.result import result_of
from tests.speech.conftest import noise_of

pytestmark = pytest.mark.speech


def peak_of(samples: npt.NDArray[np.int16], n_mels: int) -> float:
    """The first pass over a recording, to its end."""
    return result_of(find_peak(samples, n_mels=n_mels))


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("count", [0, 1, 150, 16_000, 16_000 * 40 + 77, 16_000 * 65])
def test_every_window_equals_the_whole(count: int, n_mels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the mirrored beginning, in the middle, and in the silence after the end; the peak lies in a later chunk."""
    monkeypatch.setattr(mel_module, "CHUNK_FRAMES", 1001)
    samples = noise_of(count)
    whole = whisper.log_mel_spectrogram(samples.astype(np.float32) / 32768.0, n_mels, padding=480_000)
    mel = LogMel(samples, n_mels=n_mels, peak=peak_of(samples, n_mels))
    assert mel.content_frames == whole.shape[-1] - 3000
    for start in {0, min(1, mel.content_frames), mel.content_frames // 2, mel.content_frames}:
        difference = mel.frames(start, 3000) - whole[:, start : start + 3000]
        assert float(difference.abs().max()) <= 1e-5


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("peak", [None, 3.0])
def test_windows_that_are_computed_at_once_are_what_each_is_alone(n_mels: int, peak: float | None) -> None:
    """As the decoder does it on a GPU: whole windows and short ones, at the beginning and behind the end, loud ones
    beside silence; those that are there already stay as they are."""
    samples = np.concatenate([noise_of(16_000 * 40), np.zeros(16_000 * 3, np.int16), noise_of(16_000 * 3) // 50])
    mel = LogMel(samples, n_mels=n_mels, peak=peak)
    asked = [(0, 3000), (0, 1), (1500, 700), (3990, 310), (4010, 200), (4310, 300), (4600, 40)]
    wanted = [mel.stretch(start, count, size=3000) for start, count in asked]
    windows = [mel.later(start, count) for start, count in asked]
    found = Spectrograms(torch.device("cpu")).of([*windows[:3], wanted[0], *windows[3:]])
    assert found.pop(3) is wanted[0]
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == (n_mels, 3000)
        assert float((one - other).abs().max()) <= 1e-5


def test_silence_is_silence() -> None:
    """No logarithm of zero."""
    samples = np.zeros(16_000, dtype=np.int16)
    mel = LogMel(samples, n_mels=80, peak=peak_of(samples, 80))
    assert torch.isfinite(mel.frames(0, 3000)).all()


def test_the_first_pass_can_be_stopped(noise: npt.NDArray[np.int16]) -> None:
    """It is minutes long for the longest recordings: after each chunk."""
    first_pass = find_peak(noise, n_mels=80)
    first_pass.send(None)
    first_pass.close()
