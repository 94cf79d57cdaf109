"""R34: recordings one behind the other in one file are all decoded, or what was not is counted in bytes."""

import struct
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from btworker.engine.sound import parts as sound_parts
from btworker.errors import BtworkerError, ErrorCode
from btworker.ffmpeg import SAMPLE_RATE
from tests.media.recordings import SAMPLE, Decoded

pytestmark = [pytest.mark.speech, pytest.mark.timeout(120), pytest.mark.sliced("joined recordings", 12)]

KINDS = {
    "wav": [],
    "rf64.wav": ["-rf64", "always"],
    "24-bit.wav": ["-c:a", "pcm_s24le"],
    "m4a": ["-c:a", "aac"],
    "faststart.m4a": ["-c:a", "aac", "-movflags", "+faststart"],
    "fragmented.mp4": ["-c:a", "aac", "-movflags", "frag_keyframe+empty_moov"],
    "mov": ["-c:a", "alac"],
    "3gp": ["-c:a", "aac"],
    "webm": ["-c:a", "libopus"],
    "mkv": ["-c:a", "aac"],
    "live.mkv": ["-c:a", "aac", "-live", "1"],
    "flac": [],
    "ogg": ["-c:a", "libopus"],
    "oga": ["-c:a", "libvorbis"],
    "flac.ogg": ["-c:a", "flac"],
    "mp3": ["-metadata", "title=one"],
    "bare.mp3": ["-write_xing", "0", "-id3v2_version", "0"],
    "tagged.mp3": ["-write_id3v1", "1", "-metadata", "title=one"],
    "aac": [],
    "ac3": [],
    "amr": ["-ar", "8000", "-c:a", "libopencore_amrnb"],
    "aiff": [],
    "au": [],
    "caf": ["-c:a", "pcm_s16be"],
    "w64": [],
    "avi": ["-c:a", "mp3"],
    "wma": [],
    "flv": ["-c:a", "aac"],
    "ts": ["-c:a", "aac"],
    "mpg": ["-c:a", "mp2"],
    "wv": [],
    "tta": [],
    "voc": [],
}
STREAMED = {
    "wav": [], "webm": ["-c:a", "libopus"], "matroska": ["-c:a", "flac"], "au": [], "ogg": ["-c:a", "libopus"],
    "asf": [], "flv": ["-c:a", "aac"], "flac": [], "mp3": [], "tta": [],
    "mov": ["-c:a", "aac", "-movflags", "frag_keyframe+empty_moov"], "mpegts": ["-c:a", "mp2"],
}  # fmt: skip
OTHER_FORM = {
    "wav": ["-ar", "44100", "-ac", "2", "-c:a", "pcm_f32le"],
    "m4a": ["-ar", "44100", "-ac", "2", "-c:a", "aac"],
    "mov": ["-ar", "44100", "-ac", "2", "-c:a", "pcm_s16le"],
    "webm": ["-ac", "2", "-c:a", "libvorbis", "-ar", "44100"],
    "mkv": ["-ar", "44100", "-ac", "2", "-c:a", "flac"],
    "flac": ["-ar", "44100", "-ac", "2"],
    "ogg": ["-ar", "44100", "-ac", "2", "-c:a", "libvorbis"],
    "mp3": ["-ar", "44100", "-ac", "2"],
    "aac": ["-ar", "44100", "-ac", "2"],
    "aiff": ["-ar", "44100", "-ac", "2"],
    "wma": ["-ar", "44100", "-ac", "2"],
    "wv": ["-ar", "44100", "-ac", "2"],
}
"""As somebody's other recorder makes them."""
MIXED = [
    ("m4a", "wav"), ("wav", "mp3"), ("wav", "aac"), ("mkv", "flac"), ("aiff", "m4a"), ("mp3", "wav"), ("mp3", "m4a"),
    ("aac", "webm"), ("flac", "mp3"), ("ogg", "wav"), ("ogg", "mp3"), ("live.mkv", "flac"), ("tta", "m4a"),
]  # fmt: skip
SECONDS = (9, 6)


def run(ffmpeg: Path, *arguments: object) -> bytes:
    """What ffmpeg writes to standard output."""
    command = [str(ffmpeg), "-nostdin", "-v", "error", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=True, timeout=100).stdout


