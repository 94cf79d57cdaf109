"""R31: times are the recording's own, and samples are openai-whisper's wherever the recording has no gap."""

import os
import re
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from btworker.ffmpeg import SAMPLE_RATE
from tests.media.recordings import SAMPLE, Decoded, Make

pytestmark = [pytest.mark.speech, pytest.mark.timeout(120)]

PICTURES = ("-f", "lavfi", "-i", "testsrc=size=64x64:rate=10:duration")
FILMS = {
    "mkv": ["-c:v", "mpeg4", "-c:a", "aac"],
    "mp4": ["-c:v", "mpeg4", "-c:a", "aac"],
    "mov": ["-c:v", "mpeg4", "-c:a", "pcm_s16le"],
    "ts": ["-c:v", "mpeg2video", "-r", "25", "-c:a", "mp2"],
    "mpg": ["-c:v", "mpeg2video", "-r", "25", "-c:a", "mp2"],
    "flv": ["-c:v", "flv", "-c:a", "aac"],
    "webm": ["-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libopus"],
    "nut.mkv": ["-c:v", "mpeg4", "-c:a", "flac"],
    "wmv": ["-c:v", "wmv2", "-c:a", "wmav2"],
}
LOSSY = {
    "mkv": ["-c:a", "aac"],
    "mp4": ["-c:a", "aac"],
    "ts": ["-c:a", "aac"],
    "flv": ["-c:a", "aac"],
    "ogg": ["-c:a", "libopus"],
    "webm": ["-c:a", "libopus"],
    "mka": ["-c:a", "flac"],
    "flac": [],
    "wma": ["-c:a", "wmav2"],
}
PLAIN = {
    "wav": [], "mp3": [], "m4a": ["-c:a", "aac"], "flac": [], "ogg": ["-c:a", "libopus"], "oga": ["-c:a", "libvorbis"],
    "webm": ["-c:a", "libopus"], "mkv": ["-c:a", "aac", "-live", "1"], "aac": [], "ts": ["-c:a", "aac"],
    "mpg": ["-c:a", "mp2"], "flv": ["-c:a", "aac"], "wma": [], "avi": ["-c:a", "mp3"], "ac3": [], "aiff": [],
    "48k.wav": ["-ar", "48000", "-ac", "2", "-c:a", "pcm_f32le"], "stereo.m4a": ["-ar", "44100", "-ac", "2"],
    "5.1.ac3": ["-ar", "48000", "-ac", "6"], "7.1.flac": ["-ar", "48000", "-ac", "8"], "stereo.mp3": ["-ac", "2"],
}  # fmt: skip


