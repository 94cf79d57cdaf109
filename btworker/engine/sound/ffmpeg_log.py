"""The log of one ffmpeg, bounded, and what of it we understand: tracks, duration, damage.

There is no ffprobe in the packaged ffmpeg, so these lines are the only report on the input. They hold text from the
file itself (tags) and never reach a user or a log verbatim.
"""

import os
import re
from dataclasses import dataclass
from errno import EIO

HEAD_BYTES = 64 * 1024
TAIL_BYTES = 32 * 1024

IO_ERROR = os.strerror(EIO)
_DURATION = re.compile(r"^\[info\]   Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)", re.MULTILINE)
_TRACK = re.compile(r"^\[info\]   Stream #0:\d+.*?: (Audio|Video): ", re.MULTILINE)
_LOW_SCORE = re.compile(r"detected only with low score of (\d+)")
_CUT = re.compile(r"partial file|File ended prematurely|moov atom not found")
_SIGNAL = re.compile(r"^\[info\] Exiting normally, received signal (\d+)\.", re.MULTILINE)
_LINE = re.compile(r"^(?:\[[^\]\n]*\] )*\[(?:info|warning|error|fatal|panic)\] ", re.MULTILINE)
_ERROR = re.compile(r"^(?:\[[^\]\n]*\] )*\[(?:error|fatal|panic)\] (.*)$", re.MULTILINE)
_READ_FAILED = re.compile(r"Error during demuxing: |file:.*: ")
_NO_DECODER = re.compile(r"[Nn]o decoder found|Decoder \(codec [^)]*\) not found|Decoder not found")


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
class Report:
    """Report of ffmpeg on one input."""

    opened: bool
    """Whether the file is in a container that ffmpeg knows."""
    audio_tracks: int
    video_tracks: int
    duration_s: float | None
    """Duration by the header; None where it has none that can be trusted."""
    damaged: bool
    """Whether some packets could not be decoded."""
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

    def reason(self, *reasons: str) -> str:
        """Find the first of these reasons (as os.strerror() has them) with which an error ends; empty: none does."""
        return next((reason for error in self.errors for reason in reasons if error.endswith(reason)), "")

    @property
    def read_failed(self) -> bool:
        """Whether ffmpeg could not read the file to its end: it is cut off, or its disk does not give it."""
        return bool(self.reason(IO_ERROR)) or (self.opened and any(_READ_FAILED.match(error) for error in self.errors))


def read_report(text: str) -> Report:
    """Understand what was kept of a log (with `-loglevel level+info`); works on the first part of one, too."""
    # tags of the file come before the mapping, too, but indented deeper than the lines that are looked for
    about_input = text.partition("\n[info] Output #0")[0]
    tracks = _TRACK.findall(about_input)
    score, stopped = _LOW_SCORE.search(text), _SIGNAL.search(text)
    return Report(
        opened="[info] Input #0" in text,
        audio_tracks=tracks.count("Audio"),
        video_tracks=tracks.count("Video"),
        duration_s=_duration(about_input),
        damaged="Error submitting packet to decoder" in text
        or "Error while decoding" in text
        or "Decoding error" in text,
        cut_off=_CUT.search(text) is not None,
        guessed=score is not None and int(score[1]) <= 1,
        undecodable=_NO_DECODER.search(text) is not None,
        wrote=_LINE.search(text) is not None,
        signal=int(stopped[1]) if stopped else None,
        errors=tuple(_ERROR.findall(text)),
    )


def _duration(text: str) -> float | None:
    found = _DURATION.search(text)
    if found is None or "Estimating duration from bitrate" in text:
        return None
    return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])
