"""The places at which recordings begin that lie one behind the other in a file. Runs in the child, before ffmpeg.

Recorders that are paused, browsers, and people with `cat` make such files. Of most kinds ffmpeg decodes the first
alone, or takes the second for more of the first, so each is decoded by itself. Containers that hold their own length
are walked along, in a few reads; in others the beginning of a next one is searched for. Raw streams (MP3, AAC,
transport streams) need no parting: ffmpeg goes on by itself.
"""

from dataclasses import dataclass

from btworker.engine.sound.beginnings import ID3S, is_beginning, next_beginning
from btworker.engine.sound.reader import Reader
from btworker.engine.sound.walks import walked_end

MOST_PARTS = 100
"""Most recordings that get a run of ffmpeg of their own; what comes after them is decoded as one."""
LEAST_REST_BYTES = 64 * 1024
"""Size from which something unknown behind a recording is given to ffmpeg: tags are smaller."""
LEAST_PART_BYTES = 100
"""Size from which a known signature behind a recording is another recording."""
TAGS = (*ID3S, b"APETAGEX")


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of one recording in a file: from `start` to before `end`."""

    start: int
    end: int


def parts_of(reader: Reader) -> list[Part]:
    """Find the recordings of a file, in order; one part holds all of it where there is one."""
    starts, start = [0], _next_start(reader, 0)
    while start is not None and len(starts) < MOST_PARTS:
        starts.append(start)
        start = _next_start(reader, start)
    return [Part(one, end) for one, end in zip(starts, [*starts[1:], reader.size], strict=True)]


def tags_inside(reader: Reader, part: Part) -> int:
    """Count the ID3 and APE tags between the MP3s of one file, each of which ffmpeg takes for a damaged packet."""
    return sum(1 for place, _ in reader.all(TAGS, part.start + 1) if place < part.end)


def _next_start(reader: Reader, start: int) -> int | None:
    """Find where the recording behind the one at `start` begins; None where that one is the last."""
    end = walked_end(reader, start)
    if end is None:
        return next_beginning(reader, start)
    rest = reader.size - end
    if rest < LEAST_PART_BYTES or is_beginning(reader.at(end, 16)):
        return end if rest >= LEAST_PART_BYTES else None
    # a recording that was cut off may promise as much as lies before the middle of the next one
    inside = next_beginning(reader, start)
    return inside or (end if rest >= LEAST_REST_BYTES and not reader.is_padding(end) else None)
