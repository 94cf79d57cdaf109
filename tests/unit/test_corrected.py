"""Corrected transcripts: what edits make of texts, word times, speakers and turns, and that no format breaks."""

import io
import json
import random
import zipfile
from dataclasses import replace

import docx
import pytest
import srt
import webvtt

from btworker.corrections.apply import corrected
from btworker.corrections.layer import Corrected, Layer
from btworker.corrections.retiming import retimed
from btworker.jobs import OutputFormat
from btworker.outputs import FORMATS, Presentation, render
from btworker.transcript import Segment, Transcript, Turn, Word

TITLE = Presentation("talk")
HOSTILE = [
    "<script>alert(1)</script>", "</w:t></w:r>", "--> 00:00:01,000", "{\\an8}x", "a\tb", "=cmd|' /C calc'!A0",
    "[x](javascript:y)", "\u202eevil", "&amp;<v Bob>", "**bold**", "SPEAKER x 1 0.0 9.9", "\ufffe\ud800",
    "WEBVTT", "# head", "]]>",
]  # fmt: skip
"""What names and texts may hold."""


def segment(number: int, speaker: str | None, *words: str, start: float = 0.0, channel: int | None = None) -> Segment:
    """A segment of half a second for each word."""
    timed = tuple(
        Word(f" {word}", start + at / 2, start + at / 2 + 0.4, 0.5, speaker, channel=channel)
        for at, word in enumerate(words)
    )
    text = "".join(word.word for word in timed)
    end = timed[-1].end
    return Segment(number, 0, start, end, text, words=timed, speaker=speaker, channel=channel, tokens=(1,))


TALK = Transcript(
    " Good morning Anna. Thank you. Not at all.",
    "en",
    (
        segment(0, "SPEAKER_00", "Good", "morning", "Anna."),
        segment(1, "SPEAKER_01", "Thank", "you.", start=2.0),
        segment(2, "SPEAKER_00", "Not", "at", "all.", start=4.0),
    ),
    6.0,
    (Turn(0.0, 1.5, "SPEAKER_00"), Turn(2.0, 3.0, "SPEAKER_01"), Turn(3.5, 5.5, "SPEAKER_00")),
)


def test_names_and_merges_are_everywhere() -> None:
    """In segments, words and turns; the label of somebody who was merged is nowhere."""
    found = corrected(TALK, Layer({"SPEAKER_00": "Anna"}, {"SPEAKER_01": "SPEAKER_00"}), 3)
    assert {one.speaker for one in found.segments} == {"Anna"}
    assert {word.speaker for one in found.segments for word in one.words} == {"Anna"}
    assert [(turn.start, turn.end, turn.speaker) for turn in found.turns] == [
        (0.0, 1.5, "Anna"), (2.0, 3.0, "Anna"), (3.5, 5.5, "Anna"),
    ]  # fmt: skip
    assert render(found, OutputFormat.TXT, TITLE).splitlines()[1] == "Anna: Thank you."
    assert render(found, OutputFormat.TSV, TITLE).splitlines()[:2] == [
        "start\tend\ttext\tspeaker", "0\t1400\tGood morning Anna.\tAnna",
    ]  # fmt: skip
    assert json.loads(render(found, OutputFormat.JSON, TITLE))["provenance"]["corrections"] == {"version": 3}


def test_a_reassigned_segment_takes_its_time_along() -> None:
    """It is cut out of the turn of whom it was taken from, and of nobody else's."""
    found = corrected(TALK, Layer(segments={2: Corrected(speaker="SPEAKER_01")}), 1)
    assert [(turn.start, turn.end, turn.speaker) for turn in found.turns] == [
        (0.0, 1.5, "SPEAKER_00"), (2.0, 3.0, "SPEAKER_01"), (3.5, 4.0, "SPEAKER_00"), (4.0, 5.4, "SPEAKER_01"),
        (5.4, 5.5, "SPEAKER_00"),
    ]  # fmt: skip
    assert found.segments[2].corrected and {word.speaker for word in found.segments[2].words} == {"SPEAKER_01"}


def test_channels_can_have_names() -> None:
    """Where nobody looked for speakers, Channel 1 is who speaks there."""
    call = replace(TALK, segments=(segment(0, None, "Hi", channel=1), segment(1, None, "Hello", channel=2)), turns=())
    found = corrected(call, Layer({"Channel 2": "Ben"}), 1)
    assert [one.speaker for one in found.segments] == [None, "Ben"]
    assert "Channel 1: Hi" in render(found, OutputFormat.SRT, TITLE)
    assert "Ben: Hello" in render(found, OutputFormat.SRT, TITLE)


