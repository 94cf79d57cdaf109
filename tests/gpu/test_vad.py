"""On an NVIDIA GPU: strips side by side say what one strip on the CPU says. `make test-gpu` runs this."""

from pathlib import Path

import numpy as np
import pytest
import torch

from btworker.engine.sound.decoding import decode
from btworker.engine.sound.ffmpeg import Limits
from btworker.engine.vad.network import SpeechNetwork
from btworker.engine.vad.spans import spans_of
from tests.speech.conftest import noise_of

pytestmark = [pytest.mark.gpu, pytest.mark.speech, pytest.mark.timeout(300)]

SAMPLE = Path("btworker/demo/sample.flac")
TOLERANCE = 1e-3
"""cuDNN adds up in another order."""


def test_speech_is_found_as_on_the_cpu(tmp_path: Path) -> None:
    """In half an hour: more than one strip, and a stretch that is not full."""
    for _ in decode(SAMPLE, tmp_path / "sample.s16", limits=Limits(600.0), canceled=lambda: False):
        pass
    speech = np.fromfile(tmp_path / "sample.s16", np.int16)
    piece = np.concatenate([speech, noise_of(50_000) // 20, noise_of(30_000)])
    samples = np.tile(piece, -(-1800 * 16_000 // len(piece)))
    on_cpu, on_gpu = (SpeechNetwork(torch.device(name)).probabilities(samples) for name in ("cpu", "cuda"))
    assert float(np.abs(on_cpu - on_gpu).max()) <= TOLERANCE
    assert spans_of(on_cpu, len(samples)) == spans_of(on_gpu, len(samples))
