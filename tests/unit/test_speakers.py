"""Turns and words brought together, and the files that say who said what. Pure: no torch."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest

from btworker.engine.diarization.speakers import in_order_of_appearance, renamed_alike, with_speakers
from btworker.jobs import OutputFormat
from btworker.outputs import SPEAKER_FILES, Presentation, render
from btworker.transcript import Segment, Transcript, Turn, Word

TITLE = Presentation(title="talk")


def words(*spoken: tuple[str, float, float]) -> tuple[Word, ...]:
    """(text, start, end) each."""
    return tuple(Word(f" {text}", start, end, 0.9) for text, start, end in spoken)


def segment(*spoken: tuple[str, float, float], number: int = 0) -> Segment:
    """A segment of these words."""
    found = words(*spoken)
    text = "".join(word.word for word in found)
    return Segment(number, 0, found[0].start, found[-1].end, text, tokens=(1, 2), words=found)


def said(segments: tuple[Segment, ...]) -> list[tuple[str, str | None]]:
    """(text, speaker) of each segment."""
    return [(one.text.strip(), one.speaker) for one in segments]


def test_who_speaks_first_is_speaker_00() -> None:
    """Whatever pyannote called them."""
    turns = [Turn(5, 6, "B"), Turn(1, 2, "C"), Turn(3, 4, "B"), Turn(3.5, 4, "A")]
    ordered = in_order_of_appearance(turns)
    assert [(turn.start, turn.speaker) for turn in ordered] == [
        (1, "SPEAKER_00"), (3, "SPEAKER_01"), (3.5, "SPEAKER_02"), (5, "SPEAKER_01")
    ]  # fmt: skip
    exclusive = renamed_alike([Turn(3.5, 4, "A"), Turn(1, 2, "C")], turns)
    assert [turn.speaker for turn in exclusive] == ["SPEAKER_00", "SPEAKER_02"]


def test_a_segment_is_split_where_the_speaker_changes() -> None:
    """Each part keeps its own words and times, and the numbers stay in a row."""
    whole = segment(("yes", 0.0, 0.4), ("no", 0.5, 0.9), ("maybe", 1.0, 1.6))
    later = replace(segment(("so", 2.0, 2.2)), id=1)
    parts = with_speakers([whole, later], [Turn(0, 0.45, "A"), Turn(0.5, 3, "B")])
    assert said(parts) == [("yes", "A"), ("no maybe", "B"), ("so", "B")]
    assert [(part.id, part.start, part.end) for part in parts] == [(0, 0.0, 0.4), (1, 0.5, 1.6), (2, 2.0, 2.2)]
    assert [part.tokens for part in parts] == [(), (), (1, 2)]
    assert "".join(part.text for part in parts) == whole.text + later.text


def test_a_word_is_whose_turn_it_overlaps_most() -> None:
    """Also where two turns reach it, and where a long turn began long before."""
    turns = [Turn(0, 100, "LONG"), Turn(10, 11, "SHORT"), Turn(50, 60, "B")]
    (part,) = with_speakers([segment(("word", 59.0, 62.0))], turns)
    assert part.speaker == "LONG"
    (tie,) = with_speakers([segment(("word", 9.8, 10.4))], [Turn(0, 10, "A"), Turn(10, 11, "B")])
    assert (tie.speaker, tie.speaker_inferred) == ("B", False)


@pytest.mark.parametrize(("at", "speaker"), [(0.0, "A"), (2.2, "A"), (3.8, "B"), (9.0, "B")])
def test_a_word_in_a_gap_is_inferred_from_the_nearest_turn(at: float, speaker: str) -> None:
    """And says so, in the word, the segment and the JSON."""
    turns = [Turn(1, 2, "A"), Turn(4, 5, "B")]
    (part,) = with_speakers([segment(("word", at, at + 0.1))], turns)
    assert (part.speaker, part.speaker_inferred, part.words[0].speaker_inferred) == (speaker, True, True)
    assert part.to_dict()["words"][0]["speaker_inferred"] is True
    assert Segment.from_dict(part.to_dict()) == part


def test_a_word_of_no_length_is_in_the_turn_around_it() -> None:
    """Whisper gives such words; they are not in a gap."""
    (part,) = with_speakers([segment(("word", 1.5, 1.5))], [Turn(1, 2, "A"), Turn(1.6, 3, "B")])
    assert (part.speaker, part.speaker_inferred) == ("A", False)


def test_a_segment_without_words_gets_one_speaker() -> None:
    """Where word times were not asked for."""
    plain = replace(segment(("word", 0.0, 4.0)), words=())
    (part,) = with_speakers([plain], [Turn(0, 1, "A"), Turn(1, 4, "B")])
    assert (part.speaker, part.tokens) == ("B", (1, 2))


def test_without_turns_nothing_changes() -> None:
    """Not even an empty field."""
    plain = segment(("word", 0.0, 4.0))
    assert with_speakers([plain], []) == (plain,)
    assert "speaker" not in plain.to_dict()


def test_many_turns_and_words_agree_with_a_plain_search() -> None:
    """The search from the latest turn backwards finds what a look at every turn finds."""
    turns = [Turn(n * 0.7, n * 0.7 + 0.3 + (n * 37 % 11) * 0.2, f"S{n % 4}") for n in range(200)]
    spoken = segment(*((f"w{n}", n * 0.31, n * 0.31 + 0.2) for n in range(400)))
    for part in with_speakers([spoken], turns):
        for word in part.words:
            shares: dict[str, float] = {}
            for turn in turns:
                shares[turn.speaker] = shares.get(turn.speaker, 0.0) + max(
                    0.0, min(word.end, turn.end) - max(word.start, turn.start)
                )
            if max(shares.values()) > 0:
                assert shares[word.speaker or ""] == pytest.approx(max(shares.values()))
                assert not word.speaker_inferred


TURNS = (Turn(0.0, 2.65432, "SPEAKER_00"), Turn(61.0, 70.5, "SPEAKER_01"))
DIALOGUE = Transcript(
    text=" Yes. Yes. I see. No. No.",
    language="en",
    segments=with_speakers(
        [
            segment(("Yes.", 0.0, 0.5)),
            segment(("Yes.", 0.9, 1.4), number=1),
            segment(("I", 2.0, 2.2), ("see.", 2.3, 2.6), number=2),
            segment(("No.", 61.0, 61.4), number=3),
            segment(("No.", 70.0, 70.4), number=4),
        ],
        TURNS,
    ),
    duration_s=71.0,
    turns=TURNS,
)


def test_speaker_markdown_follows_the_controllers_rules() -> None:
    """The name, then: a short repeat within 2 s collapses, neighbours within 1 s merge, a later one is a line of its
    own."""
    written = SPEAKER_FILES["speaker-markdown"].write(DIALOGUE, TITLE)
    assert written == (
        "# talk\n\n**[00:00] SPEAKER_00:** Yes. I see.\n\n"
        "**[01:01] SPEAKER_01:** No.\n\n**[01:10] SPEAKER_01:** No.\n\n"
    )


def test_repeats_are_compared_without_case() -> None:
    """As the controller's own worker does it."""
    again = [segment(("Yes.", 0.0, 0.5)), segment(("YES.", 0.9, 1.4), number=1)]
    written = SPEAKER_FILES["speaker-markdown"].write(replace(DIALOGUE, segments=with_speakers(again, TURNS)), TITLE)
    assert written == "# talk\n\n**[00:00] SPEAKER_00:** Yes.\n\n"