def recorded(ffmpeg: Path, folder: Path, number: int, kind: str, options: list[str]) -> bytes:
    """The first or the second recording of a kind; they say different things."""
    path = folder / f"{number}.{kind}"
    source = ("-ss", number * 20, "-i", SAMPLE, "-t", SECONDS[number])
    try:
        run(ffmpeg, *source, *options, path)
    except subprocess.CalledProcessError as error:
        if b"Unknown encoder" in error.stderr:
            pytest.skip(f"this ffmpeg cannot write {kind}")
        raise
    return path.read_bytes()


def loudness(samples: npt.NDArray[np.int16]) -> npt.NDArray[np.float64]:
    """Root mean square of every 20 ms."""
    step = SAMPLE_RATE // 50
    whole = samples[: len(samples) // step * step].astype(np.float64).reshape(-1, step)
    return np.sqrt((whole**2).mean(axis=1))


def likeness(found: npt.NDArray[np.int16], wanted: npt.NDArray[np.int16]) -> float:
    """Whether it is the same sound, at most 0.1 s earlier or later."""
    curves = loudness(found), loudness(wanted)
    count = min(map(len, curves))
    pairs = [(curves[0][shift:count], curves[1][: count - shift]) for shift in range(6)]
    pairs += [(curves[0][: count - shift], curves[1][shift:count]) for shift in range(1, 6)]
    return max(float(np.corrcoef(*pair)[0, 1]) for pair in pairs)


def assert_all(decoded: Decoded, folder: Path, files: list[bytes]) -> None:
    """Each recording is there as it is in a file of its own, in order, and nobody is warned."""
    wanted = []
    for content in files:
        (folder / "alone").write_bytes(content)
        wanted.append(np.array(decoded(folder / "alone").samples))
    (folder / "0").write_bytes(b"".join(files))
    audio = decoded(folder / "0")
    samples = np.array(audio.samples)
    assert len(samples) == pytest.approx(sum(map(len, wanted)), abs=0.15 * SAMPLE_RATE)
    assert likeness(samples[: len(wanted[0])], wanted[0]) > 0.95
    assert likeness(samples[-len(wanted[-1]) :], wanted[-1]) > 0.95
    assert audio.warnings == ()


@pytest.mark.parametrize("kind", KINDS)
def test_both_recordings_are_decoded(kind: str, ffmpeg: Path, decoded: Decoded, tmp_path: Path) -> None:
    """Of the same form."""
    files = [recorded(ffmpeg, tmp_path, number, kind, KINDS[kind]) for number in (0, 1)]
    assert_all(decoded, tmp_path, files)


@pytest.mark.parametrize("kind", STREAMED)
def test_both_are_decoded_where_they_were_streamed(kind: str, ffmpeg: Path, decoded: Decoded, tmp_path: Path) -> None:
    """As a browser does it: without a size in their headers."""
    sources = [("-ss", number * 20, "-i", SAMPLE, "-t", SECONDS[number]) for number in (0, 1)]
    files = [run(ffmpeg, *source, *STREAMED[kind], "-f", kind, "-") for source in sources]
    assert_all(decoded, tmp_path, files)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["first", "last"])
@pytest.mark.parametrize("kind", OTHER_FORM)
def test_recordings_of_another_form_are_decoded(
    kind: str, order: tuple[int, int], ffmpeg: Path, decoded: Decoded, tmp_path: Path
) -> None:
    """Another rate, more channels, another codec."""
    options = [KINDS[kind], OTHER_FORM[kind]]
    files = [recorded(ffmpeg, tmp_path, number, kind, options[order[number]]) for number in (0, 1)]
    assert_all(decoded, tmp_path, files)


@pytest.mark.parametrize(("first", "second"), MIXED)
def test_recordings_of_two_kinds_are_decoded(
    first: str, second: str, ffmpeg: Path, decoded: Decoded, tmp_path: Path
) -> None:
    """In one file, whether the first has its length or not."""
    files = [recorded(ffmpeg, tmp_path, number, kind, KINDS[kind]) for number, kind in enumerate((first, second))]
    assert_all(decoded, tmp_path, files)


