"""The log of one ffmpeg, bounded, and what of it we understand: tracks, duration, damage.

There is no ffprobe in the packaged ffmpeg, so these lines are the only report on the input. They hold text from the
file itself (tags) and never reach a user or a log verbatim.
"""

import os
import re
from dataclasses import dataclass
from errno import EIO

HEAD_BYTES = 512 * 1024
"""The tracks are listed after the tags and the chapters, of which audio books have hundreds."""
TAIL_BYTES = 32 * 1024

IO_ERROR = os.strerror(EIO)
_DURATION = re.compile(r"^\[info\]   Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)", re.MULTILINE)
_CONTAINER = re.compile(r"^\[info\] Input #0, ([a-z0-9_]+)", re.MULTILINE)
_START = re.compile(r"^\[info\]   Duration: [^\n]*?, start: (-?\d+\.\d+)", re.MULTILINE)
_TRACK = re.compile(r"^\[info\]   Stream #0:\d+.*?: (Audio|Video|Subtitle|Data): (.*)$", re.MULTILINE)
_LAYOUT = re.compile(r" Hz, ([^,]+)")
_COUNTED = re.compile(r"(\d+) channels")
_AMBISONIC = re.compile(r"ambisonic (\d+)(?:\+(.*))?")
_DOTTED = re.compile(r"\d+(?:\.\d+)+")
_SINGLE_NAME = re.compile(r"[a-z0-9.()-]+")
_LOW_SCORE = re.compile(r"detected only with low score of (\d+)")
_CUT = re.compile(r"partial file|File ended prematurely|moov atom not found")
_SIGNAL = re.compile(r"^\[info\] Exiting normally, received signal (\d+)\.", re.MULTILINE)
_LINE = re.compile(r"^(?:\[[^\]\n]*\] )*\[(?:info|warning|error|fatal|panic)\] ", re.MULTILINE)
_ERROR = re.compile(r"^(?:\[[^\]\n]*\] )*\[(?:error|fatal|panic)\] (.*)$", re.MULTILINE)
_READ_FAILED = re.compile(r"Error during demuxing: |file:.*: ")
_DAMAGED = re.compile(r"Error submitting packet to decoder|Error while decoding|Decoding error|Missing GSM magic!")
NO_GSM = "Missing GSM magic!"
"""Warning of each frame that is none: A-law without a header looks like GSM where it is silent, and becomes noise."""
FEW_DAMAGED = 9
_NO_DECODER = re.compile(r"[Nn]o decoder found|Decoder \(codec [^)]*\) not found|Decoder not found")


NEVER_ENDS_WELL = frozenset({"gxf"})
"""Containers whose demuxer ends in an error even where the file is whole."""
MEASURED = frozenset({"mpegts", "mpeg"})
"""Containers without a header: their duration is the distance of their first and last time stamps."""
CHANNELS = {
    "mono": 1, "stereo": 2, "downmix": 2, "binaural": 2, "quad": 4, "quad(side)": 4, "hexagonal": 6, "octagonal": 8,
    "cube": 8, "hexadecagonal": 16,
}  # fmt: skip
"""Channels of the layouts whose names have no number, as "5.1" has."""


class BoundedLog:
    """The first and the last bytes of a stream of any length."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()

    def add(self, data: bytes) -> None:
        """Take in the next bytes."""
        room = HEAD_BYTES - len(self._head)
        self._head += data[:room]
        self._tail += data[room:] if room < len(data) else b""
        del self._tail[:-TAIL_BYTES]

    @property
    def text(self) -> str:
        """Text that was kept."""
        return (self._head + b"\n" + self._tail).decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Track:
    """Audio track as ffmpeg lists it."""

    channels: int | None
    """Number of channels; None where that is not known."""
    layout: str | None
    """Name of their layout for ffmpeg's filters, where it has one."""
    is_ambisonic: bool = False
    """Whether the channels are no speakers, but a sound field, of which the first has all directions."""


