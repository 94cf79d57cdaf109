"""A look at the end that a file's header promises, where its sound ends before that. Runs in the child.

A film may be longer than its sound, and an audio track shorter than another one: then something else is there at the
end, which is looked at without being decoded. In a file that was cut off there is nothing.
"""

import re
import subprocess
from pathlib import Path

from btworker.engine.sound import process
from btworker.ffmpeg import Clip, tail_command

BEFORE_END_S = 10.0
"""Seconds before the end that are read: more than lie between two pictures from which a film can be entered."""
WALL_S = 20.0
"""Limit of the look: ffmpeg seeks; a file in which it cannot is read up to there, or given up."""
TOLERANCE = 0.02
"""Fraction of a promised duration that may be missing: encoders pad, and round."""

_TIME_BASE = re.compile(rb"^#tb (\d+): (\d+)/(\d+)", re.MULTILINE)
_PACKET = re.compile(rb"^(\d+), *(-?\d+), *-?\d+, *(\d+),", re.MULTILINE)


def tolerance_s(promised_s: float) -> float:
    """Compute the seconds that may be missing without a warning."""
    return max(1.0, TOLERANCE * promised_s)


def reaches_its_end(ffmpeg: Path, clip: Clip, promised_s: float, *, track: int) -> bool:
    """Whether pictures, subtitles or another audio track than number `track` go on until then."""
    from_s = max(promised_s - BEFORE_END_S, 0.0)
    command = tail_command(ffmpeg, clip, from_s=from_s, track=track)
    program = process.start(command, cpu_s=WALL_S, source=clip.source)
    try:
        packets, _ = program.communicate(timeout=WALL_S)
    except subprocess.TimeoutExpired:
        return False
    finally:
        process.end(program)
    return from_s + last_end_s(packets) >= promised_s - tolerance_s(promised_s)


def last_end_s(packets: bytes) -> float:
    """Find where the last packet of a listing (ffmpeg's framecrc) ends, in seconds."""
    base_s = {stream: int(part) / int(whole) for stream, part, whole in _TIME_BASE.findall(packets)}
    ends_s = [(int(dts) + int(length)) * base_s.get(stream, 0.0) for stream, dts, length in _PACKET.findall(packets)]
    return max(ends_s, default=float("-inf"))
