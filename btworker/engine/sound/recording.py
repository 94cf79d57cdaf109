"""What is to be recognized: a file's sound, which ffmpeg may still be at, so that its first windows are decoded before
its last samples are there."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from btworker.ffmpeg import SAMPLE_RATE

Samples = npt.NDArray[np.int16]


class Sound(Protocol):
    """16 kHz mono samples, from the first one to where ffmpeg is."""

    @property
    def samples(self) -> Samples:
        """All that are there, memory-mapped."""
        ...

    @property
    def is_whole(self) -> bool:
        """No more will come; or an error in their place, which reach() raises."""
        ...

    @property
    def expected_s(self) -> float:
        """How long it is; while ffmpeg is at it, by the file's header, 0 where that says nothing."""
        ...

    def has(self, count: int, /) -> bool:
        """Whether so many samples are there, or all."""
        ...

    async def reach(self, count: int, /) -> None:
        """Go on when so many samples are there, or all. Raises what went wrong with ffmpeg."""
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
