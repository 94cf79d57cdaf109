"""Transcript -> cues, for srt and vtt: where a subtitle begins and ends, and how its lines break.

The rules are those of openai-whisper's SubtitlesWriter. With word times a cue is laid out word by word; without them
every segment is one cue. What differs: every cue has text and a length, cues follow one another in time, a segment
without word times keeps its text, and no text can break the file or pass for markup.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import merge
from typing import NamedTuple

from btworker.outputs.presentation import Presentation, is_visible, milliseconds, one_line, voice_of
from btworker.outputs.spans import Span, separate
from btworker.transcript import Segment, Transcript, Word

LONG_PAUSE_S = 3.0
UNLIMITED_WIDTH = 1000
_WORD_IN_SPACE = re.compile(r"^(\s*)(.*)$")
_WORD_AFTER_SPACE = re.compile(r"\s*\S+")

Escape = Callable[[str], str]
"""Text -> text that the format takes for no markup."""


class Cue(NamedTuple):
    """One subtitle: from, to, and its text with the writer's own markup."""

    start_ms: int
    end_ms: int
    text: str
    speaker: str | None = None
    """Who speaks, or the channel, where that is known; a cue is never of two."""


def cues(transcript: Transcript, presentation: Presentation, escape: Escape) -> Iterator[Cue]:
    """All subtitles in order of time; those of one channel, or of the mix, do not overlap."""
    channels = sorted({segment.channel or 0 for segment in transcript.segments})
    lines = [
        list(_cues_of([one for one in transcript.segments if (one.channel or 0) == number], presentation, escape))
        for number in channels
    ]
    return merge(*lines, key=lambda cue: cue.start_ms)


def _cues_of(segments: Sequence[Segment], presentation: Presentation, escape: Escape) -> Iterator[Cue]:
    in_order = sorted(segments, key=lambda segment: segment.start)
    has_words = any(segment.words for segment in in_order)
    pages = list(_Layout(presentation).pages(in_order) if has_words else _pages_of_segments(in_order))
    spoken = sorted((page for page in pages if is_visible(_text(page))), key=lambda page: _span(page)[0])
    for page, span in zip(spoken, separate([_span(page) for page in spoken]), strict=True):
        if has_words and presentation.highlight_words:
            yield from _highlighted(page, span, escape)
        else:
            yield Cue(*span, escape(_text(page)), voice_of(page[0]))


def _pages_of_segments(segments: Sequence[Segment]) -> Iterator[list[Word]]:
    """Each segment as if it were one long word."""
    for one in segments:
        yield [Word(one_line(one.text).strip(), one.start, one.end, 0.0, one.speaker, channel=one.channel)]


def _text(page: list[Word]) -> str:
    return "".join(word.word for word in page)


def _span(page: list[Word]) -> Span:
    return min(milliseconds(word.start) for word in page), max(milliseconds(word.end) for word in page)


def _highlighted(page: list[Word], page_span: Span, escape: Escape) -> Iterator[Cue]:
    """The page once per word, that word underlined; and plain in the pauses between words. A word for which the page
    has no time left is not underlined."""
    last_ms, page_end_ms = page_span
    plain, speaker = escape(_text(page)), voice_of(page[0])
    for index, (word_start_ms, word_end_ms) in enumerate(separate(_word_spans(page))):
        start_ms, end_ms = max(word_start_ms, last_ms), min(word_end_ms, page_end_ms)
        if end_ms <= start_ms:
            continue
        if last_ms < start_ms:
            yield Cue(last_ms, start_ms, plain, speaker)
        yield Cue(start_ms, end_ms, _underlined(page, index, escape), speaker)
        last_ms = end_ms
    if last_ms == page_span[0]:
        yield Cue(*page_span, plain, speaker)


def _word_spans(page: list[Word]) -> list[Span]:
    """In the order of the text, and so of the starts."""
    spans: list[Span] = []
    for word in page:
        earliest_ms = spans[-1][0] if spans else 0
        spans.append((max(milliseconds(word.start), earliest_ms), milliseconds(word.end)))
    return spans


def _underlined(page: list[Word], index: int, escape: Escape) -> str:
    before, after = _text(page[:index]), _text(page[index + 1 :])
    match = _WORD_IN_SPACE.match(page[index].word)
    space, word = match.groups() if match else ("", page[index].word)
    return f"{escape(before)}{space}<u>{escape(word)}</u>{escape(after)}"


def _words(segment: Segment) -> Iterator[Word]:
    """The segment's words, each on one line and visible: what is white space alone stands before the next word."""
    space = ""
    for word in segment.words if is_visible(_text(list(segment.words))) else _evenly_timed(segment):
        text = space + one_line(word.word)
        if text.strip():
            yield replace(word, word=text)
        space = "" if text.strip() else text


def _evenly_timed(segment: Segment) -> Iterator[Word]:
    """The words of a segment that has no times for them, spread over its length by their letters."""
    text = one_line(segment.text)
    per_letter_s = (segment.end - segment.start) / max(len(text), 1)
    for match in _WORD_AFTER_SPACE.finditer(text):
        is_last = not text[match.end() :].strip()
        end = segment.end if is_last else segment.start + match.end() * per_letter_s
        start = segment.start + match.start() * per_letter_s
        yield Word(match[0], start, end, 0.0, segment.speaker, channel=segment.channel)


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

    def pages(self, segments: Sequence[Segment]) -> Iterator[list[Word]]:
        """Words by subtitle; a line break is a newline in front of a word."""
        page = _Page([])
        last_start: float | None = None
        for segment in segments:
            for index, word in enumerate(_words(segment)):
                silence_s = word.start - (word.start if last_start is None else last_start)
                pause = not self._keep_segments and silence_s > LONG_PAUSE_S
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
