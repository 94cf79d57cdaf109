"""Channels in one transcript: every output in time order and with whose voice it is, labels that no two channels share,
and live text in the order in which it ends."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from btworker.engine.asr.journal import Entry, LoopState
from btworker.engine.job.live_text import LiveText
from btworker.engine.job.takes import Found, Take, on_the_clock, takes_of, with_distinct_speakers
from btworker.engine.sound.ffmpeg import Audio
from btworker.engine.sound.layout import OPEN, Channel, Layout, Stretch
from btworker.ffmpeg import SAMPLE_RATE
from btworker.jobs import OutputFormat
from btworker.outputs import Presentation, render
from btworker.transcript import ChannelFacts, KnownVoice, Missing, Segment, Transcript, Turn, Word
from btworker.web.openai.shapes import diarized, verbose

pytestmark = pytest.mark.speech
TITLE = Presentation(title="call")


def segment(number: int, channel: int, start: float, end: float, text: str) -> Segment:
    """One word."""
    words = (Word(f" {text}", start, end, 0.9, channel=channel),)
    return Segment(number, 0, start, end, f" {text}", words=words, channel=channel)


CALL = Transcript(
    " Hello. Hi! Bye.",
    "en",
    (segment(0, 1, 0.0, 4.0, "Hello."), segment(1, 2, 1.0, 2.0, "Hi!"), segment(2, 1, 5.0, 6.0, "Bye.")),
    7.0,
    turns=(Turn(0.0, 4.0, "SPEAKER_00", 1), Turn(1.0, 2.0, "SPEAKER_01", 2)),
    missing_speech=(Missing(2.5, 3.5, 2),),
    channels=(ChannelFacts(1, "en"), ChannelFacts(2, "de"), ChannelFacts(3, silent=True), ChannelFacts(4, same_as=1)),
    ranges=((0.0, 7.0),),
)


def test_json_has_all_of_it_and_is_read_again() -> None:
    """What is stored is what the other formats are made of, whenever they are."""
    raw = json.loads(render(CALL, OutputFormat.JSON, TITLE))
    assert [one["channel"] for one in raw["segments"]] == [1, 2, 1]
    assert raw["segments"][1]["words"][0]["channel"] == 2
    assert raw["missing_speech"] == [{"start": 2.5, "end": 3.5, "channel": 2}]
    assert raw["channels"][2:] == [{"channel": 3, "silent": True}, {"channel": 4, "same_as": 1}]
    assert Transcript.from_dict(raw) == CALL


def test_subtitles_say_which_channel_and_may_overlap() -> None:
    """Nothing is cut for another channel's sake."""
    assert render(CALL, OutputFormat.SRT, TITLE) == (
        "1\n00:00:00,000 --> 00:00:04,000\nChannel 1: Hello.\n\n"
        "2\n00:00:01,000 --> 00:00:02,000\nChannel 2: Hi!\n\n"
        "3\n00:00:05,000 --> 00:00:06,000\nChannel 1: Bye.\n\n"
    )
    assert "<v Channel 2>Hi!" in render(CALL, OutputFormat.VTT, TITLE)
    narrow = replace(TITLE, max_line_width=40, max_line_count=2)
    assert "Channel 2: Hi!\n" in render(CALL, OutputFormat.SRT, narrow)


def test_other_formats_are_in_order_of_time() -> None:
    """txt is text alone; rttm and tsv have a field for the channel, md the voice."""
    assert render(CALL, OutputFormat.TXT, TITLE) == "Hello.\nHi!\nBye.\n"
    assert render(CALL, OutputFormat.TSV, TITLE).splitlines()[::2] == [
        "start\tend\ttext\tchannel",
        "1000\t2000\tHi!\t2",
    ]
    assert [line.split()[2] for line in render(CALL, OutputFormat.RTTM, TITLE).splitlines()] == ["1", "2"]
    assert "**[00:01] Channel 2:** Hi!" in render(CALL, OutputFormat.MD, TITLE)


def test_a_speaker_goes_before_a_channel() -> None:
    """Its label is no other channel's."""
    named = replace(CALL, segments=tuple(replace(one, speaker="SPEAKER_07") for one in CALL.segments))
    assert r"**[00:00] SPEAKER\_07:** Hello. Hi!" in render(named, OutputFormat.MD, TITLE)


def test_openais_shapes_have_the_channel() -> None:
    """Where there is one; without speakers each channel is one."""
    shape = verbose(CALL, task="transcribe", granularities=frozenset({"word", "segment"}))
    assert [one.get("channel") for one in shape["segments"]] == [1, 2, 1]
    assert [one.get("channel") for one in shape["words"]] == [1, 2, 1]
    assert [(one["speaker"], one.get("channel")) for one in diarized(CALL)["segments"]] == [
        ("A", 1),
        ("B", 2),
        ("A", 1),
    ]
    plain = replace(CALL, segments=tuple(replace(one, channel=None) for one in CALL.segments))
    assert "channel" not in diarized(plain)["segments"][0]


def test_labels_of_channels_are_distinct() -> None:
    """SPEAKER_00 of two channels are two people; who speaks first in the recording is the first."""
    first = Found(
        1, (replace(segment(0, 1, 3, 4, "b"), speaker="SPEAKER_00"),), "en", (), (Turn(3, 4, "SPEAKER_00", 1),)
    )
    second = Found(
        2, (replace(segment(0, 2, 1, 2, "a"), speaker="SPEAKER_00"),), "en", (), (Turn(1, 2, "SPEAKER_00", 2),)
    )
    named = with_distinct_speakers([first, second])
    assert [one.turns[0].speaker for one in named] == ["SPEAKER_01", "SPEAKER_00"]
    assert [one.segments[0].speaker for one in named] == ["SPEAKER_01", "SPEAKER_00"]