def loudness(samples: npt.NDArray[np.int16]) -> npt.NDArray[np.float64]:
    """Root mean square of every 20 ms."""
    step = SAMPLE_RATE // 50
    whole = samples[: len(samples) // step * step].astype(np.float64).reshape(-1, step)
    return np.sqrt((whole**2).mean(axis=1))


def onset_s(samples: npt.NDArray[np.int16]) -> float:
    """Where the first sound begins."""
    return float(np.argmax(np.abs(samples.astype(np.int32)) > 500)) / SAMPLE_RATE


@pytest.fixture
def talk(make: Make) -> Path:
    """Twelve seconds of the sample, which begins with a word."""
    return make("talk.wav", "-i", SAMPLE, "-t", "12")


@pytest.fixture
def begins_s(talk: Path, decoded: Decoded) -> float:
    """Where its first word begins."""
    return onset_s(decoded(talk).samples)


@pytest.mark.sliced("late sound", 3)
@pytest.mark.parametrize("kind", FILMS)
@pytest.mark.parametrize("late_s", [0.5, 4.0])
def test_sound_that_begins_after_the_picture_is_as_late(
    kind: str, late_s: float, make: Make, decoded: Decoded, talk: Path, begins_s: float
) -> None:
    """Without a warning: that is how the film is."""
    film = make(
        f"film.{kind}", PICTURES[0], PICTURES[1], PICTURES[2], f"{PICTURES[3]}=17", "-itsoffset", late_s, "-i", talk,
        "-map", "0:v", "-map", "1:a", *FILMS[kind],
    )  # fmt: skip
    audio = decoded(film)
    assert onset_s(audio.samples) == pytest.approx(begins_s + late_s, abs=0.15)
    assert audio.duration_s == pytest.approx(12 + late_s, abs=0.25)
    assert audio.warnings == ()


def without(make: Make, source: Path, name: str, start_s: float, end_s: float) -> Path:
    """The file without its packets of that time."""
    drop = f"noise=drop=gt(pts*tb\\,{start_s})*lt(pts*tb\\,{end_s})"
    return make(name, "-i", source, "-c", "copy", "-bsf:a", drop)


@pytest.mark.sliced("lost packets", 2)
@pytest.mark.parametrize("kind", LOSSY)
def test_lost_packets_are_a_gap(kind: str, make: Make, decoded: Decoded) -> None:
    """Of their length; what follows is where it was, and the warning says where. Nothing is called cut off."""
    whole = make(f"whole.{kind}", "-i", SAMPLE, "-t", "20", *LOSSY[kind])
    gappy = without(make, whole, f"gap.{kind}", 8, 11)
    wanted = np.array(decoded(whole).samples)
    audio = decoded(gappy)
    found = np.array(audio.samples)
    assert len(found) == pytest.approx(len(wanted), abs=SAMPLE_RATE * 0.2)
    for start_s, end_s in ((1, 7), (12, 19)):
        some = slice(start_s * SAMPLE_RATE, end_s * SAMPLE_RATE)
        assert np.corrcoef(loudness(found[some]), loudness(wanted[some]))[0, 1] > 0.9
    assert not found[9 * SAMPLE_RATE : 10 * SAMPLE_RATE].any()
    (warning,) = [one for one in audio.warnings if "damaged" not in one]
    assert re.search(r"no sound: (2\.9|3\.\d) s from 8\.\d s on; the transcript's times are", warning)
    assert "cut off" not in warning


def test_a_long_gap_of_a_broadcast_is_a_gap(make: Make, decoded: Decoded) -> None:
    """ffmpeg itself closes one of more than ten seconds, as if another broadcast began."""
    whole = make("whole.ts", "-stream_loop", "-1", "-i", SAMPLE, "-t", "60", "-c:a", "aac")
    audio = decoded(without(make, whole, "gap.ts", 10, 40))
    assert audio.duration_s == pytest.approx(60, abs=0.3)
    assert "30.0 s from 10" in audio.warnings[0] or "29.9 s from 10" in audio.warnings[0]


@pytest.mark.parametrize("first_s", [95_000, 95_430, 95_438, 95_443.6, 190_880])
def test_a_clock_that_wraps_is_no_gap(first_s: float, make: Make, decoded: Decoded, begins_s: float) -> None:
    """Broadcasts count 26.5 hours; ffmpeg then has times below 0 for the beginning."""
    audio = decoded(make("talk.ts", "-i", SAMPLE, "-t", "9", "-c:a", "aac", "-output_ts_offset", first_s))
    assert onset_s(audio.samples) == pytest.approx(begins_s, abs=0.15)
    assert audio.duration_s == pytest.approx(9, abs=0.2)
    assert audio.warnings == ()


def test_recordings_one_behind_the_other_have_no_gap(make: Make, decoded: Decoded, tmp_path: Path) -> None:
    """A broadcast whose clock begins anew is decoded as a whole, and its later gaps are found."""
    first = make("first.ts", "-i", SAMPLE, "-t", "10", "-c:a", "aac")
    second = make("second.ts", "-i", SAMPLE, "-t", "25", "-c:a", "aac")
    gappy = without(make, second, "gap.ts", 18, 21)
    (tmp_path / "0").write_bytes(first.read_bytes() + second.read_bytes())
    audio = decoded(tmp_path / "0")
    assert audio.duration_s == pytest.approx(35, abs=0.3)
    assert audio.warnings == ()
    (tmp_path / "1").write_bytes(first.read_bytes() + gappy.read_bytes())
    audio = decoded(tmp_path / "1")
    assert audio.duration_s == pytest.approx(35, abs=0.3)
    assert " s from 28" in audio.warnings[0]


@pytest.mark.sliced("without gaps", 4)
@pytest.mark.parametrize("kind", PLAIN)
def test_a_recording_without_gaps_has_the_samples_of_load_audio(
    kind: str, make: Make, decoded: Decoded, ffmpeg: Path
) -> None:
    """Byte by byte, with openai-whisper's own command line; one channel or more."""
    path = make(f"plain.{kind}", "-i", SAMPLE, "-t", "15", *PLAIN[kind])
    audio = decoded(path)
    command = [ffmpeg, "-nostdin", "-threads", "0", "-i", path, "-f", "s16le", "-ac", "1", "-acodec", "pcm_s16le",
               "-ar", "16000", "-"]  # fmt: skip
    wanted = subprocess.run([*map(os.fspath, command)], capture_output=True, check=True).stdout
    assert bytes(audio.samples) == wanted
    assert audio.warnings == ()
