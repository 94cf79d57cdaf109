"""What players get of a recording: decoded again, its sound is where the transcript has it, and its peaks are the
sound's."""

import os
import struct
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from btworker.engine.sound import process
from btworker.engine.sound.ffmpeg import Audio
from btworker.engine.sound.layout import Wanted
from btworker.engine.sound.peaks import HEADER, SAMPLES_PER_PEAK, ZOOM
from btworker.engine.sound.recording import samples_of
from btworker.engine.sound.rendition import Encoding, NoRenditionError, blocks
from btworker.ffmpeg import SAMPLE_RATE
from btworker.renditions import RenditionFiles
from tests.media.recordings import SAMPLE, Decoded, Make, programs_using
from tests.slices import FULL, luck_of
from tests.waiting import until

pytestmark = pytest.mark.speech
Samples = npt.NDArray[np.int16]
NOT_OFF_BY_S = 0.01
"""An encoder's own delay is 64 ms: a player that heeds it is off by none of it."""
LONG_HOURS = 10 if FULL else 0.25
KILLS = 50 if FULL else 3
ENCODE = """
import sys
from pathlib import Path
from btworker.engine.sound.ffmpeg import Audio
from btworker.engine.sound.rendition import Encoding
from btworker.renditions import RenditionFiles
sound, count, folder = sys.argv[1:]
Encoding(RenditionFiles(Path(folder), 0), 32, canceled=lambda: False).run(Audio(Path(sound), int(count)))
"""
"""What a child does."""
AS_UPLOADED = {
    "8 kHz": ("talk.wav", "-i", SAMPLE, "-ar", "8000"),
    "96 kHz": ("talk.flac", "-i", SAMPLE, "-ar", "96000"),
    "late": (
        "film.mkv", "-f", "lavfi", "-i", "color=size=64x64:rate=5:duration=17", "-itsoffset", "4", "-i", SAMPLE,
        "-c:v", "mpeg4", "-c:a", "aac",
    ),
    "gapped": ("gap.mkv", "-i", SAMPLE, "-c:a", "libmp3lame", "-af", "asetpts='PTS+gte(T,6)*5/TB'"),
}  # fmt: skip


def rendered(audio: Audio, folder: Path, *, canceled: bool = False) -> RenditionFiles:
    """Both files of a sound."""
    folder.mkdir(exist_ok=True)
    files = RenditionFiles(folder / "renditions", 0)
    rendition = Encoding(files, 32, canceled=lambda: canceled).run(audio)
    assert rendition is None or [rendition.audio.size_bytes, rendition.peaks.size_bytes] == [
        path.stat().st_size for path in files.both
    ]
    return files


def played(ffmpeg: Path, path: Path) -> Samples:
    """What a player gives of a file."""
    command = [ffmpeg, "-v", "error", "-i", path, "-f", "s16le", "-ac", "1", "-ar", str(SAMPLE_RATE), "-"]
    return np.frombuffer(subprocess.run(command, check=True, capture_output=True).stdout, np.int16)


