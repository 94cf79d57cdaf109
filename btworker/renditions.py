"""What a player gets of a recording: its sound in one file, its peaks in another. Pure records and paths, used in all
processes.

    <data>/jobs/<job id>/renditions/<n>.m4a    <n>.peaks     of input n; "<n>.part" until it is durable
"""

from dataclasses import dataclass
from pathlib import Path

KBIT_BYTES_PER_S = 125
"""Bytes a second of one kbit/s."""
PEAKS_BYTES_PER_S = 222
"""Bytes a second of the peaks at all zooms (engine/sound/peaks.py)."""
INDEX_BYTES_PER_S = 100
"""Bytes a second of an M4A's index, and of what its encoder may exceed the rate by."""


@dataclass(frozen=True, slots=True)
class StoredPart:
    """One of the files. The hash is SHA-256 in hex."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Rendition:
    """Rendition of input number `index`."""

    index: int
    audio: StoredPart
    peaks: StoredPart


@dataclass(frozen=True, slots=True)
class RenditionFiles:
    """Where the files of input number `index` lie."""

    folder: Path
    index: int

    @property
    def audio(self) -> Path:
        """AAC in an M4A."""
        return self.folder / f"{self.index}.m4a"

    @property
    def peaks(self) -> Path:
        """The least and the greatest samples, at several zooms."""
        return self.folder / f"{self.index}.peaks"

    @property
    def part(self) -> Path:
        """Either of them until it is durable."""
        return self.folder / f"{self.index}.part"

    @property
    def both(self) -> tuple[Path, Path]:
        """What is kept."""
        return self.audio, self.peaks


def bytes_per_second(kbit_s: int) -> int:
    """Room that a second of a recording takes; 0 where nothing is made."""
    return kbit_s * KBIT_BYTES_PER_S + PEAKS_BYTES_PER_S + INDEX_BYTES_PER_S if kbit_s else 0
