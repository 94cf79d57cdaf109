"""Reads and writes audio through ffmpeg: 16 kHz, mono."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
OPUS = ("-c:a", "libopus", "-b:a", "24k", "-application", "voip")


def ffmpeg() -> str:
    """The ffmpeg of the system, else the one that imageio-ffmpeg carries."""
    found = shutil.which("ffmpeg")
    if found:
        return found
    import imageio_ffmpeg

    return str(imageio_ffmpeg.get_ffmpeg_exe())


def write_audio(path: Path, samples: NDArray[np.float32], *, codec: Sequence[str]) -> None:
    """Encode 16 kHz mono samples; the container follows from the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pcm = np.clip(samples * 32767, -32768, 32767).astype("<i2").tobytes()
    source = ["-f", "s16le", "-ar", str(SAMPLE_RATE), "-ac", "1", "-i", "pipe:0"]
    bare = ["-map_metadata", "-1", "-fflags", "+bitexact", "-flags:a", "+bitexact"]
    command = [ffmpeg(), "-nostdin", "-v", "error", "-y", *source, *bare, *codec, str(path)]
    subprocess.run(command, input=pcm, check=True)


def read_audio(path: Path) -> NDArray[np.float32]:
    """Decode anything to 16 kHz mono, by way of 16-bit samples."""
    command = [ffmpeg(), "-nostdin", "-v", "error", "-i", str(path), "-f", "s16le", "-ac", "1"]
    pcm = subprocess.run([*command, "-ar", str(SAMPLE_RATE), "pipe:1"], stdout=subprocess.PIPE, check=True).stdout
    return np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768)