def off_by_s(sound: Samples, other: Samples, at: int) -> float:
    """By how much two seconds of one sound are elsewhere in another."""
    wanted = sound[at : at + 2 * SAMPLE_RATE].astype(np.float64)
    first = max(at - SAMPLE_RATE // 2, 0)
    around = other[first : at + 3 * SAMPLE_RATE].astype(np.float64)
    alike = np.fft.irfft(np.fft.rfft(around) * np.fft.rfft(wanted, len(around)).conj(), len(around))
    return (first + int(alike.argmax()) - at) / SAMPLE_RATE


def zooms_of(data: bytes) -> dict[int, Samples]:
    """Samples in a peak -> the pairs of a zoom; shape (count, 2)."""
    magic, version, count, rate, _, _ = HEADER.unpack_from(data)
    assert (magic, version, count, rate) == (b"BTPK", 1, 3, SAMPLE_RATE)
    tables = [ZOOM.unpack_from(data, HEADER.size + ZOOM.size * number) for number in range(count)]
    assert [samples for samples, _, _ in tables] == sorted(SAMPLES_PER_PEAK, reverse=True)
    assert len(data) == tables[-1][2] + 4 * tables[-1][1]
    return {samples: np.frombuffer(data, "<i2", 2 * peaks, offset).reshape(-1, 2) for samples, peaks, offset in tables}


@pytest.mark.parametrize("kind", AS_UPLOADED)
def test_the_sound_is_where_the_recording_has_it(
    kind: str, make: Make, decoded: Decoded, ffmpeg: Path, tmp_path: Path
) -> None:
    """Late, gapped, of any rate: what is played is as long as what was transcribed, and each word at its place."""
    audio = decoded(make(*AS_UPLOADED[kind]))
    sound = played(ffmpeg, rendered(audio, tmp_path).audio)
    assert 0 <= len(sound) - audio.sample_count < 1024
    places = range(0, audio.sample_count - 3 * SAMPLE_RATE, 2 * SAMPLE_RATE)
    spoken = [at for at in places if np.abs(audio.samples[at : at + 2 * SAMPLE_RATE]).mean() > 300]
    assert len(spoken) >= 3
    for at in spoken:
        assert abs(off_by_s(audio.samples, sound, at)) <= NOT_OFF_BY_S


def test_peaks_are_the_sounds(decoded: Decoded, tmp_path: Path) -> None:
    """At every zoom, to the sample; the last one is of what is left."""
    audio = decoded(SAMPLE)
    data = rendered(audio, tmp_path).peaks.read_bytes()
    assert struct.unpack_from("<Q", data, 16)[0] == audio.sample_count
    for samples, pairs in zooms_of(data).items():
        pieces = [audio.samples[at : at + samples] for at in range(0, audio.sample_count, samples)]
        assert pairs.tolist() == [[int(piece.min()), int(piece.max())] for piece in pieces]


def test_ranges_and_channels_are_on_the_recordings_clock(make: Make, decoded: Decoded, tmp_path: Path) -> None:
    """Silence where nothing is wanted; of several channels the mean of those with a sound of their own."""
    talk = make("talk.wav", "-i", SAMPLE, "-af", "pan=stereo|c0=c0|c1=0.5*c0", "-t", "20")
    whole = decoded(talk, wanted=Wanted(separate=True))
    assert [channel.same_as for channel in whole.channels] == [None, None]
    channels = [samples_of(one.path, whole.sample_count).astype(np.int32) for one in whole.channels]
    expected = (np.mean(channels, axis=0)).astype(np.int16)
    assert np.concatenate(list(blocks(whole))).tolist() == expected.tolist()
    of_first = replace(whole, channels=(replace(whole.channels[0]), replace(whole.channels[1], same_as=1)))
    assert np.concatenate(list(blocks(of_first))).tolist() == channels[0].tolist()
    ranges = decoded(talk, wanted=Wanted(ranges=((2.0, 4.0), (9.0, 10.0)), separate=True))
    expected[: 2 * SAMPLE_RATE] = 0
    expected[4 * SAMPLE_RATE : 9 * SAMPLE_RATE] = 0
    assert np.concatenate(list(blocks(ranges))).tolist() == expected[: 10 * SAMPLE_RATE].tolist()


@pytest.mark.timeout(600)
def test_hours_are_in_place_to_their_end(ffmpeg: Path, decoded: Decoded, tmp_path: Path) -> None:
    """Ten hours (here a slice): the last seconds are where they were, though the file has one silence before them."""
    talk = decoded(SAMPLE).samples
    at = round(LONG_HOURS * 3600) * SAMPLE_RATE
    path = tmp_path / "long.s16"
    with path.open("wb") as file:
        file.seek(2 * at)
        file.write(talk.tobytes())
    audio = Audio(path, at + len(talk))
    files = rendered(audio, tmp_path)
    end = played(ffmpeg, files.audio)
    assert abs(off_by_s(audio.samples, end, at + SAMPLE_RATE)) <= NOT_OFF_BY_S
    last = zooms_of(files.peaks.read_bytes())[SAMPLES_PER_PEAK[0]][at // SAMPLES_PER_PEAK[0] :]
    assert last[:, 1].max() == talk.max()


def test_a_failure_leaves_nothing(decoded: Decoded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Canceled, killed, without the end of its file (status 0 of ffmpeg 5.1), refused by the disk: no file is there,
    nor a half of one, and no ffmpeg is left."""
    audio = decoded(SAMPLE)
    assert not list(rendered(audio, tmp_path, canceled=True).folder.iterdir())
    fake = tmp_path / "bin" / "ffmpeg"
    fake.parent.mkdir()
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    for script in ("kill -9 $$", "cat >/dev/null; echo 'Error writing trailer: No space left on device' >&2"):
        fake.write_text(f"#!/bin/sh\n{script}\n")
        fake.chmod(0o755)
        with pytest.raises(NoRenditionError, match=r"ffmpeg did not encode it|ended early"):
            rendered(audio, tmp_path)
    fake.unlink()
    (tmp_path / "renditions").rmdir()
    (tmp_path / "renditions").touch()
    with pytest.raises(NoRenditionError):
        rendered(audio, tmp_path)


def test_a_kill_while_it_is_encoded_leaves_nothing_that_stays(decoded: Decoded, tmp_path: Path) -> None:
    """kill -9 of the child, after any number of bytes: ffmpeg ends with it, a file that is in place is whole, and the
    next attempt makes both over what was left."""
    talk, sound, luck = decoded(SAMPLE).samples, tmp_path / "sound.s16", luck_of("renditions")
    sound.write_bytes(talk.tobytes() * 4)
    audio = Audio(sound, 4 * len(talk))
    whole, files = rendered(audio, tmp_path / "whole"), RenditionFiles(tmp_path / "renditions", 0)
    expected = [path.read_bytes() for path in whole.both]
    for _ in range(KILLS):
        goal = luck.randrange(len(expected[0]))
        command = [sys.executable, "-c", ENCODE, str(sound), str(audio.sample_count), str(files.folder)]
        child = subprocess.Popen(command)
        until(partial(has_come_to, child, files.part, goal), "so many bytes are encoded")
        child.kill()
        child.wait()
        until(lambda: not programs_using(files.part), "its ffmpeg has ended")
        for path, data in zip(files.both, expected, strict=True):
            assert not path.exists() or path.read_bytes() == data
            path.unlink(missing_ok=True)
    rendered(audio, tmp_path)
    assert [path.read_bytes() for path in files.both] == expected
    assert set(files.folder.iterdir()) == set(files.both)


def has_come_to(child: "subprocess.Popen[bytes]", part: Path, size: int) -> bool:
    """Whether so much is encoded, or the child has ended."""
    with suppress(FileNotFoundError):
        return part.stat().st_size >= size or child.poll() is not None
    return child.poll() is not None


def test_the_encoder_writes_its_file_and_no_other(tmp_path: Path, ffmpeg: Path) -> None:
    """In the sandbox it may fill the one file that is there for it, up to its limit, and make no other."""
    if not process.runs_confined(str(ffmpeg)):
        pytest.skip("this ffmpeg cannot be confined")
    given, other = tmp_path / "given", tmp_path / "other"
    given.touch()
    for target, most_bytes, works in ((given, 2**20, True), (given, 4096, False), (other, 2**20, False)):
        command = [str(ffmpeg), "-y", "-v", "error", "-f", "s16le", "-ar", "16000", "-i", "pipe:0", "-f", "s16le"]
        program = process.start_writer([*command, f"file:{target}"], cpu_s=60, output=given, most_bytes=most_bytes)
        _, errors = program.communicate(bytes(100_000), timeout=60)
        assert (program.returncode == 0 and not errors) is works
    assert not other.exists()