@dataclass(frozen=True, slots=True)
class Report:
    """Report of ffmpeg on one input."""

    container: str
    """Name of the container in ffmpeg's words; empty where ffmpeg knows none that the file could be."""
    audio: tuple[Track, ...]
    video_tracks: int
    other_tracks: int
    """Number of tracks of pictures, subtitles and data."""
    start_s: float
    """First time stamp of any track; a container's duration may count from 0 all the same."""
    duration_s: float | None
    """Duration of the container; None where that is a guess."""
    promised_s: float | None
    """Duration by a header, before which the file may end; None where no header has one."""
    damaged_packets: int
    """Number of packets that could not be decoded, as far as the log was kept."""
    cut_off: bool
    """Whether the container noticed that the file ends early."""
    guessed: bool
    """Whether the container is hardly more than a guess, as it is for text and noise."""
    undecodable: bool
    """Whether this ffmpeg has no decoder for the track."""
    wrote: bool
    """Whether ffmpeg wrote a line: it was started."""
    signal: int | None
    """The number of the signal that made ffmpeg end in good order, before the end of its input."""
    errors: tuple[str, ...]
    """Lines that ffmpeg called errors."""

    @property
    def opened(self) -> bool:
        """Whether the file is in a container that ffmpeg knows."""
        return bool(self.container)

    @property
    def damaged(self) -> bool:
        """Whether some packets could not be decoded."""
        return self.damaged_packets > 0

    def reason(self, *reasons: str) -> str:
        """Find the first of these reasons (as os.strerror() has them) with which an error ends; empty: none does."""
        return next((reason for error in self.errors for reason in reasons if error.endswith(reason)), "")

    @property
    def read_failed(self) -> bool:
        """Whether ffmpeg could not read the file to its end: it is cut off, or its disk does not give it."""
        ends_well = self.opened and self.container not in NEVER_ENDS_WELL
        return bool(self.reason(IO_ERROR)) or (ends_well and any(map(_READ_FAILED.match, self.errors)))


def read_report(text: str) -> Report:
    """Understand what was kept of a log (with `-loglevel level+info`); works on the first part of one, too."""
    # tags of the file come before the mapping, too, but indented deeper than the lines that are looked for
    about_input = text.partition("\n[info] Output #0")[0]
    tracks = _TRACK.findall(about_input)
    kinds = [kind for kind, _ in tracks]
    container = found[1] if (found := _CONTAINER.search(text)) else ""
    start, duration_s = _START.search(about_input), _duration(about_input)
    score, stopped = _LOW_SCORE.search(text), _SIGNAL.search(text)
    return Report(
        container=container,
        audio=tuple(_track(about) for kind, about in tracks if kind == "Audio"),
        video_tracks=kinds.count("Video"),
        other_tracks=len(kinds) - kinds.count("Audio"),
        start_s=float(start[1]) if start else 0.0,
        duration_s=duration_s,
        promised_s=None if container in MEASURED else duration_s,
        damaged_packets=len(_DAMAGED.findall(text)),
        cut_off=_CUT.search(text) is not None,
        guessed=(score is not None and int(score[1]) <= 1) or text.count(NO_GSM) > FEW_DAMAGED,
        undecodable=_NO_DECODER.search(text) is not None,
        wrote=_LINE.search(text) is not None,
        signal=int(stopped[1]) if stopped else None,
        errors=tuple(_ERROR.findall(text)),
    )


def _track(about: str) -> Track:
    found = _LAYOUT.search(about)
    layout = found[1].strip() if found else ""
    is_ambisonic = layout.startswith("ambisonic ")
    return Track(_channels(layout), layout if _SINGLE_NAME.fullmatch(layout) else None, is_ambisonic=is_ambisonic)


def _channels(layout: str) -> int | None:
    if ambisonic := _AMBISONIC.match(layout):
        return (int(ambisonic[1]) + 1) ** 2 + ((_channels(ambisonic[2]) or 0) if ambisonic[2] else 0)
    if counted := _COUNTED.match(layout):
        return int(counted[1])
    if dotted := _DOTTED.match(layout):
        return sum(map(int, dotted[0].split(".")))
    return CHANNELS.get(layout)


def _duration(text: str) -> float | None:
    found = _DURATION.search(text)
    if found is None or "Estimating duration from bitrate" in text:
        return None
    return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])
