"""Text that goes round in circles, which a decoder that lost the thread writes.

Whisper's own test is how well the whole window compresses. It misses a loop at the end of much good text, and takes
lists and refrains for loops. Here the same few words have to follow each other, several times.
"""

from collections.abc import Hashable, Sequence
from operator import eq

from btworker.engine.quality.phrases import normalized
from btworker.engine.quality.scripts import is_dense

NEEDED = ((1.5, 8), (3.0, 5), (6.0, 4))
"""(words, times): fewer words than that are a loop when they come that often in a row; "no, no, no" is none."""
NEEDED_OTHERWISE = 3
LONGEST_PERIOD = 60
LONG_WORD = 24
"""Characters from which a word is looked into: "hahaha…", or a script without spaces."""
WORDS_PER_TOKEN = 0.75
WORDS_PER_LETTER = 0.2
WORDS_PER_DENSE_LETTER = 0.5


def is_looping(text: str) -> bool:
    """Whether a window's or a segment's text repeats a stretch of itself, too often in a row to have been spoken."""
    plain = normalized(text)
    if not plain:  # notes, emoji, dots
        return _loops([sign for sign in text if not sign.isspace()], words_each=WORDS_PER_LETTER)
    packed = plain.replace(" ", "")
    if 2 * sum(map(is_dense, packed)) > len(packed):
        return _loops(packed, words_each=WORDS_PER_DENSE_LETTER)
    words = plain.split()
    return _loops(words, words_each=1.0) or any(
        _loops(word, words_each=WORDS_PER_LETTER) for word in words if len(word) > LONG_WORD
    )


def is_looping_tokens(tokens: Sequence[int]) -> bool:
    """Check the same of a window's text tokens (no timestamps: they differ in every round)."""
    return _loops(tokens, words_each=WORDS_PER_TOKEN)


def _loops(units: Sequence[Hashable], *, words_each: float) -> bool:
    for period in range(1, min(LONGEST_PERIOD, len(units) // NEEDED_OTHERWISE) + 1):
        times = next((times for words, times in NEEDED if period * words_each < words), NEEDED_OTHERWISE)
        # equal to what stood a period before, as a string of 0 and 1: its runs are found in C
        same = bytes(map(eq, units, units[period:]))
        if b"\1" * (period * (times - 1)) in same:
            return True
    return False
