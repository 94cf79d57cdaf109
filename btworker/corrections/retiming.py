"""A segment's new text -> its words, at their times: words that were there before keep theirs, and what is new shares
the time between them by its letters."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

from btworker.transcript import Segment, Word

LEAST_S = 0.05
"""Seconds that a word needs; where there is less between its neighbours, one of them gives of its own."""
CERTAIN = 1.0
"""Probability of a word that somebody wrote."""
_WITHOUT_SPACES = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Kana and Han, whose words have no spaces between them: each sign is timed by itself."""
_PIECE = re.compile(rf"\s*(?:[{_WITHOUT_SPACES}]|[^\s{_WITHOUT_SPACES}]+)")
_NOT_LETTERS = re.compile(r"[\W_]+")


@dataclass(slots=True)
class _Piece:
    """A word of the new text; without times until it has some."""

    text: str
    old: Word | None = None


def retimed(segment: Segment, text: str) -> tuple[Word, ...]:
    """The words of a segment that gets another text; none where it had none."""
    if not segment.words:
        return ()
    old = [piece for word in segment.words for piece in _split(word)]
    new = [_Piece(found[0]) for found in _PIECE.finditer(text)]
    matcher = SequenceMatcher(None, [_key(one.word) for one in old], [_key(one.text) for one in new], autojunk=False)
    for block in matcher.get_matching_blocks():
        for offset in range(block.size):
            new[block.b + offset].old = old[block.a + offset]
    return tuple(_timed(new, segment))


def _timed(pieces: list[_Piece], segment: Segment) -> list[Word]:
    words: list[Word] = []
    at = 0
    while at < len(pieces):
        kept = pieces[at].old
        if kept is not None:
            words.append(kept if kept.word == pieces[at].text else replace(kept, word=pieces[at].text))
            at += 1
            continue
        end = next((index for index in range(at, len(pieces)) if pieces[index].old), len(pieces))
        run = [piece.text for piece in pieces[at:end]]
        following = pieces[end].old if end < len(pieces) else None
        words += _between(words, run, following.start if following else segment.end, segment)
        at = end
    return words


def _between(words: list[Word], run: list[str], end: float, segment: Segment) -> list[Word]:
    """Time new words behind those that are timed, up to `end`; the last of these makes room where there is none."""
    start = words[-1].end if words else segment.start
    if words and end - start < LEAST_S * len(run):
        last = words.pop()
        run, start = [last.word, *run], last.start
    speaker = words[-1].speaker if words else segment.words[0].speaker
    return _spread(run, start, max(end, start), replace(segment.words[0], probability=CERTAIN, speaker=speaker))


def _split(word: Word) -> list[Word]:
    """A word as its pieces, which share its time."""
    pieces = _PIECE.findall(word.word)
    return [word] if len(pieces) <= 1 else _spread(pieces, word.start, word.end, word)


def _spread(texts: Sequence[str], start: float, end: float, like: Word) -> list[Word]:
    """Words one behind the other, each as long as its letters make it."""
    letters = [max(len(text.strip()), 1) for text in texts]
    per_letter_s = (end - start) / sum(letters)
    words, done = [], 0
    for text, count in zip(texts, letters, strict=True):
        first_s, last_s = (round(start + place * per_letter_s, 3) for place in (done, done + count))
        words.append(replace(like, word=text, start=first_s, end=last_s))
        done += count
    return words


def _key(text: str) -> str:
    """What two spellings of a word have in common."""
    return _NOT_LETTERS.sub("", text.casefold()) or text.strip()
