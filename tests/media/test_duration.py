"""R32: what is held against the decoded sound is its own promise: a film may be longer, and a join promises nothing."""

import os
from pathlib import Path

import pytest

from tests.media.recordings import SAMPLE, Decoded, Make

pytestmark = [pytest.mark.speech, pytest.mark.timeout(120)]

FILMS = {
    "mp4": ["-c:v", "mpeg4", "-c:a", "aac", "-movflags", "+faststart"],
    "mov": ["-c:v", "mpeg4", "-c:a", "aac", "-movflags", "+faststart"],
    "mkv": ["-c:v", "mpeg4", "-c:a", "aac"],
    "flv": ["-c:v", "flv", "-c:a", "aac"],
    "avi": ["-c:v", "mpeg4", "-c:a", "mp3"],
    "wmv": ["-c:v", "wmv2", "-c:a", "wmav2"],
    "mpg": ["-c:v", "mpeg2video", "-r", "25", "-c:a", "mp2"],
    "ts": ["-c:v", "mpeg2video", "-r", "25", "-c:a", "mp2"],
}


@pytest.fixture
def talk(make: Make) -> Path:
    """Ten seconds of speech."""
    return make("talk.wav", "-i", SAMPLE, "-t", "10")


def film(make: Make, kind: str, talk: Path) -> Path:
    """Forty seconds of pictures, and the talk from their beginning."""
    pictures = ("-f", "lavfi", "-i", "testsrc=duration=40:size=64x64:rate=5")
    return make(f"film.{kind}", *pictures, "-i", talk, "-map", "0:v", "-map", "1:a", *FILMS[kind])


@pytest.mark.parametrize("kind", FILMS)
def test_a_film_longer_than_its_sound_is_whole(kind: str, make: Make, talk: Path, decoded: Decoded) -> None:
    """There is no warning."""
    audio = decoded(film(make, kind, talk))
    assert audio.duration_s == pytest.approx(10, abs=0.3)
    assert audio.warnings == ()


@pytest.mark.parametrize("kind", ["mp4", "mov", "mkv", "flv"])
def test_a_film_that_was_cut_off_is_called_so(kind: str, make: Make, talk: Path, decoded: Decoded) -> None:
    """Wherever its sound ended: nobody knows that any more."""
    path = film(make, kind, talk)
    os.truncate(path, path.stat().st_size // 2)
    audio = decoded(path)
    assert "cut off" in audio.warnings[0]
    assert "promises 40 s" in audio.warnings[0]


def test_a_track_shorter_than_another_is_whole(make: Make, talk: Path, decoded: Decoded) -> None:
    """A dubbed trailer, say: only that there are two tracks is worth a word."""
    long = ("-f", "lavfi", "-i", "sine=500:duration=40")
    audio = decoded(make("two.m4a", "-i", talk, *long, "-map", "0", "-map", "1", "-c:a", "aac"))
    assert audio.duration_s == pytest.approx(10, abs=0.2)
    assert audio.warnings == ("the file has 2 audio tracks; the first one was transcribed",)


def test_a_cover_is_no_film(make: Make, talk: Path, decoded: Decoded) -> None:
    """A recording with a picture in it is still held to what it promises."""
    cover = make("cover.png", "-f", "lavfi", "-i", "testsrc=size=64x64:duration=1:rate=1")
    options = ("-map", "0", "-map", "1", "-c:a", "aac", "-c:v", "copy", "-disposition:v", "attached_pic")
    path = make("cover.m4a", "-i", talk, "-i", cover, *options, "-movflags", "+faststart")
    assert decoded(path).warnings == ()
    os.truncate(path, path.stat().st_size * 2 // 3)
    assert "cut off" in decoded(path).warnings[0]


@pytest.mark.parametrize("kind", ["mp3", "ts", "aac", "ac3", "mpg"])
def test_a_join_is_no_loss(kind: str, make: Make, talk: Path, decoded: Decoded, tmp_path: Path) -> None:
    """The header of the first of two promises less than there is, and a guess from both promises nothing."""
    codec = {"ts": ["-c:a", "aac"], "mpg": ["-c:a", "mp2"]}.get(kind, [])
    one = make(f"one.{kind}", "-i", talk, *codec).read_bytes()
    other = make(f"other.{kind}", "-i", SAMPLE, "-ss", "20", "-t", "5", *codec).read_bytes()
    (tmp_path / "0").write_bytes(one + other)
    audio = decoded(tmp_path / "0")
    assert audio.duration_s == pytest.approx(15, abs=0.3)
    assert not [warning for warning in audio.warnings if "cut off" in warning]
