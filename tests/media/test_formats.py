"""R35: formats of dictation machines, cameras and television are accepted, and of several tracks the first that can be
decoded is transcribed; what is refused is refused with a sentence that is true."""

import re
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

from btworker.errors import BtworkerError, ErrorCode
from btworker.ffmpeg import DEMUXERS
from tests.media.recordings import SAMPLE, Decoded, Make

pytestmark = [pytest.mark.speech, pytest.mark.timeout(120)]

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "formats.md"
SECONDS = 5
TALK = ("-i", SAMPLE, "-t", SECONDS)
FILM = ("-f", "lavfi", "-i", f"testsrc=duration={SECONDS}:size=720x576:rate=25", *TALK)
KINDS = {
    "dv": [*FILM, "-target", "pal-dv"],
    "dv.avi": [*FILM, "-target", "pal-dv", "-f", "avi"],
    "wtv": [*TALK, "-c:a", "mp2"],
    "gxf": [*FILM, "-c:v", "mpeg2video", "-b:v", "5M", "-ar", "48000", "-ac", "1"],
    "mxf": [*FILM, "-c:v", "mpeg2video", "-ar", "48000"],
    "nut": [*TALK],
    "mlp": [*TALK, "-ar", "48000", "-ac", "2", "-strict", "-2"],
    "thd": [*TALK, "-ar", "48000", "-ac", "2", "-strict", "-2"],
    "sf": [*TALK, "-f", "ircam"],
    "swf": [*FILM, "-c:v", "flv", "-ar", "44100", "-c:a", "mp3"],
    "smjpeg": [*FILM, "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-f", "smjpeg"],
    "mmf": [*TALK, "-ar", "22050"],
    "spdif": [*TALK, "-ar", "48000", "-ac", "2", "-c:a", "ac3", "-f", "spdif"],
    "dts": [*TALK, "-ar", "48000", "-ac", "2", "-strict", "-2"],
    "rm": [*TALK, "-ar", "44100", "-c:a", "ac3"],
}
REFUSED = "the file is not a recording in a format that is accepted here (docs/formats.md has the list), or it is"
NAMING_OTHERS = {
    "applehttp", "avisynth", "concat", "dash", "hls", "image2", "imf", "lavfi", "mlv", "rtp", "rtsp", "sap", "sdp",
    "vapoursynth", "vobsub", "webm_dash_manifest",
}  # fmt: skip
"""Demuxers that open what a file names."""


@pytest.mark.parametrize("kind", KINDS)
def test_formats_of_machines_are_decoded(kind: str, make: Make, decoded: Decoded) -> None:
    """To their end, without a warning, whatever they are called."""
    path = make(f"a.{kind}", *KINDS[kind])
    audio = decoded(path.rename(path.with_name("0")))
    assert audio.duration_s == pytest.approx(SECONDS, abs=0.5)
    assert np.abs(audio.samples[: 2 * 16_000].astype(int)).max() > 1000
    assert audio.warnings == ()


def test_a_dictation_is_decoded(decoded: Decoded, tmp_path: Path) -> None:
    """A DSS, which ffmpeg cannot write: a header of two blocks, frames of any content after them."""
    header = bytearray(1024)
    header[:4] = b"\2dss"
    header[0x26:0x3E] = b"261128120000261128120005"
    block = struct.pack("<BBHH", 6, 0, 0, 0xFFFF) + bytes(range(256)) * 2
    (tmp_path / "0").write_bytes(header + block[:512] * 200)
    audio = decoded(tmp_path / "0")
    assert audio.duration_s > 10
    assert np.abs(audio.samples.astype(int)).max() > 0


def test_no_format_names_another_file() -> None:
    """Or an address: those that do are not accepted, and the list of those that are is documented."""
    assert not set(DEMUXERS) & NAMING_OTHERS
    assert len(set(DEMUXERS)) == len(DEMUXERS)
    documented = set(re.findall(r"`([a-z0-9_]+)`", DOCUMENT.read_text(encoding="utf-8")))
    assert set(DEMUXERS) <= documented


@pytest.mark.parametrize("name", ["alaw", "mulaw", "s16le"])
def test_samples_without_a_header_are_refused(name: str, make: Make, decoded: Decoded) -> None:
    """And never taken for another format: silence in A-law looks like GSM."""
    with pytest.raises(BtworkerError) as caught:
        decoded(make("0", "-i", SAMPLE, "-t", "20", "-ar", "8000", "-f", name))
    assert caught.value.code is ErrorCode.CORRUPT_AUDIO
    assert caught.value.message.startswith(REFUSED)


def test_the_first_track_that_can_be_decoded_is_taken(make: Make, decoded: Decoded) -> None:
    """Telephones put a track of Apple's APAC first, for which ffmpeg has no decoder."""
    path = make("two.mov", *TALK, "-i", SAMPLE, "-map", "0", "-map", "1", "-c:a", "aac", "-t", SECONDS)
    data = bytearray(path.read_bytes())
    first, second = (found.start() for found in re.finditer(b"trak", bytes(data)))
    for name, other in ((b"mp4a", b"apac"), (b"esds", b"xsds")):
        for found in re.finditer(name, bytes(data[first:second])):
            data[first + found.start() : first + found.start() + 4] = other
    path.write_bytes(data)
    audio = decoded(path)
    assert audio.duration_s == pytest.approx(SECONDS, abs=0.2)
    number = "the file has 2 audio tracks; number 2, the first that ffmpeg can decode, was transcribed"
    assert audio.warnings == (number,)


def test_tracks_that_cannot_be_decoded_are_no_damage(make: Make, decoded: Decoded) -> None:
    """Where none can be, the sentence is about the codec."""
    path = make("one.mov", *TALK, "-c:a", "aac")
    path.write_bytes(path.read_bytes().replace(b"mp4a", b"apac").replace(b"esds", b"xsds"))
    with pytest.raises(BtworkerError, match="in a codec that ffmpeg cannot decode"):
        decoded(path)


def test_a_shorter_first_track_is_still_the_first(make: Make, decoded: Decoded, ffmpeg: Path) -> None:
    """Only what cannot be decoded is passed over."""
    silence = ("-f", "lavfi", "-i", "anullsrc=r=16000:cl=mono:d=3")
    path = make("two.mka", *silence, *TALK, "-map", "0", "-map", "1", "-c:a", "flac")
    audio = decoded(path)
    assert audio.duration_s == pytest.approx(3, abs=0.1)
    assert audio.warnings == ("the file has 2 audio tracks; the first one was transcribed",)
    assert subprocess.run([ffmpeg, "-v", "error", "-i", path, "-f", "null", "-"], check=False).returncode == 0
