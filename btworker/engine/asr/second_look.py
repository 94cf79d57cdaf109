"""Doubtful segments, decoded once more by themselves: whether their text comes out again. Runs in the child."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from btworker.engine.asr.timeline import FRAMES_PER_SECOND, WINDOW_FRAMES, WINDOW_S, Window
from btworker.engine.asr.transcriber import Transcriber
from btworker.engine.asr.weights import Model
from btworker.engine.cooperate.ticket import answers
from btworker.engine.quality.second_look import shares_there
from btworker.engine.sound.recording import Samples
from btworker.transcript import Segment

ROOM_S = 0.3
"""Around a segment, since times are inexact."""
LEAST_FRAMES = 30
"""Of a stretch: a segment without time has some sound, too."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Doubtful segments in a row, and their sound."""

    window: Window
    segments: tuple[Segment, ...]


class SecondLook:
    """Decodes stretches of one recording again."""

    def __init__(self, model: Model, samples: Samples, transcriber_for: Callable[[str], Transcriber]) -> None:
        """`transcriber_for` makes that of a language."""
        self._model = model
        self._samples = samples
        self._transcriber_for = cache(transcriber_for)

    async def shares(self, doubtful: Sequence[Segment], language: str) -> list[float]:
        """Find for each segment the share of its letters that come out again; 0 where nobody speaks, as far as the
        model can tell. `language` is that of segments that have none of their own."""
        stretches = list(stretches_of(doubtful, self._model.log_mel(self._samples).content_frames))
        at_once = self._model.decoder.batch_size
        shares: list[float] = []
        for first in range(0, len(stretches), at_once):  # no more spectrograms in memory than are decoded at once
            shares += await self._shares(stretches[first : first + at_once], language)
        return shares

    async def _shares(self, some: Sequence[Stretch], language: str) -> list[float]:
        mel = self._model.log_mel(self._samples)
        by = [self._transcriber_for(one.segments[0].language or language) for one in some]
        asked = [
            transcriber.submit_plainly(mel.window(one.window.seek, one.window.size, size=WINDOW_FRAMES))
            for transcriber, one in zip(by, some, strict=True)
        ]
        shares: list[float] = []
        for transcriber, one, decoded in zip(by, some, await answers(asked), strict=True):
            texts = [segment.text for segment in one.segments]
            again = decoded.text if transcriber.is_speech(decoded) else ""
            shares += shares_there(texts, again)
        return shares


def stretches_of(segments: Sequence[Segment], end: int) -> Iterator[Stretch]:
    """Put segments whose sound meets into one stretch, as far as it fits a window and is of one language. The
    recording ends at frame `end`."""
    row: list[Segment] = []
    for segment in segments:
        if row and not _meets(row, segment):
            yield Stretch(_window(row, end), tuple(row))
            row = []
        row.append(segment)
    if row:
        yield Stretch(_window(row, end), tuple(row))


def _meets(row: Sequence[Segment], segment: Segment) -> bool:
    last, length_s = row[-1], segment.end - row[0].start + 2 * ROOM_S
    return segment.start - last.end <= 2 * ROOM_S and length_s <= WINDOW_S and segment.language == last.language


def _window(row: Sequence[Segment], end: int) -> Window:
    """Find the sound of a row of segments; times that lie beyond the recording get its last frames."""
    low = min(max(0, int((row[0].start - ROOM_S) * FRAMES_PER_SECOND)), max(0, end - LEAST_FRAMES))
    high = min(int((row[-1].end + ROOM_S) * FRAMES_PER_SECOND) + 1, end)
    return Window(low, min(max(high - low, LEAST_FRAMES), WINDOW_FRAMES))
