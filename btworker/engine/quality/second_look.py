"""What a second decoding says about a doubtful text. Pure.

What was spoken comes out again where its sound is decoded once more by itself, at least in part; what a model made up
seldom does (docs/quality.md).
"""

from collections.abc import Sequence
from difflib import SequenceMatcher

from btworker.engine.quality.measures import Points
from btworker.engine.quality.scripts import is_dense

LOOK_FROM, LOOK_TO = 0.4, 2.3
"""Points of a segment that is decoded once more. Of less it is hardly invented, of more beyond doubt."""
FEWEST_WORDS, FEWEST_DENSE = 2, 4
"""A word by itself, out of what was spoken around it, is often another one; so are a few letters of CJK, kana or
Hangul."""
CONFIRMED = 0.5
"""Share of the letters that are there again, from which on a text is confirmed."""
OF_THE_MODEL = frozenset({"low_avg_logprob", "high_no_speech_prob", "high_compression_ratio"})
"""Reasons that are the model's own doubt. Others stand: it may well write a known phrase twice where nobody speaks."""
KEPT_OF_DOUBT = 0.3
"""Share of their points that a confirmed text keeps, unless it is a known phrase."""
ANOTHER_TEXT = 0.55
"""Points where the sound gives another text: enough to flag what was worth a second look, at a sensitivity of 50."""


def is_worth_it(text: str, points: Points) -> bool:
    """Whether a second decoding decides."""
    has_words = len(text.split()) >= FEWEST_WORDS or sum(map(is_dense, text)) >= FEWEST_DENSE
    return has_words and LOOK_FROM <= sum(points.values()) < LOOK_TO


def after_second_look(points: Points, share: float) -> Points:
    """Weigh doubts anew; `share` of the letters came out again."""
    if share < CONFIRMED:
        return Points(float, {**points, "another_text": ANOTHER_TEXT})
    if points.get("known_hallucination_phrase"):
        return points
    kept = {reason: KEPT_OF_DOUBT if reason in OF_THE_MODEL else 1.0 for reason in points}
    return Points(float, {reason: kept[reason] * one for reason, one in points.items()})


def shares_there(texts: Sequence[str], again: str) -> list[float]:
    """Compute for each of several texts in a row, how many of its letters are in the text of all their sound, in the
    same order; 0 to 1."""
    letters = [_letters(text) for text in texts]
    found = [0] * sum(map(len, letters))
    for block in SequenceMatcher(None, "".join(letters), _letters(again), autojunk=False).get_matching_blocks():
        found[block.a : block.a + block.size] = [1] * block.size
    shares, first = [], 0
    for one in letters:
        shares.append(sum(found[first : first + len(one)]) / max(len(one), 1))
        first += len(one)
    return shares


def _letters(text: str) -> str:
    return "".join(sign for sign in text.casefold() if sign.isalnum())
