"""The place at which a recording ends in a file, by the sizes in its container: a few reads, whatever its length.

Runs in the child, before ffmpeg.
"""

import re
from collections.abc import Callable

from btworker.engine.sound.beginnings import (
    ASF_HEADER,
    EBML,
    FIRST_BOXES,
    FIRST_OGG_PAGE,
    OGG_PAGE,
    RIFFS,
    W64_RIFF,
    is_beginning,
    ogg_page_end,
)
from btworker.engine.sound.reader import Reader

MOST_STEPS = 100_000
"""Most boxes, chunks or blocks of one recording that are walked along."""
MOST_PAGES = 10**6
"""Most pages of an Ogg file that are walked along: some seconds."""
MOST_BREAKS = 100
"""Most damaged places behind which a walk goes on: at each, megabytes are searched."""
WRAP = 2**32
UNSET = (0, WRAP - 1)
"""Sizes that recorders leave when they cannot go back to the header."""
MOST_W64 = 2**62
"""Sizes above are those of a file that was never finished."""
MOST_BEHIND_SOUND = 2**20
"""Most bytes of tags behind the sound of a file whose size has wrapped around."""
SEGMENT = b"\x18\x53\x80\x67"
IN_SEGMENT = (b"\x1f\x43\xb6\x75", b"\x1c\x53\xbb\x6b", b"\x12\x54\xc3\x67", b"\xec")
"""Names of clusters, cues, tags and voids."""
ASF_DATA = bytes.fromhex("3626B2758E66CF11A6D900AA0062CE6C")
ASF_INDEXES = tuple(
    bytes.fromhex(name)
    for name in (
        "90080033B1E5CF1189F400A0C90349CB",
        "D329E2D6DA35D111903400A0C90349BE",
        "F803B1FEAD12644C840F2A1D2F7AD48C",
        "D03FB73C4A0C0348953DEDF7B6228F0C",
    )
)
LEAST_ASF_OBJECT, EMPTY_ASF_DATA = 24, 50
"""Sizes of what begins an object, and of data without packets: that which an unfinished file has."""
_NAME = re.compile(rb"[A-Za-z0-9_ ]{4}")
_BOX = re.compile(rb"[A-Za-z0-9 \xa9-]{4}")


def walked_end(reader: Reader, start: int) -> int | None:
    """Find where the recording at `start` ends by its own sizes; None where it has none, or impossible ones."""
    end = claimed_end(reader, start)
    return end if end is not None and start < end <= reader.size else None


def claimed_end(reader: Reader, start: int) -> int | None:
    """Find the same; it may lie behind the end of the file, where that was cut off."""
    head = reader.at(start, 16)
    walk = next((walk for sign, walk in WALKS.items() if head.startswith(sign)), None)
    if head[4:8] in FIRST_BOXES:
        walk = _boxes
    return walk(reader, start) if walk else None


def _riff(reader: Reader, start: int) -> int | None:
    """Find the end of a WAVE by its chunks, and of an AVI behind further RIFFs of its own."""
    if reader.at(start + 8, 4) == b"WAVE":
        return _wave(reader, start)
    if reader.number("<I", start + 4) in UNSET:
        return None
    end = _padded(start + 8 + reader.number("<I", start + 4))
    while (more := reader.at(end, 12))[:4] == b"RIFF" and more[8:] == b"AVIX":
        end = _padded(end + 8 + reader.number("<I", end + 4))
    return end


def _wave(reader: Reader, start: int) -> int | None:
    position, behind_sound, wide = start + 12, False, -1
    for _ in range(MOST_STEPS):
        name, size = reader.at(position, 4), reader.number("<I", position + 4)
        if behind_sound and (position == reader.size or name in RIFFS):
            return position
        if size < 0 or not _NAME.fullmatch(name):
            return position if behind_sound and riff_ends_at(reader, start) == position else None
        if name == b"ds64":
            wide = reader.number("<Q", position + 16)
        if name == b"data":
            behind_sound, size = True, wide if wide >= 0 and size == UNSET[1] else size
        if (name == b"data" and size in UNSET) or position + 8 + size > reader.size:
            return None
        position += 8 + size
        position += size % 2 if reader.at(position, 4) not in RIFFS else 0
    return None


def riff_ends_at(reader: Reader, start: int) -> int:
    """Find where a RIFF ends by its header; -1 where that has wrapped around in 32 bits."""
    end = start + 8 + reader.number("<I", start + 4)
    rest = reader.size - end
    return -1 if rest >= WRAP and rest % WRAP < MOST_BEHIND_SOUND else end


def _form(reader: Reader, start: int) -> int | None:
    size = reader.number(">I", start + 4)
    return None if size in UNSET else _padded(start + 8 + size)


def _au(reader: Reader, start: int) -> int | None:
    size = reader.number(">I", start + 8)
    return None if size in UNSET else start + reader.number(">I", start + 4) + size


