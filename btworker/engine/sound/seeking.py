"""Where in a file ffmpeg can begin, so that a range of a long recording costs no more than itself. Runs in the child.

A run that begins in the middle gives the samples of a run over the whole file, bit for bit where the container's
stamps are exact, if it is cut a whole number of seconds behind the first sample: there 16,000 samples a second and
those of any rate meet. ffmpeg begins some seconds earlier, for codecs and filters that need what was before.
"""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from btworker.engine.sound import process
from btworker.engine.sound.clock import TOLERANCE_S
from btworker.engine.sound.ffmpeg_log import read_report
from btworker.engine.sound.packets import PacketReader
from btworker.engine.sound.sink import COUNTED, HALF, Source
from btworker.ffmpeg import SAMPLE_RATE, Clip, first_packet_command

SEEKABLE = frozenset({"wav", "w64", "aiff", "caf", "flac", "mp3", "aac", "ogg", "mov", "matroska"})
"""Containers in whose middle a sample's time is known; of others all is decoded up to the range's end."""
WALL_S = 20.0
LEAD_S = 1
"""Whole seconds before a range from which on samples are taken, so that no filter begins inside of it."""
EARLIER_S = 4
"""Seconds before these at which ffmpeg begins."""
WORTH_IT_S = 20
"""Seconds before a range that are decoded without a seek."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """The first sample of a track: its time stamp, and its place in the recording."""

    stamp_s: float
    sample: int
    container: str = ""

    def entry(self, clip: Clip, start: int) -> tuple[Clip, Source]:
        """Return how a run begins shortly before sample `start`."""
        whole_s = (start - self.sample) // SAMPLE_RATE - LEAD_S
        if whole_s < WORTH_IT_S:
            return clip, Source()
        stamp_s = self.stamp_s + whole_s
        entered = replace(clip, seek_s=float(whole_s - EARLIER_S), cut_s=stamp_s)
        return entered, Source(at=self.sample + whole_s * SAMPLE_RATE, stamp_s=stamp_s)


def anchor_of(ffmpeg: Path, clip: Clip, *, track: int) -> Anchor | None:
    """Look at the first packet of a track; None where the file can only be read from its beginning."""
    program = process.start(first_packet_command(ffmpeg, clip, track=track), cpu_s=WALL_S, source=clip.source)
    try:
        sound, log = program.communicate(timeout=WALL_S)
        stamp_ms = next((stamp for stamp, _ in PacketReader().feed(sound)), None)
    except (subprocess.TimeoutExpired, ValueError):
        return None
    finally:
        process.end(program)
    report = read_report(log.decode("utf-8", "replace"))
    if stamp_ms is None or report.container not in SEEKABLE:
        return None
    stamp_s = ((stamp_ms + HALF) % (2 * HALF) - HALF) / 1000
    if abs(stamp_s - report.start_s) < 0.001:
        return Anchor(report.start_s, 0, report.container)  # the same one, and not rounded
    late_s = stamp_s - round(report.start_s * 1000) / 1000
    return Anchor(stamp_s, round(late_s * SAMPLE_RATE) if late_s > TOLERANCE_S else 0, report.container)


class Anchors:
    """The anchors of a recording's tracks, each looked for once."""

    def __init__(self, ffmpeg: Path, clip: Clip, *, is_joined: Callable[[], bool] = lambda: False) -> None:
        """`is_joined` says of a raw stream whether several were put one behind the other, so that its stamps, which
        ffmpeg counts at the pace of the first, may be wrong."""
        self._ffmpeg = ffmpeg
        self._clip = clip
        self._is_joined = is_joined
        self._found: dict[int, Anchor | None] = {}

    def of(self, track: int) -> Anchor | None:
        """Find that of a track."""
        if track not in self._found:
            found = anchor_of(self._ffmpeg, self._clip, track=track)
            is_counted = found is not None and found.container in COUNTED
            self._found[track] = None if is_counted and self._is_joined() else found
        return self._found[track]
