"""Which segments are invented: by the words that people wrote down, and when they are spoken. Pure.

invented
    text where no word is spoken; or three words and more, of which at most one in five is like one that is spoken then,
    in their order: "begile" is like "beguile".
real
    half of its words or more are spoken then, to the letter.
What lies between is a bad transcription: it is counted by itself, as neither. So are a text without words, and the
right words at a wrong time: half of them or more, to the letter, are the recording's, up to three seconds away.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from operator import eq

from bench.real.scoring import edits, plain_words
from btworker.transcript import Segment

AROUND_S = 1.0
"""Words that far from a segment may be its own: times are inexact."""
NEAR_S = 0.25
"""No word is that near to text where nobody speaks."""
SHARED_BY_INVENTIONS = 0.2
SHARED_BY_REAL = 0.5
FEWEST_WORDS = 3
"""Of less, a misspelling may leave none."""
WRONG_S = 3.0
"""Right words may be that far from their time."""
LIKE = 0.6
"""Share of the letters of two words that are the same, in their order."""
INVENTED, REAL, BETWEEN, WORDLESS = "invented", "real", "between", "wordless"


@dataclass(frozen=True, slots=True)
class Spoken:
    """A word as plain_words() gives it, and its seconds."""

    word: str
    start: float
    end: float


def plain(text: str, language: str) -> list[str]:
    """Words to compare. Numbers are told digit by digit: whisper's normalizer makes "123" of "one, two, three", and
    leaves "1, 2, 3" as it is."""
    return [part for word in _words(text, language) for part in (word if word.isdecimal() else [word])]


def _words(text: str, language: str) -> list[str]:
    """Words; what is in brackets is spoken, too."""
    return plain_words(text.translate(str.maketrans("()[]", "    ")), language)


def labels(segments: Sequence[Segment], spoken: Sequence[Spoken], language: str) -> list[str]:
    """Say which of the four each segment of a transcript is."""
    found = [label(one.text, one.start, one.end, spoken, language) for one in segments]
    late = _at_a_wrong_time(segments, spoken, language)
    return [BETWEEN if one == INVENTED and number in late else one for number, one in enumerate(found)]


def _at_a_wrong_time(segments: Sequence[Segment], spoken: Sequence[Spoken], language: str) -> set[int]:
    """Find the segments whose words are the recording's where both are aligned as a whole."""
    words = [(number, word) for number, one in enumerate(segments) for word in plain(one.text, language)]
    right = Counter[int]()
    for i, j in edits([one.word for one in spoken], [word for _, word in words]):
        if i is not None and j is not None and spoken[i].word == words[j][1]:
            one = segments[words[j][0]]
            right[words[j][0]] += spoken[i].end > one.start - WRONG_S and spoken[i].start < one.end + WRONG_S
    counts = Counter(number for number, _ in words)
    return {number for number, count in counts.items() if right[number] >= SHARED_BY_REAL * count}


def label(text: str, start: float, end: float, spoken: Sequence[Spoken], language: str) -> str:
    """Say which of the four a segment is, by its own words and times."""
    words = plain(text, language)
    if not words:
        return WORDLESS
    if not any(word.end > start - NEAR_S and word.start < end + NEAR_S for word in spoken):
        return INVENTED
    near = [word.word for word in spoken if word.end > start - AROUND_S and word.start < end + AROUND_S]
    if shared(near, words, eq) >= SHARED_BY_REAL * len(words):
        return REAL
    is_other = shared(near, words, is_like) <= SHARED_BY_INVENTIONS * len(words)
    return INVENTED if is_other and len(_words(text, language)) >= FEWEST_WORDS else BETWEEN


def shared(spoken: Sequence[str], words: Sequence[str], same: Callable[[str, str], bool]) -> int:
    """Count the most words that both have in the same order."""
    row = [0] * (len(words) + 1)
    for one in spoken:
        before, row = row, [0]
        for j, other in enumerate(words):
            row.append(max(before[j] + 1 if same(one, other) else 0, before[j + 1], row[j]))
    return row[-1]


@lru_cache(maxsize=1 << 16)
def is_like(one: str, other: str) -> bool:
    """Whether two words are the same but for a few letters."""
    return one == other or SequenceMatcher(None, one, other).ratio() >= LIKE


def timed(reference: str, found: Sequence[tuple[str, float, float]], language: str, seconds: float) -> list[Spoken]:
    """Give the words of a reference the times of a transcript's: (word, start, end); what the transcript has not lies
    between its neighbours."""
    wanted = plain(reference, language)
    parts = [(part, low, high) for word, low, high in found for part in plain(word, language)]
    times: dict[int, tuple[float, float]] = {}
    for i, j in edits(wanted, [part for part, _, _ in parts]):
        if i is not None and j is not None:
            times[i] = parts[j][1:]
    known = sorted(times)
    spoken = []
    for index, word in enumerate(wanted):
        before = max((one for one in known if one <= index), default=None)
        after = min((one for one in known if one >= index), default=None)
        low = times[before][0 if before == index else 1] if before is not None else 0.0
        high = times[after][1 if after == index else 0] if after is not None else seconds
        spoken.append(Spoken(word, low, max(low, high)))
    return spoken