def test_somebody_known_keeps_their_name_in_each_channel() -> None:
    """And who is like them has the label that the transcript gives."""
    known = KnownVoice("Anna", "SPEAKER_00", 0.9, 0.5, matched=True)
    other = replace(known, name="Ben", speaker="SPEAKER_01", matched=False)
    turns = (Turn(1, 2, "Anna", 1), Turn(3, 4, "SPEAKER_01", 1))
    first = Found(1, (), "en", (), turns, known=(known, other))
    second = Found(2, (), "en", (), (Turn(2, 3, "SPEAKER_00", 2),))
    named = with_distinct_speakers([first, second])
    assert [turn.speaker for one in named for turn in one.turns] == ["Anna", "SPEAKER_02", "SPEAKER_01"]
    assert [(one.name, one.speaker, one.channel) for one in named[0].known] == [
        ("Anna", "SPEAKER_00", 1),
        ("Ben", "SPEAKER_02", 1),
    ]


def takes(*stretches: tuple[int, int, float], channel: int | None = None) -> list[Take]:
    """Takes of stretches (first second, seconds, start on the clock)."""
    return [
        Take(number, Path("x"), Stretch(first * SAMPLE_RATE, count * SAMPLE_RATE, start), channel)
        for number, (first, count, start) in enumerate(stretches, start=1)
    ]


def test_turns_of_ranges_go_to_the_recordings_clock() -> None:
    """One that goes on through the end of a range is two, since nobody knows what was between."""
    turns = [Turn(1.0, 12.0, "A"), Turn(13.0, 14.0, "B")]
    found = list(on_the_clock(turns, takes((0, 10, 100.0), (10, 5, 500.0), channel=2)))
    assert found == [Turn(101.0, 110.0, "A", 2), Turn(500.0, 502.0, "A", 2), Turn(503.0, 504.0, "B", 2)]


def test_takes_have_the_same_numbers_in_each_attempt() -> None:
    """Whichever channels turn out to be silent."""
    channels = [Channel(number, Path(f"{number}")) for number in (1, 2, 3)]
    stretches = (Stretch(0, 10, 1.0), Stretch(10, 10, 5.0))
    every = takes_of(Audio(Path("1"), 20, channels=tuple(channels), stretches=stretches))
    some = takes_of(
        Audio(Path("1"), 20, channels=(replace(channels[0], is_silent=True), *channels[1:]), stretches=stretches)
    )
    assert len({one.number for one in every}) == 6
    assert set(some) < set(every)
    assert [one.number for one in takes_of(Audio(Path("1"), 20))] == [1]


def test_live_text_waits_for_the_slowest_take(tmp_path: Path) -> None:
    """So that it is told in the order in which it ends; once only, also by the next attempt."""
    path, both = tmp_path / "0.jsonl", [*takes((0, 60, 0.0), channel=1), *takes((0, 60, 0.0), channel=2)]
    both[1] = replace(both[1], number=2)

    def entry(index: int, end: float, *segments: Segment) -> Entry:
        return Entry(index, "en", None, 0.0, end, segments, LoopState())

    def told() -> list[str]:
        return [one["text"] for line in path.read_text().splitlines() for one in json.loads(line)["segments"]]

    live = LiveText(path, both)
    live.add(both[0], entry(0, 30.0, segment(0, 1, 1, 9, "long"), segment(1, 1, 20, 29, "late")))
    assert told() == []
    live.add(both[1], entry(0, 15.0, segment(0, 2, 2, 3, "short")))
    assert told() == [" short", " long"]
    with path.open("ab") as file:
        file.write(b'{"segments": [{"te')
    again = LiveText(path, both)
    again.add(both[0], entry(0, 30.0, segment(0, 1, 1, 9, "long"), segment(1, 1, 20, 29, "late")))
    again.add(both[1], entry(0, 15.0, segment(0, 2, 2, 3, "short")))
    assert told() == [" short", " long"]
    again.finish(both[1])
    again.finish(both[0])
    assert told() == [" short", " long", " late"]


@pytest.mark.parametrize(
    ("ranges", "first", "count", "kept"),
    [
        (((0, OPEN),), 7, 5, [(0, 5, 7)]),
        (((10, 20), (30, 40)), 0, 100, [(10, 10, 0), (30, 10, 10)]),
        (((10, 20), (30, OPEN)), 15, 20, [(0, 5, 5), (15, 5, 10)]),
        (((10, 20),), 20, 5, []),
    ],
)
def test_a_layout_keeps_what_is_in_its_ranges(
    ranges: Sequence[tuple[int, int]], first: int, count: int, kept: list[tuple[int, int, int]]
) -> None:
    """One range behind the other, whatever the pieces in which the samples come."""
    layout = Layout(tuple(ranges))
    assert list(layout.kept(first, count)) == kept
    assert layout.place_of(first + count) - layout.place_of(first) == sum(taken for _, taken, _ in kept)
    one_by_one = [piece for one in layout.one_by_one() for piece in one.kept(first, count)]
    assert one_by_one == kept
