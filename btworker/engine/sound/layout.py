"""What of a recording is wanted, and where it lies in the scratch files: ranges of it one behind the other, its
channels mixed or each in a file of its own. Runs in the child.

    Wanted    what a job asks for
    Layout    recording -> place in the files
    Stretch   a range, as it lies there
    Channel   a channel, and whether anything is in it that is in no other
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from btworker.ffmpeg import SAMPLE_RATE

OPEN = sys.maxsize
"""End of a range that goes on to the recording's end."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be decoded of a recording."""

    ranges: tuple[tuple[float, float | None], ...] = ()
    """(start, end) in seconds, in order and disjoint; no end: to the recording's. Empty: all of it."""
    separate: bool = False
    """Each channel by itself, of all tracks."""

    @property
    def layout(self) -> "Layout":
        """Layout of the scratch files."""
        ranges = self.ranges or ((0.0, None),)
        return Layout(tuple((sample_at(start), OPEN if end is None else sample_at(end)) for start, end in ranges))


@dataclass(frozen=True, slots=True)
class Layout:
    """Ranges of samples that are kept; each lies in the files behind those before it."""

    ranges: tuple[tuple[int, int], ...] = ((0, OPEN),)
    base: int = 0
    """Place of the first one in the files."""

    @property
    def end(self) -> int:
        """Sample of the recording behind which nothing is wanted."""
        return self.ranges[-1][1]

    @property
    def is_whole(self) -> bool:
        """Whether all of the recording is kept."""
        return self.ranges == ((0, OPEN),)

    def one_by_one(self) -> Iterator["Layout"]:
        """Yield each range by itself, at its place."""
        place = self.base
        for start, end in self.ranges:
            yield Layout(((start, end),), place)
            place += end - start

    def kept(self, first: int, count: int) -> Iterator[tuple[int, int, int]]:
        """Yield what is kept of `count` samples from `first` on: (offset among them, count, place in the files)."""
        place = self.base
        for start, end in self.ranges:
            low, high = max(first, start), min(first + count, end)
            if low < high:
                yield low - first, high - low, place + low - start
            place += end - start

    def place_of(self, position: int) -> int:
        """Count the samples in the files once a run has reached `position`."""
        place = done = self.base
        for start, end in self.ranges:
            if position > start:
                done = place + min(position, end) - start
            place += end - start
        return done


@dataclass(frozen=True, slots=True)
class Stretch:
    """Range of the recording: `count` samples from sample `first` of the files on, which begin at `start_s`."""

    first: int
    count: int
    start_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Channel:
    """Channel of the recording, counted from 1 through all its tracks."""

    number: int
    path: Path
    is_silent: bool = False
    same_as: int | None = None
    """Number of an earlier channel with the same sound."""

    @property
    def is_own(self) -> bool:
        """Whether it has sound that no earlier channel has."""
        return not self.is_silent and self.same_as is None


def sample_at(seconds: float) -> int:
    """Return the sample at a time."""
    return round(seconds * SAMPLE_RATE)
