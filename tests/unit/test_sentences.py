"""A window's words in segments. Pure."""

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from btworker.engine.asr.sentences import LONGEST_S, fit_to_speech, sentences


@dataclass
class Timed:
    """What whisper.timing.WordTiming has."""

    word: str
    start: float
    end: float
    tokens: list[int] = field(default_factory=list)
    probability: float = 0.9


def timed(text: str, *, each_s: float = 0.3, pauses: dict[int, float] | None = None) -> list[Timed]:
    """The words of a text one after the other; `pauses` has seconds before some of them."""
    words, clock = [], 0.0
    for index, word in enumerate(text.split()):
        clock += (pauses or {}).get(index, 0.0)
        words.append(Timed(f" {word}", round(clock, 3), round(clock + each_s, 3)))
        clock += each_s
    return words


def lines(words: list[Timed]) -> list[str]:
    """The text of each segment."""
    return ["".join(word.word for word in group).strip() for group in sentences(words)]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("It is late now. We go home now.", ["It is late now.", "We go home now."]),
        ("Is it late now? We go! Good night then.", ["Is it late now?", "We go! Good night then."]),
        ("Mr. Quilter is here.", ["Mr. Quilter is here."]),
        ('He said "come here now." Then he left us.', ['He said "come here now."', "Then he left us."]),
        ("no marks at all", ["no marks at all"]),
        ("", []),
    ],
)
def test_segments_are_sentences(text: str, wanted: list[str]) -> None:
    """But for those of less than a second, which take in the next one."""
    assert lines(timed(text)) == wanted


def test_a_long_pause_ends_a_segment() -> None:
    """Whatever the text says."""
    assert lines(timed("we had come so far and then nothing", pauses={5: 1.5})) == [
        "we had come so far",
        "and then nothing",
    ]


def test_a_long_sentence_is_cut_at_a_comma_or_a_pause() -> None:
    """Not near its beginning or its end."""
    text = " ".join(["a"] * 20) + ", " + " ".join(["b"] * 20)
    assert lines(timed(text.replace(" ,", ","))) == [" ".join(["a"] * 20) + ",", " ".join(["b"] * 20)]
    pause = timed(" ".join(["c"] * 40), pauses={1: 0.9, 25: 0.4})
    assert [len(line.split()) for line in lines(pause)] == [25, 15]


@given(
    st.lists(st.tuples(st.sampled_from([" a", " b,", " c.", "d", "。"]), st.floats(0, 3), st.floats(0, 2)), max_size=80)
)
def test_no_word_is_lost_and_no_segment_is_long(drawn: list[tuple[str, float, float]]) -> None:
    """Whatever the words and their times; one that cannot be cut stays long."""
    words, clock = [], 0.0
    for text, length_s, pause_s in drawn:
        words.append(Timed(text, clock + pause_s, clock + pause_s + length_s))
        clock += pause_s + length_s
    groups = list(sentences(words))
    assert [word for group in groups for word in group] == words
    assert all(groups)
    for group in groups:
        length_s = group[-1].end - group[0].start
        inner = [word for word in group[1:] if 0.2 * length_s <= word.start - group[0].start <= 0.8 * length_s]
        assert length_s <= LONGEST_S or not inner


def test_words_do_not_reach_into_silence() -> None:
    """A word around a silence begins after it, and one that lies in silence as a whole stays where it is: the detector
    may be wrong."""
    words = [Timed(" a", 0.0, 2.0), Timed(" b", 2.0, 6.0), Timed(" c", 7.0, 8.0)]
    fitted = fit_to_speech(words, [(0.5, 2.5), (3.0, 5.0)])
    assert [(word.start, word.end) for word in fitted] == [(0.5, 2.0), (3.0, 5.0), (7.0, 8.0)]
    assert fit_to_speech(words, []) == words
    assert [word.start for word in words] == [0.0, 2.0, 7.0]


@given(st.lists(st.floats(0, 30), min_size=2, max_size=40), st.lists(st.floats(0, 30), max_size=12))
def test_fitted_words_stay_in_order(times: list[float], edges: list[float]) -> None:
    """And none gets longer."""
    ordered, borders = sorted(times), sorted(set(edges))
    words = [Timed(" w", start, end) for start, end in pairwise(ordered)]
    fitted = fit_to_speech(words, list(zip(borders[::2], borders[1::2], strict=False)))
    for before, after in zip(words, fitted, strict=True):
        assert before.start <= after.start <= after.end <= before.end
