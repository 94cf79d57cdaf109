"""Transcript -> cues, for srt and vtt: where a subtitle begins and ends, and how its lines break.

The rules are those of openai-whisper's SubtitlesWriter. With word times a cue is laid out word by word; without them
every segment is one cue. What differs: no text can break the file ("-->" at any length, or a blank line inside a cue).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from btworker.outputs.presentation import Presentation, milliseconds
from btworker.transcript import Segment, Transcript, Word

LONG_PAUSE_S = 3.0
UNLIMITED_WIDTH = 1000
_ARROW = re.compile(r"-{2,}>")
_LINE_BREAK = re.compile(r"[\r\n]+")
_WORD_IN_SPACE = re.compile(r"^(\s*)(.*)$")


class Cue(NamedTuple):
    """One subtitle: from, to, and what it says."""

    start_ms: int
    end_ms: int
    text: str
    speaker: str | None = None
    """Who says it, where that is known; a cue is never of two."""


def cues(transcript: Transcript, presentation: Presentation) -> Iterator[Cue]:
    """All subtitles in order of time."""
    if any(segment.words for segment in transcript.segments):
        yield from _cues_of_words(transcript.segments, presentation)
        return
    for segment in transcript.segments:
        text = _LINE_BREAK.sub(" ", segment.text.strip())
        yield Cue(milliseconds(segment.start), milliseconds(segment.end), _safe(text), segment.speaker)


def _cues_of_words(segments: tuple[Segment, ...], presentation: Presentation) -> Iterator[Cue]:
    for page in _Layout(presentation).pages(segments):
        if presentation.highlight_words:
            yield from _highlighted(page)
        else:
            text = "".join(word.word for word in page)
            yield Cue(milliseconds(page[0].start), milliseconds(page[-1].end), _safe(text), page[0].speaker)


def _highlighted(page: list[Word]) -> Iterator[Cue]:
    """The page once per word, that word underlined; and plain in the pauses between words."""
    plain = _safe("".join(word.word for word in page))
    last_ms = milliseconds(page[0].start)
    for index, word in enumerate(page):
        start_ms, end_ms = milliseconds(word.start), milliseconds(word.end)
        if last_ms != start_ms:
            yield Cue(last_ms, start_ms, plain, word.speaker)
        marked = _WORD_IN_SPACE.sub(r"\1<u>\2</u>", word.word)
        shown = "".join(marked if i == index else w.word for i, w in enumerate(page))
        yield Cue(start_ms, end_ms, _safe(shown), word.speaker)
        last_ms = end_ms


def _safe(text: str) -> str:
    return _ARROW.sub("->", text)


@dataclass(slots=True)
class _Page:
    """A subtitle in the making."""

    words: list[Word]
    line_length: int = 0
    lines: int = 1


class _Layout:
    """Fills pages with words. A segment is a page of its own, unless both limits are given."""

    def __init__(self, presentation: Presentation) -> None:
        self._width = presentation.max_line_width or UNLIMITED_WIDTH
        self._count = presentation.max_line_count
        self._keep_segments = presentation.max_line_count is None or presentation.max_line_width is None

    def pages(self, segments: tuple[Segment, ...]) -> Iterator[list[Word]]:
        """Words by subtitle; a line break is a newline in front of a word."""
        page = _Page([])
        last_start = next((word.start for segment in segments for word in segment.words), 0.0)
        for segment in segments:
            for index, spoken in enumerate(segment.words):
                word = replace(spoken, word=_LINE_BREAK.sub(" ", spoken.word))
                pause = not self._keep_segments and word.start - last_start > LONG_PAUSE_S
                new_segment = index == 0 and bool(page.words) and self._keep_segments
                new_segment |= bool(page.words) and word.speaker != page.words[-1].speaker
                if self._ends_page(page, word, pause=pause, new_segment=new_segment):
                    yield page.words
                    page = _Page([])
                self._put(page, word, new_line=pause or new_segment)
                last_start = word.start
        if page.words:
            yield page.words

    def _has_room(self, page: _Page, word: Word) -> bool:
        return page.line_length > 0 and page.line_length + len(word.word) <= self._width

    def _ends_page(self, page: _Page, word: Word, *, pause: bool, new_segment: bool) -> bool:
        if new_segment:
            return True
        if not page.words or self._count is None or (self._has_room(page, word) and not pause):
            return False
        return pause or page.lines >= self._count

    def _put(self, page: _Page, word: Word, *, new_line: bool) -> None:
        if self._has_room(page, word) and not new_line:
            page.line_length += len(word.word)
            page.words.append(word)
            return
        stripped = word.word.strip()
        if page.line_length > 0:
            page.lines += 1
            page.words.append(replace(word, word="\n" + stripped))
        else:
            page.words.append(replace(word, word=stripped))
        page.line_length = len(stripped)
