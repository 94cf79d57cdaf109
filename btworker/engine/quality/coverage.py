"""Speech without text: what nobody would notice is missing from a transcript."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence

from btworker.transcript import Segment

Interval = tuple[float, float]
MISSING_S = 2.0
"""Seconds of speech that are worth a word. Less is often a cough, a laugh, or a word's inexact time."""
REACH_S = 0.3
"""Word times are inexact; a word covers as much around it."""


def uncovered(
    spans: Iterable[Interval], segments: Sequence[Segment], *, min_s: float = MISSING_S
) -> tuple[Interval, ...]:
    """Stretches of speech, at least `min_s` seconds long, in which no word is: (start, end) in seconds, in order.

    `spans` are disjoint and in order. A segment without words covers all of its time if it has text.
    """
    cover = _merged(sorted(_intervals(segments)))
    starts = [start for start, _ in cover]
    found: list[Interval] = []
    for start, end in spans:
        at = start
        first, last = max(bisect_right(starts, start) - 1, 0), bisect_left(starts, end)
        for covered_from, covered_to in cover[first:last]:
            found.append((at, covered_from))
            at = max(at, covered_to)
        found.append((at, end))
    return tuple((round(start, 3), round(end, 3)) for start, end in found if end - start >= min_s)


def _intervals(segments: Iterable[Segment]) -> Iterator[Interval]:
    for segment in segments:
        spoken = [word for word in segment.words if word.word.strip()]
        if spoken:
            yield from ((word.start - REACH_S, word.end + REACH_S) for word in spoken)
        elif segment.text.strip():
            yield segment.start - REACH_S, segment.end + REACH_S


def _merged(intervals: Iterable[Interval]) -> list[Interval]:
    merged: list[Interval] = []
    for start, end in intervals:
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((start, end))
    return merged
