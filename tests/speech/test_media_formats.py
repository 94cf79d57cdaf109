"""Every format that people upload becomes the same 16 kHz mono sound."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from btworker.engine.sound.ffmpeg import Audio
from btworker.ffmpeg import SAMPLE_RATE
from tests.speech.conftest import Make

pytestmark = pytest.mark.speech

FORMATS = {
    "plain.wav": [],
    "24-bit.wav": ["-c:a", "pcm_s24le"],
    "float.wav": ["-c:a", "pcm_f32le"],
    "rf64.wav": ["-rf64", "always"],
    "talk.mp3": [],
    "moov-last.m4a": ["-c:a", "aac"],
    "moov-first.m4a": ["-c:a", "aac", "-movflags", "+faststart"],
    "fragmented.mp4": ["-c:a", "aac", "-movflags", "frag_keyframe+empty_moov"],
    "moov-last.mov": ["-c:a", "aac"],
    "adts.aac": [],
    "talk.flac": [],
    "opus.ogg": ["-c:a", "libopus"],
    "vorbis.ogg": ["-c:a", "libvorbis"],
    "opus.webm": ["-c:a", "libopus"],
    "talk.mkv": ["-c:a", "flac"],
    "8khz.wav": ["-ar", "8000"],
    "48khz-stereo.wav": ["-ar", "48000", "-ac", "2"],
    "talk.aiff": [],
    "talk.caf": [],
    "talk.au": [],
    "talk.ac3": [],
    "talk.w64": [],
    "talk.wma": [],
    "talk.avi": ["-c:a", "mp3"],
    "talk.ts": ["-c:a", "aac"],
    "talk.mpg": ["-c:a", "mp2"],
}


def loudness(samples: npt.NDArray[np.int16]) -> npt.NDArray[np.float64]:
    """Root mean square of every 100 ms."""
    step = SAMPLE_RATE // 10
    whole = samples[: len(samples) // step * step].astype(np.float64).reshape(-1, step)
    return np.sqrt((whole**2).mean(axis=1))


def assert_same_sound(audio: Audio, original: Path) -> None:
    """The loudness follows the original's, give or take a codec's delay."""
    wanted = loudness(np.frombuffer(original.read_bytes()[44:], dtype="<i2"))
    heard = loudness(audio.samples)
    assert abs(audio.duration_s - len(wanted) / 10) < 0.35
    count = min(len(wanted), len(heard))
    assert np.corrcoef(wanted[:count], heard[:count])[0, 1] > 0.93


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_decoded(name: str, original: Path, make: Make, decoded: Callable[..., Audio]) -> None:
    """Its name says nothing: inputs are stored under a number."""
    nameless = make(name, "-i", original, *FORMATS[name]).rename(original.parent / "0")
    audio = decoded(nameless)
    assert_same_sound(audio, original)
    assert audio.warnings == ()


def test_samples_are_those_that_whisper_decodes(original: Path, decoded: Callable[..., Audio]) -> None:
    """A 16 kHz mono WAV comes out bit by bit, read-only and memory-mapped."""
    samples = decoded(original).samples
    assert isinstance(samples, np.memmap)
    assert not samples.flags.writeable
    np.testing.assert_array_equal(samples, np.frombuffer(original.read_bytes()[44:], dtype="<i2"))


def test_the_sound_of_a_video(original: Path, make: Make, decoded: Callable[..., Audio]) -> None:
    """Pictures are left out."""
    picture = ("-f", "lavfi", "-i", "testsrc=duration=12:size=64x64:rate=5")
    assert_same_sound(decoded(make("film.mp4", *picture, "-i", original, "-c:a", "aac")), original)


def test_of_two_audio_tracks_the_first_is_taken(original: Path, make: Make, decoded: Callable[..., Audio]) -> None:
    """With a warning. The second one is stereo, which ffmpeg would prefer if it were asked."""
    other = ("-f", "lavfi", "-i", "sine=1000:duration=12")
    path = make("two.m4a", "-i", original, *other, "-map", "0", "-map", "1", "-c:a", "aac", "-ac:a:1", "2")
    audio = decoded(path)
    assert_same_sound(audio, original)
    assert audio.warnings == ("the file has 2 audio tracks; the first one was transcribed",)


@pytest.mark.parametrize("claimed", [0, 1000, 2**32 - 1, 2**32 - 2], ids=["zero", "wrapped", "unset", "too large"])
def test_a_wav_whose_size_lies_is_read_to_its_end(
    claimed: int, original: Path, tmp_path: Path, decoded: Callable[..., Audio]
) -> None:
    """Recorders that are stopped hard, and recordings past 4 GiB, leave a wrong number in the header."""
    data = bytearray(original.read_bytes())
    data[40:44] = struct.pack("<I", claimed)
    path = tmp_path / "0"
    path.write_bytes(data)
    assert_same_sound(decoded(path), original)


def test_chunks_after_the_sound_are_no_sound(original: Path, tmp_path: Path, decoded: Callable[..., Audio]) -> None:
    """A right size is believed: what follows it is tags, not noise."""
    path = tmp_path / "0"
    path.write_bytes(original.read_bytes() + b"LIST" + struct.pack("<I", 1000) + b"\x7f" * 1000)
    assert len(decoded(path).samples) == 12 * SAMPLE_RATE


@pytest.mark.full
@pytest.mark.timeout(600)
def test_a_header_that_wrapped_past_4_gib(tmp_path: Path, decoded: Callable[..., Audio]) -> None:
    """A real file of that size, full of noise: everything is heard, up to the tone at its very end.

    Not a sparse one: ffmpeg looks for chunks behind the wrapped size, and zeros are 500 million empty ones.
    """
    rate, frame_bytes = SAMPLE_RATE, 32  # eight channels of 32 bits: many bytes, and nothing to resample
    size = 2**32 + 5 * rate * frame_bytes
    header = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", (size + 36) % 2**32, b"WAVE", b"fmt ", 16, 1, 8, rate,
                         rate * frame_bytes, frame_bytes, 32, b"data", size % 2**32)  # fmt: skip
    path = tmp_path / "0"
    with path.open("wb") as file:
        file.write(header)
        noise = np.random.default_rng(0).bytes(2**24)
        for _ in range(2**8):
            file.write(noise)
        file.truncate(44 + size - 10_000 * frame_bytes)
        file.seek(0, 2)
        file.write(np.full(80_000, 2**30, dtype="<i4").tobytes())
    audio = decoded(path, max_audio_s=10_000)
    assert audio.duration_s == pytest.approx(size / (rate * frame_bytes), abs=0.05)
    assert abs(audio.samples[-400:-100].astype(int)).max() > 1000
