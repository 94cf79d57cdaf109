"""Speech without text: what a reader would not notice is missing from a transcript.

The detector says where somebody speaks, the alignment where words are. Neither is exact: a word has some room around
it, and one that seems to last far longer than it can be spoken has swallowed others.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence

from btworker.transcript import Segment, Word

Interval = tuple[float, float]
MISSING_S = 1.0
"""Seconds of speech between words that are worth a word. Less is often a cough, a laugh, or a word's inexact time."""
MISSING_AT_EDGE_S = 0.5
"""Before the first word of a window and after its last, where decoders lose words."""
REACH_S = 0.2
"""Word times are inexact; a word covers as much around it."""
LONGEST_WORD_S, PER_LETTER_S = 1.0, 0.1
"""A word may last so long and so much longer for each of its letters; of one that lasts longer, the middle is not
covered. Slow speakers stay below."""


def uncovered(spans: Iterable[Interval], segments: Sequence[Segment]) -> tuple[Interval, ...]:
    """Stretches of speech of one window in which no word is: (start, end) in seconds, in order.

    `spans` are disjoint and in order. A segment without words covers all of its time if it has text.
    """
    cover = _merged(sorted(_intervals(segments)))
    first, last = (cover[0][0], cover[-1][1]) if cover else (float("inf"), float("-inf"))
    return tuple(
        (round(start, 3), round(end, 3))
        for start, end in _gaps(spans, cover)
        if end - start >= (MISSING_S if first < end and start < last else MISSING_AT_EDGE_S)
    )


def _gaps(spans: Iterable[Interval], cover: Sequence[Interval]) -> Iterator[Interval]:
    starts = [start for start, _ in cover]
    for start, end in spans:
        at = start
        low, high = max(bisect_right(starts, start) - 1, 0), bisect_left(starts, end)
        for covered_from, covered_to in cover[low:high]:
            if covered_from > at:
                yield at, covered_from
            at = max(at, covered_to)
        if end > at:
            yield at, end


def _intervals(segments: Iterable[Segment]) -> Iterator[Interval]:
    for segment in segments:
        spoken = [word for word in segment.words if word.word.strip()]
        if not spoken and segment.text.strip():
            yield segment.start - REACH_S, segment.end + REACH_S
        for word in spoken:
            yield from _covered_by(word)


def _covered_by(word: Word) -> Iterator[Interval]:
    longest_s = LONGEST_WORD_S + PER_LETTER_S * len(word.word.strip())
    if word.end - word.start <= longest_s:
        yield word.start - REACH_S, word.end + REACH_S
    else:  # whether it was spoken at its beginning or at its end, nobody knows
        yield word.start - REACH_S, word.start + longest_s / 2
        yield word.end - longest_s / 2, word.end + REACH_S


def _merged(intervals: Iterable[Interval]) -> list[Interval]:
    merged: list[Interval] = []
    for start, end in intervals:
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((start, end))
    return merged
