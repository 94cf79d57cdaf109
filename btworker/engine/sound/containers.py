"""What a recording claims about itself that ffmpeg believes or does not report: wrong WAV sizes, Ogg without an end.

Reads a few headers; never the sound. Runs in the child, before ffmpeg.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from btworker.engine.sound.parts import Part
from btworker.engine.sound.reader import Reader
from btworker.engine.sound.walks import WRAP, claimed_end, riff_ends_at

MAX_CHUNKS = 1000
OGG_TAIL_BYTES = 128 * 1024
"""More than the largest Ogg page (65,307 bytes)."""
ROUNDING_BYTES = 1024
"""Bytes by which a file may be shorter than its header without a warning: some writers count parts of it twice."""
_CHUNK_NAME = re.compile(rb"[A-Za-z0-9_ ]{4}")


@dataclass(frozen=True, slots=True)
class Findings:
    """Facts about a file that change how it is decoded."""

    ignore_wav_length: bool = False
    """Whether the size field is wrong, so that the sound goes on to the end of the file."""
    cut_off: bool = False
    """Whether the file ends before its container does."""


def examine(reader: Reader, part: Part) -> Findings:
    """Look at a recording's headers. Anything unknown is left to ffmpeg."""
    magic = reader.at(part.start, 12)
    if magic[:4] in (b"RIFF", b"RF64", b"BW64") and magic[8:12] == b"WAVE":
        return _examine_wav(reader, part)
    if magic[:4] == b"OggS":
        return Findings(cut_off=_ogg_has_no_end(reader, part))
    end = claimed_end(reader, part.start)
    return Findings(cut_off=end is not None and end - part.end > ROUNDING_BYTES)


def _examine_wav(reader: Reader, part: Part) -> Findings:
    """Compare the data chunk's size with what is there.

    Recorders leave 0 or 2^32-1 in it when they are stopped hard, and a size past 4 GiB wraps around in 32 bits.
    """
    data_size_64: int | None = None
    for name, size, content in _chunks(reader, part.start + 12, part.end):
        if name == b"ds64":
            data_size_64 = struct.unpack("<Q", reader.at(content + 8, 8).ljust(8, b"\0"))[0]
        if name == b"data":
            true_size = size if data_size_64 is None or size != WRAP - 1 else data_size_64
            return _judge_size(reader, part, claimed=true_size, content=content)
    return Findings()


def _judge_size(reader: Reader, part: Part, *, claimed: int, content: int) -> Findings:
    there, end = part.end - content, content + claimed
    if claimed in (0, WRAP - 1) or there - claimed >= WRAP:
        return Findings(ignore_wav_length=True)
    if claimed > there:
        return Findings(ignore_wav_length=True, cut_off=True)
    if claimed == there or _chunks_fit(reader, end + claimed % 2, part.end):
        return Findings()
    return Findings(ignore_wav_length=riff_ends_at(reader, part.start) not in (end, end + claimed % 2))


def _chunks(reader: Reader, position: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, size, position of the content) of one chunk after the other."""
    for _ in range(MAX_CHUNKS):
        if position + 8 > end:
            return
        name, size = struct.unpack("<4sI", reader.at(position, 8))
        yield name, size, position + 8
        position += 8 + size + size % 2


def _chunks_fit(reader: Reader, position: int, end: int) -> bool:
    """Whether what follows the sound is a row of proper chunks up to the end of the file (a stray tail is allowed)."""
    return all(
        _CHUNK_NAME.fullmatch(name) and content + size <= end for name, size, content in _chunks(reader, position, end)
    )


def _ogg_has_no_end(reader: Reader, part: Part) -> bool:
    """Whether the last page lacks the end-of-stream flag."""
    first = max(part.start, part.end - OGG_TAIL_BYTES)
    tail = reader.at(first, part.end - first)
    last = tail.rfind(b"OggS\0")
    return last < 0 or last + 6 > len(tail) or not tail[last + 5] & 0x04
