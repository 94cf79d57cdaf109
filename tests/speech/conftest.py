"""What the speech tests share: ffmpeg, recordings made with it, a random model, and an engine opened on one."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from whisper.tokenizer import get_tokenizer

from btworker.engine.asr.weights import Model, load_model
from btworker.ffmpeg import SAMPLE_RATE
from btworker.specs import EngineSettings
from tests.lazy_modules import forget_lazy_modules
from tests.media.recordings import Make, decoded, ffmpeg, make, original, write_wav  # noqa: F401 - fixtures
from tests.speech.oracle import whisper_model
from tests.speech.random_model import write_random_checkpoint

forget_lazy_modules()


@pytest.fixture(scope="session", autouse=True)
def _torch_and_whisper() -> None:
    """One thread: tiny models are no faster with more, and far slower on a busy machine.

    And whisper's vocabulary, which it reads once and without closing the file.
    """
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        get_tokenizer(multilingual=True)
        get_tokenizer(multilingual=True, num_languages=100)
        get_tokenizer(multilingual=False)


@pytest.fixture(scope="session")
def random_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of random weights whose windows end, with timestamps."""
    return write_random_checkpoint(tmp_path_factory.mktemp("random") / "random.pt")


@pytest.fixture(scope="session")
def random_model(random_checkpoint: Path) -> Model:
    """The same, loaded."""
    return load_model("random", engine_settings(random_checkpoint, Path("unused")), torch.device("cpu"))


@pytest.fixture(scope="session")
def random_whisper(random_checkpoint: Path) -> Any:
    """The same in openai-whisper's hands."""
    return whisper_model(random_checkpoint)


@pytest.fixture(scope="session")
def noise() -> npt.NDArray[np.int16]:
    """Fifty seconds of noise, and a bit: three windows and more for a random model."""
    return noise_of(50 * SAMPLE_RATE + 77)


def noise_of(count: int, *, seed: int = 0) -> npt.NDArray[np.int16]:
    """Samples that differ everywhere, with a loud moment in the middle."""
    sound = np.random.default_rng(seed).standard_normal(count) * 1500
    sound[count // 2 : count // 2 + 4000] *= 8
    return np.clip(sound, -32768, 32767).astype(np.int16)


def engine_settings(checkpoint: Path, folder: Path, **changes: object) -> EngineSettings:
    """Settings that serve one checkpoint as "random", and know "tiny" and "missing"."""
    values = {
        "default_model": "random",
        "models": (("random", checkpoint), ("tiny", None), ("missing", folder / "missing.pt")),
        "model_cache": folder / "cache",
        "scratch": folder / "scratch",
        "offline": True,
        "threads": 1,
    }
    return EngineSettings(**{**values, **changes})  # type: ignore[arg-type]
