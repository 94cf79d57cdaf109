"""Who said which word: turns and words brought together. Pure; seconds are seconds of audio.

A word belongs to the turn that it overlaps most. One that no turn reaches belongs to the nearest turn, and is marked as
inferred. A segment in which the speaker changes becomes several.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, groupby
from typing import Any

from btworker.logprobs import TokenLogprob
from btworker.transcript import Segment, Turn, Word


def in_order_of_appearance(turns: Iterable[Turn]) -> tuple[Turn, ...]:
    """Sort turns by time and rename their speakers: who speaks first is SPEAKER_00."""
    known = tuple(turns)
    return renamed_alike(known, known)


def renamed_alike(turns: Iterable[Turn], others: Iterable[Turn]) -> tuple[Turn, ...]:
    """Sort turns by time, under the names that the speakers of `others` get in order of appearance."""
    names = names_by_appearance(others)
    return tuple(replace(turn, speaker=names[turn.speaker]) for turn in sorted(turns, key=_when))


def names_by_appearance(turns: Iterable[Turn]) -> dict[str, str]:
    """Find the names that speakers get: who speaks first is SPEAKER_00."""
    names: dict[str, str] = {}
    for turn in sorted(turns, key=_when):
        names.setdefault(turn.speaker, f"SPEAKER_{len(names):02d}")
    return names


def _when(turn: Turn) -> tuple[float, float, str]:
    return turn.start, turn.end, turn.speaker


def with_speakers(segments: Sequence[Segment], turns: Sequence[Turn]) -> tuple[Segment, ...]:
    """Give segments a speaker each, numbered anew where any was split; as they are where there are no turns.

    A part of a split segment keeps its own words and times. Its tokens are empty: whisper does not say which token is
    in which word.
    """
    if not turns:
        return tuple(segments)
    timeline = Timeline(turns)
    parts = [part for segment in segments for part in _parts(segment, timeline)]
    return tuple(replace(part, id=number) for number, part in enumerate(parts))


class Timeline:
    """Answers whose turn a span of time is. Turns may overlap."""

    def __init__(self, turns: Sequence[Turn]) -> None:
        self._turns = sorted(turns, key=lambda turn: turn.start)
        self._starts = [turn.start for turn in self._turns]
        self._latest_ends = list(accumulate((turn.end for turn in self._turns), max))

    def speaker(self, start: float, end: float) -> tuple[str, bool]:
        """(speaker, inferred) of a span: who speaks longest in it, else who speaks nearest to it."""
        shares: dict[str, float] = {}
        for turn in self._reaching(start, end):
            overlap = min(end, turn.end) - max(start, turn.start)
            if overlap > 0 or turn.start <= start < turn.end:  # a word may have no length
                shares[turn.speaker] = shares.get(turn.speaker, 0.0) + overlap
        if shares:
            return max(shares, key=lambda name: shares[name]), False
        return self._nearest(start, end), True

    def _reaching(self, start: float, end: float) -> Iterator[Turn]:
        """Yield turns that begin before `end` and may last beyond `start`, the latest first."""
        place = bisect_left(self._starts, max(end, start + 1e-9))
        while place and self._latest_ends[place - 1] > start:
            place -= 1
            yield self._turns[place]

    def _nearest(self, start: float, end: float) -> str:
        place = bisect_left(self._starts, start)
        following = self._turns[place] if place < len(self._turns) else None
        before = max(self._turns[:place], key=lambda turn: turn.end) if place else None
        if before is None or following is None:
            return (following or before or self._turns[0]).speaker
        return (before if start - before.end <= following.start - end else following).speaker


def _parts(segment: Segment, timeline: Timeline) -> list[Segment]:
    if not segment.words:
        name, inferred = timeline.speaker(segment.start, segment.end)
        return [replace(segment, speaker=name, speaker_inferred=inferred)]
    words = [_named(word, timeline) for word in segment.words]
    runs = [list(run) for _, run in groupby(words, key=lambda word: word.speaker)]
    if len(runs) == 1:
        return [replace(segment, words=tuple(words), **_whose(words))]
    return [
        replace(
            segment,
            start=segment.start if number == 0 else run[0].start,
            end=segment.end if number == len(runs) - 1 else run[-1].end,
            text="".join(word.word for word in run),
            tokens=(),
            words=tuple(run),
            logprobs=logprobs,
            **_whose(run),
        )
        for number, (run, logprobs) in enumerate(zip(runs, _logprobs(segment, runs), strict=True))
    ]


def _logprobs(segment: Segment, runs: Sequence[Sequence[Word]]) -> Iterator[tuple[TokenLogprob, ...]]:
    """Yield those of each run, by where its words end; a token on a border goes to the one in which it begins."""
    place, tokens, end = 0, list(segment.logprobs), 0
    for number, run in enumerate(runs, 1):
        end += sum(len(word.word.encode()) for word in run)
        found = []
        while tokens and (place < end or number == len(runs)):
            found.append(tokens.pop(0))
            place += len(found[-1].data)
        yield tuple(found)


def _named(word: Word, timeline: Timeline) -> Word:
    name, inferred = timeline.speaker(word.start, word.end)
    return replace(word, speaker=name, speaker_inferred=inferred)


def _whose(run: list[Word]) -> dict[str, Any]:
    return {"speaker": run[0].speaker, "speaker_inferred": all(word.speaker_inferred for word in run)}
