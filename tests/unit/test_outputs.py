"""The writers, without torch: what each file says, and that no text breaks one.

tests/speech holds them to whisper's own.
"""

import json
from dataclasses import replace

import pytest

from btworker.jobs import OutputFormat
from btworker.outputs import FORMATS, Presentation, output_name, render
from btworker.outputs.markdown import paragraphs
from btworker.transcript import Hallucination, Segment, Transcript, Turn, Word

TITLE = Presentation(title="my talk")


def segment(number: int, start: float, end: float, text: str, *, words: bool = False) -> Segment:
    """A segment whose words share its time evenly."""
    parts = text.split()
    step = (end - start) / max(1, len(parts))
    spoken = tuple(Word(f" {p}", start + i * step, start + (i + 1) * step, 0.9) for i, p in enumerate(parts))
    return Segment(id=number, seek=0, start=start, end=end, text=f" {text}", words=spoken if words else ())


PLAIN = Transcript(
    text=" Hello there. Good bye.",
    language="en",
    segments=(segment(0, 0.0, 1.5, "Hello there."), segment(1, 3661.25, 3662.0, "Good bye.")),
    duration_s=3700.0,
    provenance=(("model", "tiny"),),
)
WORDS = replace(PLAIN, segments=(segment(0, 0, 1.5, "Hello there.", words=True), segment(1, 2, 3, "Bye.", words=True)))


def test_every_format_has_a_writer_and_a_name_of_its_own() -> None:
    """The table and the enum are one list."""
    assert set(FORMATS) == set(OutputFormat)
    names = {output_name("talk", kind) for kind in OutputFormat}
    assert len(names) == len(OutputFormat)
    assert {"talk_transcript.json", "talk_transcript.md", "talk.srt"} <= names


def test_srt() -> None:
    """Numbers, hours, commas."""
    assert render(PLAIN, OutputFormat.SRT, TITLE) == (
        "1\n00:00:00,000 --> 00:00:01,500\nHello there.\n\n2\n01:01:01,250 --> 01:01:02,000\nGood bye.\n\n"
    )


def test_vtt() -> None:
    """Hours only where there are any."""
    assert render(PLAIN, OutputFormat.VTT, TITLE) == (
        "WEBVTT\n\n00:00.000 --> 00:01.500\nHello there.\n\n01:01:01.250 --> 01:01:02.000\nGood bye.\n\n"
    )


def test_txt_and_tsv() -> None:
    """One segment a line."""
    assert render(PLAIN, OutputFormat.TXT, TITLE) == "Hello there.\nGood bye.\n"
    assert render(PLAIN, OutputFormat.TSV, TITLE) == (
        "start\tend\ttext\n0\t1500\tHello there.\n3661250\t3662000\tGood bye.\n"
    )


def test_rttm_names_the_input_in_one_field() -> None:
    """Nine fields and no white space in any of them; nothing without turns."""
    turns = (Turn(0.0, 1.25, "SPEAKER_00"), Turn(1.5, 2.0, "SPEAKER_01"))
    lines = render(replace(PLAIN, turns=turns), OutputFormat.RTTM, TITLE).splitlines()
    assert lines[0] == "SPEAKER my_talk 1 0.000 1.250 <NA> <NA> SPEAKER_00 <NA> <NA>"
    assert len(lines) == 2
    assert render(PLAIN, OutputFormat.RTTM, TITLE) == ""


def test_json_tells_a_controller_what_was_flagged() -> None:
    """Under the names that its review reads: on flagged segments alone, and counted by reason beside them."""
    flagged = Hallucination(0.8, ("repetition", "low_avg_logprob"), flagged=True)
    doubtful = Hallucination(0.4, ("repetition",), flagged=False)
    first, second = PLAIN.segments
    third = replace(first, id=2)
    segments = (replace(first, hallucination=flagged), replace(second, hallucination=doubtful), third)
    made = replace(PLAIN, segments=segments)
    found = json.loads(render(made, OutputFormat.JSON, TITLE))
    assert [one.get("hallucination_warning") for one in found["segments"]] == [
        {"confidence": 0.8, "reasons": ["repetition", "low_avg_logprob"]},
        None,
        None,
    ]
    assert found["hallucination_stats"] == {
        "total": 3,
        "flagged": 1,
        "removed": 0,
        "reasons": {"repetition": 1, "low_avg_logprob": 1},
    }
    assert Transcript.from_dict(found) == made


def test_json_reads_back_as_the_same_transcript() -> None:
    """It is what the other formats are rendered from later."""
    text = render(WORDS, OutputFormat.JSON, TITLE)
    assert Transcript.from_dict(json.loads(text)) == WORDS
    assert text.count("\n") == 1


