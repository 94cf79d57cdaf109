"""A transcript in OpenAI's shapes: types that strict clients insist on."""

import math

import pytest

from btworker.transcript import Segment, Transcript
from btworker.web.openai.shapes import Reports, diarized, last_events, verbose

NUMBERS = ("temperature", "avg_logprob", "compression_ratio", "no_speech_prob")


@pytest.mark.parametrize("value", [None, math.nan, -math.inf])
def test_a_segments_numbers_are_numbers(value: float | None) -> None:
    """What was not finite is null in a stored transcript; the AI SDK throws the whole answer away for one null."""
    segment = Segment(0, 0, 0.0, 1.0, " hi", temperature=value, avg_logprob=value, no_speech_prob=value)  # type: ignore[arg-type]
    shape = verbose(Transcript("hi", "en", (segment,), 1.0), task="transcribe", granularities=frozenset({"segment"}))
    found = shape["segments"][0]
    assert all(isinstance(found[name], float) and math.isfinite(found[name]) for name in NUMBERS)  # type: ignore[literal-required]
    assert found["avg_logprob"] < -1, "no threshold takes it for a good text"


@pytest.mark.parametrize(
    ("speakers", "labels"),
    [
        (["SPEAKER_02", "SPEAKER_00", "SPEAKER_02"], ["A", "B", "A"]),
        (["Anna", "SPEAKER_03", "Anna"], ["Anna", "A", "Anna"]),
        (["SPEAKER_01", "A", "SPEAKER_07"], ["B", "A", "C"]),
        ([f"SPEAKER_{number:02d}" for number in range(28)], [*"ABCDEFGHIJKLMNOPQRSTUVWXYZ", "AA", "AB"]),
        (["Speaker", "SPEAKER_x"], ["Speaker", "SPEAKER_x"]),
    ],
)
def test_speakers_are_letters_in_the_order_in_which_they_begin(speakers: list[str], labels: list[str]) -> None:
    """Whatever their numbers are: one that never says a word uses up no letter, and no letter is a known one's name."""
    some = tuple(Segment(i, 0, float(i), i + 1.0, " hi", speaker=name) for i, name in enumerate(speakers))
    transcript = Transcript("hi", "en", some, 100.0)
    assert [segment["speaker"] for segment in diarized(transcript)["segments"]] == labels
    events = last_events(transcript, Reports(), text="hi", speakers=True)
    assert [event["speaker"] for event in events if "speaker" in event] == labels


def test_without_speakers_each_channel_is_one() -> None:
    """In the order in which they begin, as well."""
    some = tuple(Segment(i, 0, float(i), i + 1.0, " hi", channel=channel) for i, channel in enumerate((2, 1, 2)))
    shape = diarized(Transcript("hi", "en", some, 100.0))
    assert [(segment["speaker"], segment["channel"]) for segment in shape["segments"]] == [("A", 2), ("B", 1), ("A", 2)]


def test_a_segment_of_verbose_json_has_its_speaker() -> None:
    """Under the name that srt and vtt show; where speakers were not asked for there is no such field."""
    some = Segment(0, 0, 0.0, 1.0, " hi", speaker="SPEAKER_01"), Segment(1, 0, 1.0, 2.0, " ho")
    shape = verbose(Transcript("hi ho", "en", some, 2.0), task="transcribe", granularities=frozenset({"segment"}))
    assert [segment.get("speaker") for segment in shape["segments"]] == ["SPEAKER_01", None]
    assert "speaker" not in shape["segments"][1]
