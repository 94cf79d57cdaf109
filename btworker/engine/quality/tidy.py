"""Times in order: no segment or word begins before the one before it, overlaps it, or passes the end of the audio."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

from btworker.transcript import Segment, Word

Interval = tuple[float, float]


def tidy(segments: Sequence[Segment], duration_s: float) -> tuple[Segment, ...]:
    """Return the segments in their order with all their text; only times change, and only where they have to.

    A start is believed before an end: who overlaps the next one ends where that begins. Words stay in their segment.
    """
    times = _ordered([(segment.start, segment.end) for segment in segments], 0.0, max(duration_s, 0.0))
    return tuple(
        replace(segment, start=start, end=end, words=_tidy_words(segment.words, start, end))
        for segment, (start, end) in zip(segments, times, strict=True)
    )


def words_inside(segments: Sequence[Segment]) -> tuple[Segment, ...]:
    """Return the segments as they are, with the times of their words moved into them.

    openai-whisper ends a segment before its last word where that is too long, and begins one after its first word.
    """
    return tuple(replace(one, words=_tidy_words(one.words, one.start, one.end)) for one in segments)


def _tidy_words(words: Sequence[Word], low: float, high: float) -> tuple[Word, ...]:
    times = _ordered([(word.start, word.end) for word in words], low, high)
    return tuple(replace(word, start=start, end=end) for word, (start, end) in zip(words, times, strict=True))


def _ordered(times: Sequence[Interval], low: float, high: float) -> list[Interval]:
    """Starts that never go back, ends between their start and the next one's; all of it from `low` to `high`."""
    starts = list(accumulate((_inside(start, low, high) for start, _ in times), max))
    limits = [*starts[1:], high]
    return [
        (start, min(max(_inside(end, low, high), start), limit))
        for start, (_, end), limit in zip(starts, times, limits, strict=False)
    ]


def _inside(time: float, low: float, high: float) -> float:
    """Clamp a number; a NaN of a broken model becomes the lowest."""
    return min(max(low, time), high)
