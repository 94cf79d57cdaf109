"""What the speech tests share: ffmpeg, recordings made with it, a random model, and an engine opened on one."""

import subprocess
import sys
import warnings
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyannote.audio.pipelines  # noqa: F401 - before the lazy modules are forgotten, below
import pytest
import torch
from whisper.tokenizer import get_tokenizer

from btworker.engine.asr.weights import Model, load_model
from btworker.engine.sound.ffmpeg import Audio, Limits, decode
from btworker.ffmpeg import SAMPLE_RATE, find_ffmpeg
from btworker.specs import EngineSettings
from tests.speech.oracle import whisper_model
from tests.speech.random_model import write_random_checkpoint

Make = Callable[..., Path]


def forget_lazy_modules() -> None:
    """speechbrain, which pyannote.audio 3.1 imports, puts modules into sys.modules that raise ImportError when anybody
    looks at them, and hypothesis looks at every module there is."""
    for name, module in list(sys.modules.items()):
        if any(kind.__name__ == "LazyModule" for kind in type(module).__mro__):
            del sys.modules[name]


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
        get_tokenizer(multilingual=False)


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve seconds of something that rises, falls and pauses as speech does: 16 kHz mono WAV."""
    times = np.arange(12 * SAMPLE_RATE) / SAMPLE_RATE
    loudness = np.clip(np.sin(2 * np.pi * 0.37 * times) + 0.3 * np.sin(2 * np.pi * 1.9 * times), 0, None)
    tone = np.sin(2 * np.pi * (300 + 200 * np.sin(times)) * times)
    path = tmp_path_factory.mktemp("original") / "original.wav"
    write_wav(path, (tone * loudness * 12_000).astype(np.int16))
    return path


@pytest.fixture(scope="session")
def ffmpeg() -> Path:
    """The ffmpeg that the engine uses."""
    found = find_ffmpeg()
    assert found is not None
    return found


@pytest.fixture
def make(ffmpeg: Path, tmp_path: Path) -> Make:
    """`make("talk.mp3", "-i", source, …)` runs ffmpeg and gives the path of what it wrote."""

    def run(name: str, *arguments: object) -> Path:
        target = tmp_path / name
        command = [str(ffmpeg), "-nostdin", "-v", "error", "-y", *map(str, arguments), str(target)]
        subprocess.run(command, check=True, timeout=110)
        return target

    return run


@pytest.fixture
def decoded(tmp_path: Path) -> Callable[..., Audio]:
    """Decode a file to the end; the scratch file goes with the test's folder."""

    def run(source: Path, *, max_audio_s: float = 3600.0) -> Audio:
        steps = decode(source, tmp_path / "scratch" / "x.s16", limits=Limits(max_audio_s), canceled=lambda: False)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                audio: Audio = end.value
                return audio

    return run


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


def write_wav(path: Path, samples: npt.NDArray[np.int16]) -> Path:
    """A plain 16 kHz mono WAV."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(samples.tobytes())
    return path


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
