"""The word error rate that the demo prints and is judged by."""

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from btworker.cli.wer import WordErrors, normalized_words, word_errors


@pytest.mark.parametrize(
    ("reference", "hypothesis", "errors", "words"),
    [
        ("one two three", "One, two - THREE!", 0, 3),
        ("one two three", "one three", 1, 3),
        ("one two three", "one two two three", 1, 3),
        ("one two three", "one to three", 1, 3),
        ("one", "", 1, 1),
        ("", "one two", 2, 0),
        ("", "", 0, 0),
        ("it's o\u2019clock", "it\u2019s o'clock", 0, 2),
        ("Straße", "STRASSE", 0, 1),
    ],
)
def test_errors_are_counted(reference: str, hypothesis: str, errors: int, words: int) -> None:
    """Each kind of edit costs one; case and punctuation cost nothing."""
    assert word_errors(reference=reference, hypothesis=hypothesis) == WordErrors(errors, words)


def test_rate_without_a_reference() -> None:
    """Nothing said and nothing heard is perfect; nothing said and something heard is not."""
    assert WordErrors(0, 0).rate == 0
    assert WordErrors(2, 0).rate == 1
    assert WordErrors(1, 4).rate == 0.25


def test_words_keep_what_belongs_to_them() -> None:
    """An apostrophe inside a word stays, quotes around one go, a hyphen separates."""
    assert normalized_words("'It's' well-known: 5 o\u2019clock…") == ["it's", "well", "known", "5", "o'clock"]


WORDS = st.lists(st.sampled_from(["red", "green", "blue", "one"]), min_size=1, max_size=30)


@given(reference=WORDS, hypothesis=WORDS)
def test_agrees_with_jiwer(reference: list[str], hypothesis: list[str]) -> None:
    """Ours is the rate that the field's own package computes."""
    ours = word_errors(reference=" ".join(reference), hypothesis=" ".join(hypothesis)).rate
    assert ours == pytest.approx(jiwer.wer(" ".join(reference), " ".join(hypothesis)))
