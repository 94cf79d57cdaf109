"""From a window's tokens to segments in time, and to where the next window begins. Pure: no torch, no model.

The rules are openai-whisper's: text between two timestamps is a segment; after a timestamp alone at the end nothing
more was spoken in the window; otherwise the next one begins at the last timestamp, and has what follows it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

FRAMES_PER_SECOND = 100
FRAMES_PER_TOKEN = 2
WINDOW_FRAMES = 3000
WINDOW_S = WINDOW_FRAMES / FRAMES_PER_SECOND
TOKEN_S = FRAMES_PER_TOKEN * 160 / 16_000
"""Seconds from one timestamp token to the next."""


@dataclass(frozen=True, slots=True)
class Window:
    """Up to 30 s of the recording, in frames of 10 ms."""

    seek: int
    size: int

    @property
    def offset_s(self) -> float:
        """Start in seconds of the recording."""
        return float(self.seek * 160 / 16_000)

    @property
    def end_s(self) -> float:
        """End in seconds of the recording."""
        return self.offset_s + self.duration_s

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.size * 160 / 16_000


@dataclass(frozen=True, slots=True)
class Piece:
    """A segment to be: its times in the recording and its tokens, timestamps included."""

    start: float
    end: float
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Cut:
    """A window's tokens, cut into pieces."""

    pieces: tuple[Piece, ...]
    next_seek: int
    ends_in_silence: bool
    """Its last token is a timestamp alone: nothing was spoken after it."""


def cut(tokens: Sequence[int], window: Window, *, timestamp_begin: int) -> Cut:
    """Cut a window's tokens at its pairs of timestamps; ids from `timestamp_begin` on are timestamps.

    What follows the last pair is left to the next window, which has it again.
    """
    stamped = [token >= timestamp_begin for token in tokens]
    ends_in_silence = stamped[-2:] == [False, True]
    ends = [index for index in range(1, len(tokens)) if stamped[index - 1] and stamped[index]]
    if not ends:
        return _uncut(tokens, window, timestamp_begin=timestamp_begin, silence=ends_in_silence)
    if ends_in_silence:
        ends.append(len(tokens))
    starts = [0, *ends[:-1]]
    pieces = tuple(
        Piece(
            start=window.offset_s + (tokens[first] - timestamp_begin) * TOKEN_S,
            end=window.offset_s + (tokens[last - 1] - timestamp_begin) * TOKEN_S,
            tokens=tuple(tokens[first:last]),
        )
        for first, last in zip(starts, ends, strict=True)
    )
    used = window.size if ends_in_silence else (tokens[ends[-1] - 1] - timestamp_begin) * FRAMES_PER_TOKEN
    return Cut(pieces, window.seek + used, ends_in_silence)


def _uncut(tokens: Sequence[int], window: Window, *, timestamp_begin: int, silence: bool) -> Cut:
    """Make one piece of the whole window, up to its last timestamp, if it has one."""
    stamps = [token for token in tokens if token >= timestamp_begin]
    duration_s = window.duration_s
    if stamps and stamps[-1] != timestamp_begin:
        duration_s = (stamps[-1] - timestamp_begin) * TOKEN_S
    piece = Piece(window.offset_s, window.offset_s + duration_s, tuple(tokens))
    return Cut((piece,), window.seek + window.size, silence)