def test_many_of_them(ffmpeg: Path, decoded: Decoded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve; and what is behind the last that gets an ffmpeg of its own is decoded with that."""
    one = recorded(ffmpeg, tmp_path, 1, "flac", [])
    (tmp_path / "0").write_bytes(one * 12)
    assert decoded(tmp_path / "0").duration_s == pytest.approx(12 * SECONDS[1], abs=0.1)
    monkeypatch.setattr(sound_parts, "MOST_PARTS", 3)
    assert decoded(tmp_path / "0").duration_s == pytest.approx(12 * SECONDS[1], abs=0.1)


@pytest.mark.parametrize("kind", ["wav", "m4a", "webm", "ogg"])
def test_a_second_that_cannot_be_decoded_is_counted_in_bytes(
    kind: str, ffmpeg: Path, decoded: Decoded, tmp_path: Path
) -> None:
    """The first is transcribed."""
    first, second = (recorded(ffmpeg, tmp_path, number, kind, KINDS[kind]) for number in (0, 1))
    broken = second[:40] + bytes(len(second) - 40)
    if kind == "wav":
        broken = second[:20] + b"\xff" * (len(second) - 20)
    (tmp_path / "0").write_bytes(first + broken)
    audio = decoded(tmp_path / "0")
    assert audio.duration_s == pytest.approx(SECONDS[0], abs=0.1)
    assert audio.warnings[0].startswith(f"{len(broken):,} bytes of the file, from byte {len(first):,} on")


def test_a_first_that_cannot_be_decoded_is_counted_as_well(ffmpeg: Path, decoded: Decoded, tmp_path: Path) -> None:
    """The second is transcribed. Where neither can be, the job has the first one's error."""
    second = recorded(ffmpeg, tmp_path, 1, "flac", [])
    broken = second[:42] + bytes(50_000)
    (tmp_path / "0").write_bytes(broken + second)
    audio = decoded(tmp_path / "0")
    assert audio.duration_s == pytest.approx(SECONDS[1], abs=0.1)
    assert audio.warnings[0].startswith("50,042 bytes of the file, from byte 0 on, were not transcribed: ")
    (tmp_path / "1").write_bytes(broken + broken)
    with pytest.raises(BtworkerError) as caught:
        decoded(tmp_path / "1")
    assert caught.value.code is ErrorCode.CORRUPT_AUDIO


def test_a_first_that_was_cut_off_is_called_so(ffmpeg: Path, decoded: Decoded, tmp_path: Path) -> None:
    """A recorder that was stopped hard, and began anew in the same file."""
    first, second = (recorded(ffmpeg, tmp_path, number, "wav", []) for number in (0, 1))
    (tmp_path / "0").write_bytes(first[:-32_000] + second)
    audio = decoded(tmp_path / "0")
    assert audio.duration_s == pytest.approx(sum(SECONDS) - 1, abs=0.05)
    assert "cut off" in audio.warnings[0]


@pytest.mark.parametrize(
    "rest", [b"LIST" + struct.pack("<I", 4) + b"INFO", bytes(20_000), bytes(500_000), b"TAG" + bytes(125)]
)
@pytest.mark.parametrize("kind", ["wav", "m4a", "mkv", "aiff"])
def test_tags_and_padding_are_no_recording(
    kind: str, rest: bytes, ffmpeg: Path, decoded: Decoded, tmp_path: Path
) -> None:
    """There is no sound of them, and no warning."""
    (tmp_path / "0").write_bytes(recorded(ffmpeg, tmp_path, 0, kind, KINDS[kind]) + rest)
    audio = decoded(tmp_path / "0")
    assert audio.duration_s == pytest.approx(SECONDS[0], abs=0.1)
    assert audio.warnings == ()


def test_gaps_are_placed_by_the_time_of_the_whole(ffmpeg: Path, decoded: Decoded, tmp_path: Path) -> None:
    """In a second recording they are later by the length of the first."""
    first, second = (recorded(ffmpeg, tmp_path, number, "mkv", KINDS["mkv"]) for number in (0, 1))
    assert first
    assert second
    run(ffmpeg, "-i", tmp_path / "1.mkv", "-c", "copy", "-bsf:a", "noise=drop=gt(pts*tb\\,2)*lt(pts*tb\\,4)",
        tmp_path / "gap.mkv")  # fmt: skip
    (tmp_path / "0").write_bytes(first + (tmp_path / "gap.mkv").read_bytes())
    audio = decoded(tmp_path / "0")
    assert audio.duration_s == pytest.approx(sum(SECONDS), abs=0.3)
    assert " s from 11." in audio.warnings[0]
