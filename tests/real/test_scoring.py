"""How `make real` counts: word errors, and where words were lost or invented. Needs no weights."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.real.flags.labels import BETWEEN, INVENTED, REAL, WORDLESS, labels, timed
from bench.real.scoring import Errors, edits, errors, inventions, is_flagged, is_listed, losses, only_in
from bench.real.transcripts import Heard, HeardSegment, HeardWord
from btworker.transcript import Segment

pytestmark = pytest.mark.speech

WORDS = st.lists(st.sampled_from("abc"), max_size=8)


def heard(
    text: str, *, missing: tuple[tuple[float, float], ...] = (), flagged: bool = False, each_s: float = 0.5
) -> Heard:
    """A transcript of one segment, a word after the other."""
    words = tuple(HeardWord(f" {word}", n * each_s, (n + 1) * each_s) for n, word in enumerate(text.split()))
    segment = HeardSegment(text, 0.0, len(words) * each_s, words, flagged)
    return Heard(text, "en", (segment,), 0.0, missing)


@given(WORDS, WORDS)
def test_edits_lead_from_one_text_to_the_other(reference: list[str], found: list[str]) -> None:
    """In order, each word once, and no more of them than words."""
    path = edits(reference, found)
    assert [i for i, _ in path if i is not None] == list(range(len(reference)))
    assert [j for _, j in path if j is not None] == list(range(len(found)))
    assert len([1 for i, j in path if i is None or j is None or reference[i] != found[j]]) <= max(
        len(reference), len(found)
    )
    assert edits(reference, reference) == [(n, n) for n in range(len(reference))]


def test_errors_are_told_apart() -> None:
    """And add up."""
    one = errors("The cat sat on the big mat.", "a cat sat on big mat now", "en")
    assert one == Errors(substituted=1, deleted=1, inserted=1, words=7)
    assert (one + one).percent == one.percent == 300 / 7
    assert errors("客観的実在", "客観的自在", "ja") == Errors(1, 0, 0, 5)
    assert errors("colour", "color", "en").count == 0


def test_what_is_lost_is_between_its_neighbours() -> None:
    """Two words or more in a row; and listed where the engine says so."""
    found = heard("red green white grey", missing=((0.9, 1.2),))
    (place,) = losses("red green blue black white gray", found, "en")
    assert (place.words, place.start, place.end) == (("blue", "black"), 1.0, 1.0)
    assert is_listed(place, found)
    assert not is_listed(place, heard("red green white grey", missing=((3.0, 4.0),)))
    assert losses("go home now", heard("go now"), "en") == []


def test_what_is_invented_has_its_times() -> None:
    """Three words or more in a row; flagged where the segment is."""
    found = heard("we go and that is all home", flagged=True)
    (place,) = inventions("we go home", found, "en")
    assert (place.words, place.start, place.end) == (("and", "that", "is", "all"), 1.0, 3.0)
    assert is_flagged(place, found)
    assert not is_flagged(place, heard("we go and that is all home"))


def test_only_right_words_are_missed() -> None:
    """What the other engine invented is no loss of this one."""
    fast, exact = heard("we go home"), heard("we go by the sea today home")
    assert only_in("we go home", exact, fast, "en") == []
    (place,) = only_in("we go by the sea home", exact, fast, "en")
    assert place.words == ("by", "the", "sea")
    assert (place.start, place.end) == (1.0, 2.5)


def test_transcripts_survive_the_cache() -> None:
    """Word for word."""
    one = heard("we go home", missing=((1.0, 2.0),))
    assert Heard.from_dict(one.to_dict()) == one
    assert all(before.end <= after.start for before, after in pairwise(one.words))


@pytest.mark.parametrize(
    ("text", "start", "end", "label"),
    [
        (" 1, 2, 3.", 0.4, 3.1, REAL),
        (" One ... two ... three", 0.4, 3.1, REAL),
        (" The invention", 12.0, 13.2, REAL),
        (" The invention", 9.0, 10.0, BETWEEN),
        (" The invention", 5.0, 6.0, INVENTED),
        (" Thank you.", 6.0, 7.0, INVENTED),
        (" 134.", 12.5, 13.5, BETWEEN),
        (" But here we go again", 12.0, 14.0, INVENTED),
        ("", 6.0, 7.0, WORDLESS),
    ],
)
def test_what_is_invented_is_told_by_words_and_times(text: str, start: float, end: float, label: str) -> None:
    """Numbers are the same in digits and in words; the right words at a wrong time are no invention, unless it is
    seconds away; and a number is one word where few say nothing."""
    found = [("1", 0.5, 1.0), ("2", 1.5, 2.0), ("3", 2.5, 3.0), ("the", 12.0, 12.5), ("invention", 12.5, 13.0)]
    spoken = timed("One, two, three. The invention", found, "en", 20.0)
    assert labels([Segment(0, 0, start, end, text)], spoken, "en") == [label]