def test_speaker_files_without_speakers() -> None:
    """The reason and the text, nobody's name; no turn. Of silence, the name alone."""
    plain = replace(DIALOGUE, segments=(segment(("Yes.", 0.0, 0.5)),), turns=(), no_speakers="no *token*\nfor it")
    assert SPEAKER_FILES["speaker-markdown"].write(plain, TITLE) == (
        "# talk\n\n*No speakers: no \\*token\\* for it*\n\nYes.\n\n"
    )
    assert SPEAKER_FILES["diarization-json"].write(plain, TITLE) == "[]\n"
    silence = replace(plain, segments=(), no_speakers="")
    assert SPEAKER_FILES["speaker-markdown"].write(silence, TITLE) == "# talk\n\n"
    assert Transcript.from_dict(json.loads(render(plain, OutputFormat.JSON, TITLE))) == plain


def test_diarization_json_is_the_bare_list() -> None:
    """As the controller reads it, to the millisecond."""
    written = json.loads(SPEAKER_FILES["diarization-json"].write(DIALOGUE, TITLE))
    assert written == [
        {"start": 0.0, "end": 2.654, "speaker": "SPEAKER_00"},
        {"start": 61.0, "end": 70.5, "speaker": "SPEAKER_01"},
    ]


def test_subtitles_and_markdown_name_the_speaker() -> None:
    """In each format's own way; and a cue is never of two."""
    assert "SPEAKER_00: Yes.\n" in render(DIALOGUE, OutputFormat.SRT, TITLE)
    assert "<v SPEAKER_01>No.\n" in render(DIALOGUE, OutputFormat.VTT, TITLE)
    assert "**[00:00] SPEAKER\\_00:** Yes. Yes. I see." in render(DIALOGUE, OutputFormat.MD, TITLE)
    assert render(DIALOGUE, OutputFormat.RTTM, TITLE).splitlines()[0] == (
        "SPEAKER talk 1 0.000 2.654 <NA> <NA> SPEAKER_00 <NA> <NA>"
    )


def test_a_cue_of_words_ends_with_its_speaker() -> None:
    """Also where the line would have had room for both."""
    spoken = segment(("one", 0.0, 0.4), ("two", 0.5, 0.9), ("three", 1.0, 1.4))
    segments = with_speakers([spoken], [Turn(0, 0.95, "A"), Turn(0.95, 2, "B")])
    transcript = replace(DIALOGUE, segments=segments)
    shown = render(transcript, OutputFormat.SRT, replace(TITLE, max_line_width=80, max_line_count=1))
    assert [line for line in shown.splitlines() if ":" in line and "-->" not in line] == ["A: one two", "B: three"]


def test_speakers_change_no_text() -> None:
    """All words are there, in their order, whoever says them."""
    spoken = segment(*((f"w{n}", n * 1.0, n + 0.5) for n in range(30)))
    turns = [Turn(n * 1.7, n * 1.7 + 1, f"S{n % 3}") for n in range(20)]
    parts = with_speakers([spoken], turns)
    assert "".join(part.text for part in parts) == spoken.text
    assert all(before.end <= after.start for before, after in pairwise(parts))
    assert all(len({word.speaker for word in part.words}) == 1 for part in parts)
