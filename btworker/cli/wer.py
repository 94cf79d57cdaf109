"""Word error rate: how far a transcript is from the text that was really spoken. Pure."""

import re
import unicodedata
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WordErrors:
    """The fewest word edits that turn the reference into the hypothesis."""

    errors: int
    """Substitutions, deletions and insertions together."""
    words: int
    """Words of the reference."""

    @property
    def rate(self) -> float:
        """Errors per word of the reference; may exceed 1. Without a reference: 0, or 1 where there is a hypothesis."""
        return self.errors / self.words if self.words else float(self.errors > 0)


def normalized_words(text: str) -> list[str]:
    """Words without case and punctuation: "It's 5 O'clock." -> ["it's", "5", "o'clock"]."""
    plain = unicodedata.normalize("NFKC", text).replace("\u2019", "'").casefold()
    return re.findall(r"\w+(?:'\w+)*", plain)


def word_errors(*, reference: str, hypothesis: str) -> WordErrors:
    """Compare two texts word by word (Levenshtein distance over normalised words)."""
    reference_words, hypothesis_words = normalized_words(reference), normalized_words(hypothesis)
    row = list(range(len(hypothesis_words) + 1))
    for deletions, word in enumerate(reference_words, start=1):
        diagonal, row[0] = row[0], deletions
        for i, other in enumerate(hypothesis_words, start=1):
            substituted = diagonal + (word != other)
            diagonal, row[i] = row[i], min(substituted, row[i] + 1, row[i - 1] + 1)
    return WordErrors(row[-1], len(reference_words))
