"""The folder in which processes share the windows of one long recording. Children; boxes of a fleet bring it from one
to another, and import no engine for that.

    <job>/shares/<n>/plan.json    who made it, and every window of input n
                     <k>.claim    locked by the process that decodes part k; the kernel opens the lock when it dies
                     <k>.json     the texts of part k, where a helper decoded it
    between boxes of a fleet      (fleet/box_lending.py, fleet/box_help.py)
                     <k>.s16      the sound of part k, on its way; <k>.texts: its texts
                     <k>.here     in a copy on another box: the sound of part k is there, and the part may be claimed
"""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

PART = 8
"""Windows: four minutes, a small part of a long recording, so the owner never waits long at the end."""
PLAN = "plan.json"
FRAME_BYTES = 320
"""Of 10 ms, in which windows are counted: 16 kHz, 16 bits."""
MARGIN_FRAMES = 10
"""Around a window: its first and last frames see 12.5 ms more."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a file of samples."""

    offset: int
    count: int


def parts_of(windows: int) -> int:
    """Tell how many parts so many windows make."""
    return -(-windows // PART)


def claim(folder: Path, number: int) -> IO[bytes] | None:
    """Lock a part for this process, until the file is closed; None where another one has it. Raises OSError where the
    folder has gone."""
    file = (folder / f"{number}.claim").open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def write_whole(path: Path, shape: Any) -> None:
    """Write a whole file at once, so that no reader sees half of it."""
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(shape))
    os.replace(part, path)


def pieces(plan: dict[str, Any], number: int) -> list[Piece]:
    """List what the windows of a part need of the sound, from its first sample on. `plan` is plan.json's."""
    end = 2 * int(plan["samples"])

    def piece(seek: int, size: int) -> Piece:
        first = max(seek - MARGIN_FRAMES, 0) * FRAME_BYTES
        last = min((seek + size + MARGIN_FRAMES) * FRAME_BYTES, end)
        return Piece(first, max(last - first, 0))

    windows = plan["windows"][number * PART : (number + 1) * PART]
    return [piece(int(window["seek"]), int(window["size"])) for window in windows]


def copy_pieces(source: IO[bytes], target: IO[bytes], places: Iterable[tuple[int, int, int]]) -> None:
    """Copy bytes; each place is (offset in the source, offset in the target, count). Raises EOFError where the source
    has less."""
    for begin, end, count in places:
        source.seek(begin)
        data = source.read(count)
        if len(data) != count:
            raise EOFError(f"{count - len(data)} bytes of the sound are missing")
        target.seek(end)
        target.write(data)


def packed(found: Iterable[Piece]) -> Iterator[tuple[Piece, int]]:
    """Lay pieces one behind the other: each with its offset there."""
    offset = 0
    for piece in found:
        yield piece, offset
        offset += piece.count
