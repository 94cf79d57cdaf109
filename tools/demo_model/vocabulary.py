"""Which of whisper's 51,865 token ids the demo language uses, and how sentences become tokens.

A word is always one token: in dictionary form inside a sentence, capitalised at its beginning.
"""

from __future__ import annotations

from functools import cached_property

from whisper.tokenizer import Tokenizer, get_tokenizer

from .corpus import NEVER_FIRST, PROPER, WORDS

VOCABULARY_SIZE = 51_865
TIMESTAMP_COUNT = 1_501
TIMESTAMP_S = 0.02


class TokenTable:
    """The tokens of the demo language, under whisper's multilingual tokenizer."""

    def __init__(self) -> None:
        self.tokenizer: Tokenizer = get_tokenizer(True, language="en", task="transcribe")
        self.plain = {word: self._single(" " + word) for word in WORDS}
        self.capital = {
            word: self._single(" " + word.capitalize()) for word in WORDS if word not in PROPER | NEVER_FIRST
        }
        self.period = self._single(".")

    def _single(self, text: str) -> int:
        ids = self.tokenizer.encode(text)
        if len(ids) != 1:
            raise ValueError(f"{text!r} is {len(ids)} tokens, the demo vocabulary wants words of one token")
        return int(ids[0])

    def word(self, word: str, *, first: bool) -> int:
        """The token of a word; `first` words of a sentence are capitalised."""
        return self.capital.get(word, self.plain[word]) if first else self.plain[word]

    def timestamp(self, seconds: float) -> int:
        """The timestamp token nearest to a time in the window, in seconds."""
        step = min(max(round(seconds / TIMESTAMP_S), 0), TIMESTAMP_COUNT - 1)
        return int(self.tokenizer.timestamp_begin) + step

    @cached_property
    def specials(self) -> tuple[int, ...]:
        """Everything in use that is neither a word nor a timestamp."""
        t = self.tokenizer
        return (
            self.period, t.sot, t.language_token, t.transcribe, t.translate, t.sot_prev, t.no_speech,
            t.no_timestamps, t.eot,
        )  # fmt: skip
