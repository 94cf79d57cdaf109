"""Word errors, and where words were lost or invented. Pure but for whisper's own normalizers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

from whisper.normalizers import BasicTextNormalizer, EnglishTextNormalizer

from bench.real.transcripts import Heard, HeardSegment

WITHOUT_SPACES = ("ja", "zh", "ko", "yue", "th")
"""Languages whose letters are counted in place of words."""
LOST_WORDS = 2
"""In a row that make a loss; one word alone is as often a matter of spelling."""
INVENTED_WORDS = 3
NEAR_S = 0.5
"""A place that an engine lists may begin or end that far from where words are missing: word times are inexact."""
STRETCH_S = 0.5
"""Length from which on a stretch that one engine has and the other has not counts."""


@dataclass(frozen=True)
class Errors:
    """The fewest word edits from the reference to the transcript."""

    substituted: int = 0
    deleted: int = 0
    inserted: int = 0
    words: int = 0

    @property
    def count(self) -> int:
        """All of them."""
        return self.substituted + self.deleted + self.inserted

    @property
    def percent(self) -> float:
        """Word error rate."""
        return 100 * self.count / self.words if self.words else 0.0

    def __add__(self, other: "Errors") -> "Errors":
        return Errors(
            self.substituted + other.substituted,
            self.deleted + other.deleted,
            self.inserted + other.inserted,
            self.words + other.words,
        )


@dataclass(frozen=True)
class Place:
    """Words in a row that one text has and the other has not."""

    words: tuple[str, ...]
    start: float
    """Seconds: between the neighbours that both have."""
    end: float


@cache
def _normalizer(language: str) -> Any:
    if language in {"en", ""}:
        return EnglishTextNormalizer()
    return BasicTextNormalizer(split_letters=language in WITHOUT_SPACES)


def plain_words(text: str, language: str) -> list[str]:
    """Words as whisper's own evaluation compares them."""
    return list(_normalizer(language)(text).split())


def edits(reference: Sequence[str], found: Sequence[str]) -> list[tuple[int | None, int | None]]:
    """The fewest edits, in order: (place in the reference, place in what was found), None where there is none."""
    n, m = len(reference), len(found)
    cost = [list(range(m + 1))]
    for i, word in enumerate(reference):
        row = [i + 1]
        for j, other in enumerate(found):
            row.append(min(cost[i][j] + (word != other), cost[i][j + 1] + 1, row[j] + 1))
        cost.append(row)
    i, j = n, m
    path: list[tuple[int | None, int | None]] = []
    while i or j:
        if i and j and cost[i][j] == cost[i - 1][j - 1] + (reference[i - 1] != found[j - 1]):
            i, j = i - 1, j - 1
            path.append((i, j))
        elif i and cost[i][j] == cost[i - 1][j] + 1:
            i -= 1
            path.append((i, None))
        else:
            j -= 1
            path.append((None, j))
    return path[::-1]


def errors(reference: str, text: str, language: str) -> Errors:
    """Of one transcript."""
    wanted, found = plain_words(reference, language), plain_words(text, language)
    path = edits(wanted, found)
    return Errors(
        sum(i is not None and j is not None and wanted[i] != found[j] for i, j in path),
        sum(j is None for _, j in path),
        sum(i is None for i, _ in path),
        len(wanted),
    )


def timed_words(heard: Heard, language: str) -> list[tuple[str, float, float]]:
    """Normalized words with the seconds of the words that they came from. Each is normalized by itself, so that numbers
    of several words stay apart: for places, not for rates."""
    return [(plain, word.start, word.end) for word in heard.words for plain in plain_words(word.text, language)]


def losses(reference: str, heard: Heard, language: str) -> list[Place]:
    """Where words of the reference have nothing in their place."""
    wanted, found = plain_words(reference, language), timed_words(heard, language)
    path = edits(wanted, [word for word, _, _ in found])
    places = []
    for words, before, after in _runs(path, deleted=True):
        if len(words) >= LOST_WORDS:
            start = found[before][2] if before is not None else 0.0
            end = found[after][1] if after is not None else float("inf")
            places.append(Place(tuple(wanted[index] for index in words), start, end))
    return places


def inventions(reference: str, heard: Heard, language: str) -> list[Place]:
    """Where the transcript has words that the reference has nothing for."""
    wanted, found = plain_words(reference, language), timed_words(heard, language)
    path = edits(wanted, [word for word, _, _ in found])
    return [
        Place(tuple(found[index][0] for index in words), found[words[0]][1], found[words[-1]][2])
        for words, _, _ in _runs(path, deleted=False)
        if len(words) >= INVENTED_WORDS
    ]


def only_in(reference: str, other: Heard, heard: Heard, language: str) -> list[Place]:
    """Stretches of at least STRETCH_S in which the other transcript has words, rightly, and this one has none; by the
    other's times."""
    spoken, wanted, found = plain_words(reference, language), timed_words(other, language), timed_words(heard, language)
    theirs = [word for word, _, _ in wanted]
    right = {j for i, j in edits(spoken, theirs) if i is not None and j is not None and spoken[i] == theirs[j]}
    path = edits(theirs, [word for word, _, _ in found])
    lost = [[index for index in words if index in right] for words, _, _ in _runs(path, deleted=True)]
    places = [
        Place(tuple(theirs[index] for index in words), wanted[words[0]][1], wanted[words[-1]][2])
        for words in lost
        if words
    ]
    return [place for place in places if place.end - place.start >= STRETCH_S]


def _runs(
    path: Sequence[tuple[int | None, int | None]], *, deleted: bool
) -> Iterator[tuple[list[int], int | None, int | None]]:
    """Edits of one kind in a row: their places, and the places in the transcript before and after them."""
    side, other = (0, 1) if deleted else (1, 0)
    at: int | None = None
    steps = [(is_run, list(group)) for is_run, group in groupby(path, key=lambda edit: edit[other] is None)]
    for number, (is_run, group) in enumerate(steps):
        if not is_run:
            at = group[-1][1]
            continue
        following = steps[number + 1][1][0][1] if number + 1 < len(steps) else None
        yield [index for edit in group if (index := edit[side]) is not None], at, following


def time_differences(one: Heard, other: Heard, language: str) -> list[float]:
    """Seconds between the beginnings of the same word in two transcripts."""
    first, second = timed_words(one, language), timed_words(other, language)
    path = edits([word for word, _, _ in first], [word for word, _, _ in second])
    return [
        abs(first[i][1] - second[j][1])
        for i, j in path
        if i is not None and j is not None and first[i][0] == second[j][0]
    ]


def is_listed(place: Place, heard: Heard) -> bool:
    """Whether the engine itself says that speech is missing there."""
    return any(start < place.end + NEAR_S and end > place.start - NEAR_S for start, end in heard.missing)


def is_flagged(place: Place, heard: Heard) -> bool:
    """Whether a segment that the words are in is flagged."""
    return any(segment.flagged for segment in _segments_at(place, heard))


def _segments_at(place: Place, heard: Heard) -> list[HeardSegment]:
    return [segment for segment in heard.segments if segment.start < place.end and segment.end > place.start]
