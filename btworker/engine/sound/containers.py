"""What a media file claims about itself that ffmpeg believes or does not report: wrong WAV sizes, Ogg without an end.

Reads a few headers; never the sound. Runs in the child, before engine/sound/ffmpeg.py starts ffmpeg.
"""

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

WRAP = 2**32
MAX_CHUNKS = 1000
OGG_TAIL_BYTES = 128 * 1024
"""More than the largest Ogg page (65,307 bytes)."""
_CHUNK_NAME = re.compile(rb"[A-Za-z0-9_ ]{4}")


@dataclass(frozen=True, slots=True)
class Findings:
    """What to do about a file before it is decoded."""

    ignore_wav_length: bool = False
    """The size field is wrong: read the sound to the end of the file."""
    cut_off: bool = False
    """The file ends before its container says so."""


def examine(source: Path) -> Findings:
    """Look at a file's headers. Anything unknown is left to ffmpeg."""
    with source.open("rb") as file:
        magic = file.read(12)
        if magic[:4] in (b"RIFF", b"RF64", b"BW64") and magic[8:12] == b"WAVE":
            return _examine_wav(file, file_bytes=os.fstat(file.fileno()).st_size)
        if magic[:4] == b"OggS":
            return Findings(cut_off=_ogg_has_no_end(file))
    return Findings()


def _examine_wav(file: BinaryIO, *, file_bytes: int) -> Findings:
    """Compare the data chunk's size with what is there.

    Recorders leave 0 or 2^32-1 in it when they are stopped hard, and a size past 4 GiB wraps around in 32 bits.
    """
    data_size_64: int | None = None
    for name, size, start in _chunks(file, position=12, file_bytes=file_bytes):
        if name == b"ds64":
            data_size_64 = struct.unpack("<Q", file.read(16)[8:16].ljust(8, b"\0"))[0]
        if name == b"data":
            true_size = size if data_size_64 is None or size != WRAP - 1 else data_size_64
            return _judge_size(file, claimed=true_size, start=start, file_bytes=file_bytes)
    return Findings()


def _judge_size(file: BinaryIO, *, claimed: int, start: int, file_bytes: int) -> Findings:
    there = file_bytes - start
    if claimed in (0, WRAP - 1) or there - claimed >= WRAP:
        return Findings(ignore_wav_length=True)
    if claimed > there:
        return Findings(ignore_wav_length=True, cut_off=True)
    if claimed == there or _chunks_fit(file, position=start + claimed + claimed % 2, file_bytes=file_bytes):
        return Findings()
    return Findings(ignore_wav_length=True)


def _chunks(file: BinaryIO, *, position: int, file_bytes: int) -> Iterator[tuple[bytes, int, int]]:
    """(name, size, position of the content) of one chunk after the other; the file stands at that content."""
    for _ in range(MAX_CHUNKS):
        if position + 8 > file_bytes:
            return
        file.seek(position)
        name, size = struct.unpack("<4sI", file.read(8))
        yield name, size, position + 8
        position += 8 + size + size % 2


def _chunks_fit(file: BinaryIO, *, position: int, file_bytes: int) -> bool:
    """Whether what follows the sound is a row of proper chunks up to the end of the file (a stray tail is allowed)."""
    return all(
        _CHUNK_NAME.fullmatch(name) and content + size <= file_bytes
        for name, size, content in _chunks(file, position=position, file_bytes=file_bytes)
    )


def _ogg_has_no_end(file: BinaryIO) -> bool:
    """Whether the last page lacks the end-of-stream flag."""
    file.seek(0, os.SEEK_END)
    file.seek(max(0, file.tell() - OGG_TAIL_BYTES))
    tail = file.read()
    last = tail.rfind(b"OggS\0")
    return last < 0 or last + 6 > len(tail) or not tail[last + 5] & 0x04
