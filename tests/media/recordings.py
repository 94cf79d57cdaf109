"""What tests of media share: ffmpeg, recordings made with it, and decoding them. The conftests import the fixtures."""

import os
import struct
import subprocess
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from btworker.engine.cooperate.result import result_of
from btworker.engine.sound.decoding import decode
from btworker.engine.sound.ffmpeg import Audio, Limits
from btworker.engine.sound.layout import Wanted
from btworker.ffmpeg import SAMPLE_RATE, find_ffmpeg

Make = Callable[..., Path]
Decoded = Callable[..., Audio]
WHOLE = Wanted()
SAMPLE = Path(__file__).resolve().parents[2] / "btworker" / "demo" / "sample.flac"


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
def decoded(tmp_path: Path) -> Decoded:
    """Decode a file to the end; the scratch file goes with the test's folder."""

    def run(source: Path, **options: Any) -> Audio:
        return decode_whole(source, tmp_path / "scratch" / "x.s16", **options)

    return run


def decode_whole(
    source: Path,
    target: Path,
    *,
    max_audio_s: float = 3600.0,
    canceled: Callable[[], bool] = lambda: False,
    wanted: Wanted = WHOLE,
) -> Audio:
    """Decode a file to the end, into `target`."""
    steps = decode(source, target, limits=Limits(max_audio_s), canceled=canceled, wanted=wanted)
    return result_of(steps)


def write_wav(path: Path, samples: npt.NDArray[np.int16]) -> Path:
    """A plain 16 kHz mono WAV."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(samples.tobytes())
    return path


def write_channels(path: Path, channels: npt.NDArray[np.int16], *, extensible: bool) -> Path:
    """A WAV of samples (count, channels) whose header names no speakers: the short form, or the long one, mask 0."""
    count = channels.shape[1]
    form = struct.pack("<HIIHH", count, SAMPLE_RATE, SAMPLE_RATE * count * 2, count * 2, 16)
    fmt = struct.pack("<H", 1) + form
    if extensible:
        pcm = bytes.fromhex("0100000000001000800000aa00389b71")
        fmt = struct.pack("<H", 0xFFFE) + form + struct.pack("<HHI", 22, 16, 0) + pcm
    data = channels.astype("<i2").tobytes()
    head = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", len(data))
    path.write_bytes(b"RIFF" + struct.pack("<I", len(head) + len(data)) + head + data)
    return path


def programs_using(path: Path, name: str = "") -> list[int]:
    """Processes with this file among their arguments; with `name`, those whose program's name has it."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
        except (OSError, NotADirectoryError):
            continue
        if any(one.endswith(b"file:" + os.fsencode(path)) for one in arguments) and name.encode() in arguments[0]:
            found.append(int(entry.name))
    return found
