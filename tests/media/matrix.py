"""The recordings of the matrix: 30 containers and codecs, each made five ways by the ffmpeg at hand."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from tests.media.recordings import SAMPLE

SECONDS = 12
LATE_S = 3
GAP = (5.0, 7.0)
MORE_SECONDS = 6
CUT = 0.6
"""Fraction of the bytes that is left of a recording whose tail is cut."""


class Cut(Enum):
    """What becomes of a file whose tail is cut."""

    NOTICED = "its header promises more, or its end is marked"
    UNKNOWN = "it has neither: nobody can know"
    REFUSED = "its index was at the end"


@dataclass(frozen=True)
class Kind:
    """A container with a codec."""

    suffix: str
    sound: Sequence[str]
    """Options of ffmpeg for the sound."""
    pictures: Sequence[str] = ()
    """Options of ffmpeg for pictures; without any, it has none."""
    has_times: bool = True
    """Whether packets have times, so that a gap and a late beginning are known."""
    cut: Cut = Cut.NOTICED
    """What becomes of a file whose tail is cut."""

    @property
    def late_s(self) -> float:
        """Seconds by which sound is late that begins LATE_S after the pictures; alone, it begins at 0."""
        return LATE_S if self.pictures and self.has_times else 0.0


VP8 = ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8")
MPEG4, MPEG2 = ("-c:v", "mpeg4"), ("-c:v", "mpeg2video", "-r", "25")
KINDS = {
    "wav": Kind("wav", (), has_times=False),
    "wav float": Kind("wav", ("-c:a", "pcm_f32le", "-ar", "48000", "-ac", "2"), has_times=False),
    "aiff": Kind("aiff", (), has_times=False),
    "au": Kind("au", (), has_times=False),
    "caf": Kind("caf", ("-c:a", "pcm_s16be"), has_times=False),
    "w64": Kind("w64", (), has_times=False),
    "flac": Kind("flac", (), has_times=False),
    "wavpack": Kind("wv", ("-frame_size", "1600"), has_times=False),
    "tta": Kind("tta", (), has_times=False),
    "mp3": Kind("mp3", ("-ar", "44100"), has_times=False),
    "mp3 bare": Kind(
        "mp3", ("-ar", "44100", "-write_xing", "0", "-id3v2_version", "0"), has_times=False, cut=Cut.UNKNOWN
    ),
    "aac": Kind("aac", (), has_times=False, cut=Cut.UNKNOWN),
    "ac3": Kind("ac3", (), has_times=False, cut=Cut.UNKNOWN),
    "opus": Kind("ogg", ("-c:a", "libopus")),
    "vorbis": Kind("ogg", ("-c:a", "libvorbis", "-ar", "44100")),
    "m4a": Kind("m4a", ("-c:a", "aac"), cut=Cut.REFUSED),
    "m4a faststart": Kind("m4a", ("-c:a", "aac", "-movflags", "+faststart")),
    "alac": Kind("m4a", ("-c:a", "alac"), cut=Cut.REFUSED),
    "mka": Kind("mka", ("-c:a", "flac")),
    "wma": Kind("wma", ("-c:a", "wmav2")),
    "mp4": Kind("mp4", ("-c:a", "aac", "-movflags", "+faststart"), MPEG4),
    "mp4 fragments": Kind("mp4", ("-c:a", "aac", "-movflags", "frag_keyframe+empty_moov"), (*MPEG4, "-g", "10")),
    "mov": Kind("mov", ("-c:a", "alac"), MPEG4, cut=Cut.REFUSED),
    "mkv": Kind("mkv", ("-c:a", "aac"), MPEG4),
    "webm": Kind("webm", ("-c:a", "libopus"), VP8),
    "avi": Kind("avi", ("-c:a", "mp3"), MPEG4, has_times=False),
    "flv": Kind("flv", ("-c:a", "aac"), ("-c:v", "flv")),
    "ts": Kind("ts", ("-c:a", "aac"), MPEG2, cut=Cut.UNKNOWN),
    "mpg": Kind("mpg", ("-c:a", "mp2"), MPEG2, cut=Cut.UNKNOWN),
    "wmv": Kind("wmv", ("-c:a", "wmav2"), ("-c:v", "wmv2")),
}


class Maker:
    """Makes the recordings of a kind in a folder."""

    def __init__(self, ffmpeg: Path, folder: Path, kind: Kind) -> None:
        self._ffmpeg = ffmpeg
        self._folder = folder
        self._kind = kind

    def whole(self) -> Path:
        """The beginning of the sample."""
        return self._made("whole", 0, SECONDS)

    def late(self) -> Path:
        """The same, LATE_S after the pictures, or with that for its first stamp where there are none."""
        return self._made("late", 0, SECONDS, late_s=LATE_S)

    def gap(self) -> Path:
        """The same without some seconds; what follows keeps its time, where the container has times."""
        without = f"aselect=not(between(t\\,{GAP[0]}\\,{GAP[1]}))"
        return self._made("gap", 0, SECONDS, sound=("-af", without))

    def cut(self) -> Path:
        """The same without the last bytes."""
        data = self.whole().read_bytes()
        target = self._path("cut")
        target.write_bytes(data[: int(len(data) * CUT)])
        return target

    def joined(self) -> Path:
        """The same, and other seconds of the sample behind that."""
        data = self.whole().read_bytes() + self._made("more", 20, MORE_SECONDS).read_bytes()
        target = self._path("joined")
        target.write_bytes(data)
        return target

    def _made(
        self, name: str, start_s: float, seconds: float, *, late_s: float = 0.0, sound: Sequence[str] = ()
    ) -> Path:
        target, kind = self._path(name), self._kind
        clip = self._folder / f"{start_s}.wav"
        self._run("-ss", start_s, "-i", SAMPLE, "-t", seconds, clip)
        talk = ("-itsoffset", late_s, "-i", clip)
        pictures = ("-f", "lavfi", "-i", f"testsrc=size=64x64:rate=10:duration={seconds + late_s}")
        inputs = (*talk, *pictures, "-map", "1:v", "-map", "0:a", *kind.pictures) if kind.pictures else talk
        self._run(*inputs, *sound, *kind.sound, target)
        return target

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.{self._kind.suffix}"

    def _run(self, *arguments: object) -> None:
        command = [str(self._ffmpeg), "-nostdin", "-v", "error", "-y", *map(str, arguments)]
        subprocess.run(command, check=True, timeout=100)