def test_json_has_words_in_all_segments_or_in_none() -> None:
    """As whisper's result has."""
    mixed = replace(WORDS, segments=(*WORDS.segments, replace(segment(2, 4, 5, ""), text="")))
    assert [len(s["words"]) for s in json.loads(render(mixed, OutputFormat.JSON, TITLE))["segments"]] == [2, 1, 0]
    assert "words" not in json.loads(render(PLAIN, OutputFormat.JSON, TITLE))["segments"][0]


def test_json_stays_json_when_a_model_is_broken() -> None:
    """NaN is no JSON number."""
    broken = replace(PLAIN, segments=(replace(PLAIN.segments[0], avg_logprob=float("nan")),))
    shape = json.loads(render(broken, OutputFormat.JSON, TITLE), parse_constant=pytest.fail)
    assert shape["segments"][0]["avg_logprob"] is None


@pytest.mark.parametrize("words", [False, True])
@pytest.mark.parametrize("text", ["a --> b", "a ---> b", "a ----> b", "first\n\n2\n00:00:09,000 --> 00:00:10,000\nx"])
def test_no_text_breaks_a_subtitle_file(text: str, words: bool) -> None:
    """Arrows belong to the time line, and a blank line ends a cue."""
    spoken = (Word(f" {text}", 0.0, 1.0, 0.5),) if words else ()
    one = replace(PLAIN, segments=(replace(PLAIN.segments[0], text=text, words=spoken),))
    for kind in (OutputFormat.SRT, OutputFormat.VTT):
        body = render(one, kind, TITLE)
        assert body.count("-->") == 1
        assert len(body.removeprefix("WEBVTT\n\n").strip().split("\n\n")) == 1


def test_a_tab_or_a_line_break_breaks_no_table() -> None:
    """Three columns, one row a segment."""
    odd = replace(PLAIN, segments=(replace(PLAIN.segments[0], text="a\tb\nc"),))
    assert render(odd, OutputFormat.TSV, TITLE).splitlines()[1] == "0\t1500\ta b c"


def test_highlighted_words_are_underlined_one_after_the_other() -> None:
    """A cue a word."""
    cues = render(WORDS, OutputFormat.SRT, replace(TITLE, highlight_words=True))
    assert "<u>Hello</u> there." in cues
    assert "Hello <u>there.</u>" in cues


def test_lines_and_subtitles_keep_their_limits() -> None:
    """Both limits given: words flow over segments."""
    long = replace(PLAIN, segments=tuple(segment(i, i, i + 1, "one two three four five", words=True) for i in range(6)))
    body = render(long, OutputFormat.SRT, replace(TITLE, max_line_width=14, max_line_count=2))
    texts = [block.split("\n")[2:] for block in body.strip().split("\n\n")]
    assert all(len(lines) <= 2 and all(len(line) <= 14 for line in lines) for lines in texts)
    assert " ".join(line for lines in texts for line in lines) == " ".join(["one two three four five"] * 6)


def test_markdown_reads_well() -> None:
    """A title, a line about the recording, and stamped paragraphs."""
    assert render(PLAIN, OutputFormat.MD, TITLE) == (
        "# my talk\n\n*1:01:40 · language: en · model: tiny*\n\n**[00:00]** Hello there.\n\n**[1:01:01]** Good bye.\n"
    )


def test_markdown_is_not_markup() -> None:
    """Neither a title nor a text can smuggle in a tag, a link or emphasis."""
    odd = replace(PLAIN, segments=(replace(PLAIN.segments[0], text="<script> *a* [b](c) `d` e_f"),))
    body = render(odd, OutputFormat.MD, Presentation(title="<b>_x_"))
    assert "\\<script> \\*a\\* \\[b](c) \\`d\\` e\\_f" in body
    assert body.startswith("# \\<b>\\_x\\_")


def test_markdown_of_silence_says_so() -> None:
    """An empty page looks like a fault."""
    assert "no speech found" in render(replace(PLAIN, segments=()), OutputFormat.MD, TITLE)


def test_paragraphs_end_at_pauses_and_after_long_sentences() -> None:
    """And hold every segment that says something, in order."""
    spoken = [segment(i, i * 10.0, i * 10.0 + (9.9 if i % 4 else 7.0), "word " * 20 + "end.") for i in range(12)]
    parts = list(paragraphs([*spoken, segment(12, 200, 201, "")]))
    assert [s.id for part in parts for s in part] == list(range(12))
    assert len(parts) > 3