def test_what_nobody_corrected_is_the_same_object() -> None:
    """Eight hours with a few corrections take the memory of eight hours."""
    found = corrected(TALK, Layer(segments={1: Corrected(text="Thanks.", checked=True)}), 1)
    assert found.segments[0] is TALK.segments[0] and found.segments[2] is TALK.segments[2]
    assert (found.segments[1].checked, found.segments[1].tokens) == (True, ())
    assert found.text == " Good morning Anna. Thanks. Not at all."


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (" Good evening Anna.", [("Good", 0.0, 0.4), ("evening", 0.4, 1.0), ("Anna.", 1.0, 1.4)]),
        (" good morning, ANNA", [("good", 0.0, 0.4), ("morning,", 0.5, 0.9), ("ANNA", 1.0, 1.4)]),
        (" Good morning", [("Good", 0.0, 0.4), ("morning", 0.5, 0.9)]),
        (" Good morning my Anna.", [("Good", 0.0, 0.4), ("morning", 0.5, 0.9), ("my", 0.9, 1.0), ("Anna.", 1.0, 1.4)]),
        (" Hello", [("Hello", 0.0, 1.4)]),
        ("", []),
    ],
)  # fmt: skip
def test_words_are_timed_by_those_that_stay(text: str, words: list[tuple[str, float, float]]) -> None:
    """What is there still keeps its times; what is new lies between; nothing is out of order."""
    found = retimed(TALK.segments[0], text)
    assert [word.word.strip() for word in found] == [word for word, _, _ in words]
    for word, (_, start, end) in zip(found, words, strict=True):
        assert word.start == pytest.approx(start, abs=0.2) and word.end == pytest.approx(end, abs=0.2)


def test_any_text_has_words_in_order_within_its_segment() -> None:
    """Random texts in several scripts: joined, the words are the text; each is inside, after the one before."""
    chance = random.Random(3)
    tokens = ["Good", "morning", "Anna.", "über", "東京に行く", "ความ", "مرحبا", "x" * 40, "—", "3.14", "🎧"]
    for _ in range(500):
        text = " " + " ".join(chance.choices(tokens, k=chance.randrange(1, 12)))
        found = retimed(TALK.segments[0], text)
        assert "".join(word.word for word in found) == text
        times = [time for word in found for time in (word.start, word.end)]
        assert times == sorted(times) and times[0] >= 0.0 and times[-1] <= 1.4 + 0.001


def test_a_segment_without_word_times_has_none_afterwards() -> None:
    """Nothing is invented where a job wanted no word times."""
    plain = replace(TALK.segments[0], words=())
    assert retimed(plain, " Anything else") == ()


@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_name_or_text_breaks_a_format(hostile: str) -> None:
    """As a speaker's name, a text and a title: each format is read back with as many parts as it has."""
    layer = Layer({"SPEAKER_00": hostile}, segments={1: Corrected(text=hostile)})
    found, title = corrected(TALK, layer, 1), Presentation(hostile)
    made = {kind: FORMATS[kind].data(found, title) for kind in OutputFormat}
    text = {kind: data.decode() for kind, data in made.items() if kind is not OutputFormat.DOCX}
    assert len(json.loads(text[OutputFormat.JSON])["segments"]) == 3
    assert len(list(srt.parse(text[OutputFormat.SRT]))) == 3
    assert len(webvtt.from_buffer(io.StringIO(text[OutputFormat.VTT])).captions) == 3
    assert [len(line.split("\t")) for line in text[OutputFormat.TSV].splitlines()] == [4] * 4
    assert not any(line.split("\t")[3].startswith(("=", "+", "-", "@")) for line in text[OutputFormat.TSV].splitlines())
    assert len(text[OutputFormat.TXT].splitlines()) == 3
    assert [len(line.split()) for line in text[OutputFormat.RTTM].splitlines()] == [10] * 3
    document = docx.Document(io.BytesIO(made[OutputFormat.DOCX]))
    assert len(document.paragraphs) == 5
    assert b"<script" not in zipfile.ZipFile(io.BytesIO(made[OutputFormat.DOCX])).read("word/document.xml")


def test_a_document_has_times_speakers_and_what_was_said() -> None:
    """As the Markdown has it: a heading, a line about the recording, a paragraph for each voice."""
    found = corrected(TALK, Layer({"SPEAKER_00": "Anna"}), 1)
    document = docx.Document(io.BytesIO(FORMATS[OutputFormat.DOCX].data(found, TITLE)))
    assert [paragraph.text for paragraph in document.paragraphs] == [
        "talk", "00:06 · language: en", "[00:00] Anna: Good morning Anna.", "[00:02] SPEAKER_01: Thank you.",
        "[00:04] Anna: Not at all.",
    ]  # fmt: skip
    assert (document.core_properties.title, document.core_properties.author) == ("talk", "btworker")
    empty = docx.Document(io.BytesIO(FORMATS[OutputFormat.DOCX].data(replace(TALK, segments=()), TITLE)))
    assert empty.paragraphs[-1].text == "(no speech found)"
