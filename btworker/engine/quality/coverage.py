"""Speech without text: what a reader would not notice is missing from a transcript.

The detector says where somebody speaks, the alignment where words are. Neither is exact: a word has some room around
it, and one that seems to last far longer than it can be spoken has swallowed others. Words that are spread over what
was left out hide it; the decoder's attention shows it all the same: while it wrote the text, it did not look there.
The other way round, words that were not spoken get no time.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import numpy as np
import numpy.typing as npt

from btworker.transcript import Segment, Word

Interval = tuple[float, float]
Attention = npt.NDArray[np.float32]
"""The most attention that a token of the text pays to each 20 ms of a window."""
ATTENTION_STEP_S = 0.02
SMOOTH_STEPS = 9
"""Attention jumps from word to word; a mean over 0.18 s has no holes between them."""
LITTLE = 0.25
"""Share of its mean in the window's speech below which attention is little."""
UNATTENDED_S = 0.5
"""Seconds of speech without attention that are worth a word. On real speech that was written out in full, 0.46 s were
the most but for stutters (docs/quality.md)."""
SPEECH_EDGE_S = 0.1
"""The detector's edges are inexact: at those of speech nothing is looked for."""
NO_TIME_S, CROWD = 0.04, 3
"""So many words in a row that last no longer were not spoken there; two come now and then in fast speech."""
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


def unattended(spans: Iterable[Interval], attention: Attention, offset_s: float) -> tuple[Interval, ...]:
    """Stretches of speech of one window that the text's tokens do not attend to, as uncovered() gives them.

    The window begins at `offset_s` seconds of the recording.
    """
    spoken = np.zeros(len(attention), dtype=bool)
    for start, end in spans:
        low, high = (
            round((edge - offset_s) / ATTENTION_STEP_S) for edge in (start + SPEECH_EDGE_S, end - SPEECH_EDGE_S)
        )
        spoken[max(low, 0) : max(high, 0)] = True
    if not spoken.any():
        return ()
    smooth = np.convolve(
        np.pad(attention, SMOOTH_STEPS // 2, mode="edge"), np.full(SMOOTH_STEPS, 1 / SMOOTH_STEPS), "valid"
    )
    little = spoken & (smooth < LITTLE * attention[spoken].mean())
    edges = np.flatnonzero(np.diff(little, prepend=False, append=False)).tolist()
    return tuple(
        (round(offset_s + first * ATTENTION_STEP_S, 3), round(offset_s + last * ATTENTION_STEP_S, 3))
        for first, last in zip(edges[::2], edges[1::2], strict=True)
        if last - first >= round(UNATTENDED_S / ATTENTION_STEP_S)
    )


def is_crowded(lengths_s: Iterable[float]) -> bool:
    """Whether words in a row got no time; `lengths_s` are those of a window's words, as they were aligned."""
    return any(not long and len(list(run)) >= CROWD for long, run in groupby(one > NO_TIME_S for one in lengths_s))


def joined(*kinds: Iterable[Interval]) -> tuple[Interval, ...]:
    """Put stretches of several kinds together, in order; those that meet become one."""
    return tuple(_merged(sorted(interval for kind in kinds for interval in kind)))


def total_s(some: Iterable[Interval]) -> float:
    """Compute how long disjoint stretches are together."""
    return sum(end - start for start, end in some)


def apart(some: Iterable[Interval], others: Sequence[Interval]) -> tuple[Interval, ...]:
    """List those of some stretches that meet none of the others."""
    return tuple(one for one in some if not any(one[0] <= end and start <= one[1] for start, end in others))


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
