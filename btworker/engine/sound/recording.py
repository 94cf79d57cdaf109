"""The sound of a file, which ffmpeg may still be decoding, so that first windows are decoded before last samples are
there."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from btworker.ffmpeg import SAMPLE_RATE

Samples = npt.NDArray[np.int16]


def samples_of(path: Path, count: int, *, first: int = 0) -> Samples:
    """Map samples of a scratch file into memory."""
    if not count:
        return np.empty(0, np.int16)
    return np.memmap(path, dtype="<i2", mode="r", offset=2 * first, shape=(count,))


class Sound(Protocol):
    """16 kHz mono samples, from the first one to where ffmpeg is."""

    @property
    def samples(self) -> Samples:
        """Samples that are there, memory-mapped."""
        ...

    @property
    def is_whole(self) -> bool:
        """Whether no more samples will come; or an error in their place, which reach() raises."""
        ...

    @property
    def expected_s(self) -> float:
        """Length in seconds; while ffmpeg is at work, by the file's header, 0 where that has none."""
        ...

    def has(self, count: int, /) -> bool:
        """Whether so many samples are there, or all."""
        ...

    async def reach(self, count: int, /) -> None:
        """Wait until so many samples are there, or all. Raises what went wrong with ffmpeg."""
        ...


@dataclass(frozen=True, slots=True)
class Whole:
    """Sound that is there already."""

    samples: Samples

    @property
    def is_whole(self) -> bool:
        """See Sound."""
        return True

    @property
    def expected_s(self) -> float:
        """See Sound."""
        return len(self.samples) / SAMPLE_RATE

    def has(self, _count: int, /) -> bool:
        """See Sound."""
        return True

    async def reach(self, _count: int, /) -> None:
        """See Sound."""


@dataclass(frozen=True, slots=True)
class Recording:
    """The sound, and the SHA-256 of the file that it came from."""

    sound: Sound
    sha256: str