def _dsd(reader: Reader, start: int) -> int | None:
    return start + reader.number("<Q", start + 12)


def _w64(reader: Reader, start: int) -> int | None:
    size = reader.number("<Q", start + 16)
    return start + size if size < MOST_W64 else None


def _caf(reader: Reader, start: int) -> int | None:
    position = start + 8
    for _ in range(MOST_STEPS):
        name, size = reader.at(position, 4), reader.number(">q", position + 4)
        if not _NAME.fullmatch(name) or is_beginning(reader.at(position, 16)):
            return position
        if size < 0:
            return None
        position += 12 + size
    return None


def _asf(reader: Reader, start: int) -> int | None:
    position = start
    wanted: tuple[bytes, ...] = (ASF_HEADER,)
    for _ in range(MOST_STEPS):
        if reader.at(position, 16) not in wanted:
            return position
        size = reader.number("<Q", position + 16)
        if size < LEAST_ASF_OBJECT or (size <= EMPTY_ASF_DATA and reader.at(position, 16) == ASF_DATA):
            return None
        position, wanted = position + size, (ASF_DATA, *ASF_INDEXES)
    return None


def _boxes(reader: Reader, start: int) -> int | None:
    position, seen = start, set[bytes]()
    for _ in range(MOST_STEPS):
        name, size, least = reader.at(position + 4, 4), reader.number(">I", position), 8
        if size == 1:
            size, least = reader.number(">Q", position + 8), 16
        is_whole = b"moov" in seen and bool(seen & {b"mdat", b"moof"})
        if name == b"ftyp" and is_whole:
            return position
        if size == 0 and _BOX.fullmatch(name):
            return reader.size
        if size < least or position + size > reader.size or not _BOX.fullmatch(name):
            return position if is_whole else None
        seen.add(name)
        position += size
    return None


def _matroska(reader: Reader, start: int) -> int | None:
    position = start
    for name in (EBML, SEGMENT):
        size, length = _ebml_size(reader, position + 4)
        if size is None or reader.at(position, 4) != name:
            return None
        position += 4 + length + size
    return reader.size if reader.at(position, 4).startswith(IN_SEGMENT) else position


def _ebml_size(reader: Reader, position: int) -> tuple[int | None, int]:
    """Read an EBML size: (the size, or None where it is unknown; the number of its bytes)."""
    first = reader.number("B", position)
    length = 9 - first.bit_length()
    if first <= 0:
        return None, 0
    size = int.from_bytes(reader.at(position, length), "big") - (1 << 7 * length)
    return (None if size == (1 << 7 * length) - 1 else size), length


def _wavpack(reader: Reader, start: int) -> int | None:
    """Find the end by the blocks' count of samples, which begins at 0; a tag may lie between two recordings."""
    position, last_index, breaks = start, 0, 0
    for _ in range(MOST_STEPS):
        if reader.at(position, 4) != b"wvpk":
            if is_beginning(reader.at(position, 16)) and reader.at(position, 3) != b"ID3":
                return position
            position = _next_place(reader, b"wvpk", position)
            breaks += 1
        if position >= reader.size or breaks > MOST_BREAKS:
            return reader.size
        index = reader.number("<I", position + 16)
        if index == 0 and last_index > 0:
            return position
        last_index, position = index, position + 8 + max(reader.number("<I", position + 4), 24)
    return None


def _ogg(reader: Reader, start: int) -> int | None:
    """Find the end by the pages; where one is damaged, by the next one that there is."""
    last, position, is_begun, breaks = start, start, False, 0
    for _ in range(MOST_PAGES):
        if reader.at(position, 5) != OGG_PAGE and not is_beginning(reader.at(position, 16)):
            found = _next_place(reader, OGG_PAGE, last + 1)
            breaks += 1
            if found == reader.size or breaks > MOST_BREAKS:
                return position if found == reader.size else None
            position = found
        is_first = reader.at(position, 6) == FIRST_OGG_PAGE
        if reader.at(position, 5) != OGG_PAGE or (is_first and is_begun):
            return position
        is_begun |= not is_first
        last, position = position, ogg_page_end(reader, position)
    return None


def _next_place(reader: Reader, needle: bytes, position: int) -> int:
    """Find where the needle lies next; the file's size where it does not."""
    return next((place for place, _ in reader.all((needle,), position)), reader.size)


def _padded(position: int) -> int:
    return position + position % 2


WALKS: dict[bytes, Callable[[Reader, int], int | None]] = {
    **dict.fromkeys(RIFFS, _riff),
    b"FORM": _form,
    b".snd": _au,
    b"DSD ": _dsd,
    W64_RIFF: _w64,
    b"caff": _caf,
    ASF_HEADER: _asf,
    EBML: _matroska,
    b"wvpk": _wavpack,
    b"OggS": _ogg,
}
