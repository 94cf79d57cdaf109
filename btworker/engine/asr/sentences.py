"""From a window's words to segments: a text that was decoded without timestamps is cut where a sentence ends, where
nobody speaks, and where it would be too long to read. Pure: no torch, no model.

The decoder gives the order of words, the alignment roughly their times, and the speech detector the silences:
a word that reaches into silence is cut off there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

TimedWord = Any
"""whisper.timing.WordTiming: word, tokens, start, end, probability; seconds from the window's start."""
Interval = tuple[float, float]
SENTENCE_ENDS = ".。!！?？…।؟"  # noqa: RUF001 - full-width marks and all
CLAUSE_ENDS = ",，、;；:："  # noqa: RUF001 - as above
CLOSING = "\"'”’»)]}」』"  # noqa: RUF001 - as above
PAUSE_S = 1.0
"""Seconds of silence that end a segment, whatever the text is."""
SHORTEST_S = 1.0
"""A sentence that is shorter takes the next one in: "Mr." ends none, and "No. No." is one line."""
LONGEST_S = 10.0
"""Longer segments are cut at a comma or a pause: two lines of subtitles hold about as much."""
EDGE_SHARE = 0.2
"""Of a long segment, at its beginning and its end, in which it is not cut."""
COMMA_S = 0.5
"""A comma is as good a place to cut as a pause of this length."""


def fit_to_speech(words: Sequence[TimedWord], speech: Sequence[Interval]) -> list[TimedWord]:
    """Move words out of silence; one that lies in silence as a whole stays as it is. A word with a silence in it was
    spoken after that: the alignment gives a pause to the word that follows.

    `speech` are the stretches in which somebody speaks, in order, on the words' own clock.
    """
    return [_fitted(word, [one for one in speech if one[0] < word.end and one[1] > word.start]) for word in words]


def _fitted(word: TimedWord, speech: Sequence[Interval]) -> TimedWord:
    if not speech:
        return word
    start, end = speech[-1]
    return replace(word, start=max(word.start, start), end=min(word.end, end))


def sentences(words: Sequence[TimedWord]) -> Iterator[Sequence[TimedWord]]:
    """Put the words of a window into segments."""
    first = 0
    for index, (word, following) in enumerate(pairwise(words), start=1):
        is_long_enough = word.end - words[first].start >= SHORTEST_S
        if following.start - word.end >= PAUSE_S or (is_long_enough and _ends_with(word, SENTENCE_ENDS)):
            yield from _readable(words[first:index])
            first = index
    if words:
        yield from _readable(words[first:])


def _readable(words: Sequence[TimedWord]) -> Iterator[Sequence[TimedWord]]:
    """Cut words into pieces that are short enough."""
    length_s = words[-1].end - words[0].start
    low, high = words[0].start + EDGE_SHARE * length_s, words[-1].end - EDGE_SHARE * length_s
    places = [index for index in range(1, len(words)) if low <= words[index].start <= high]
    if length_s <= LONGEST_S or not places:
        yield words
        return
    best = max(places, key=lambda index: _rest_before(words, index))
    yield from _readable(words[:best])
    yield from _readable(words[best:])


def _rest_before(words: Sequence[TimedWord], index: int) -> float:
    """Rate the place before this word as one to cut: the pause there in seconds, more after a comma."""
    pause_s: float = words[index].start - words[index - 1].end
    return pause_s + COMMA_S * _ends_with(words[index - 1], CLAUSE_ENDS)


def _ends_with(word: TimedWord, marks: str) -> bool:
    text: str = word.word
    return text.rstrip().rstrip(CLOSING).endswith(tuple(marks))
