"""Which speaker is whom; names of people; references as data URLs."""

import base64
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from btworker.config import Settings
from btworker.engine.diarization.voices import Likeness, match, named
from btworker.errors import BtworkerError
from btworker.jobs import OutputFormat
from btworker.outputs import Presentation, render
from btworker.transcript import KnownVoice, Segment, Transcript, Turn
from btworker.voices import Voice
from btworker.web.jobs.references import DataUrl
from btworker.web.speaker_names import clean_name, known_speakers

RULES = Likeness(least_score=0.5, least_margin=0.05)
X, Y, Z = np.eye(3)


def names(found: tuple[KnownVoice, ...]) -> dict[str, str | None]:
    """Name -> speaker, of those who are matched."""
    return {one.name: one.speaker for one in found if one.matched}


def test_each_name_goes_to_one_speaker() -> None:
    """So that the whole fits best, not whoever comes first: the first name is like both speakers."""
    speakers = {"SPEAKER_00": X, "SPEAKER_01": X + 0.8 * Y}
    known = [("Anna", X + 0.35 * Y), ("Ben", X)]
    found = match(speakers, known, RULES)
    assert {one.name: one.speaker for one in found} == {"Anna": "SPEAKER_01", "Ben": "SPEAKER_00"}


def test_nobody_is_made_or_named_by_a_reference_alone() -> None:
    """Who is like none of them keeps their number; a name for nobody is listed with the nearest speaker."""
    found = match({"SPEAKER_00": X, "SPEAKER_01": Y}, [("Ben", X), ("Cem", Z), ("Dora", None)], RULES)
    assert names(found) == {"Ben": "SPEAKER_00"}
    assert found[0].score == pytest.approx(1.0)
    assert found[0].margin == pytest.approx(1.0)
    assert (found[1].matched, found[1].score) == (False, 0.0)
    assert (found[2].speaker, found[2].score) == (None, None)
    turns = named((Turn(0, 1, "SPEAKER_00"), Turn(1, 2, "SPEAKER_01")), found)
    assert [turn.speaker for turn in turns] == ["Ben", "SPEAKER_01"]
    assert match({}, [("Ben", X)], RULES)[0].speaker is None


def test_two_names_for_one_voice_are_none() -> None:
    """Where both are as like the speaker as each other, a name would be a guess."""
    found = match({"SPEAKER_00": X}, [("Ben", X + 0.01 * Y), ("Benjamin", X)], RULES)
    assert names(found) == {}
    assert abs(found[1].margin or 0) < 0.05


def test_a_weak_pair_takes_nobody_away() -> None:
    """Scores below the least do not count in the sum that is made greatest."""
    speakers = {"SPEAKER_00": X + 0.9 * Y, "SPEAKER_01": Z + 0.45 * X}
    found = match(speakers, [("Anna", X + 0.9 * Y), ("Ben", Y + X)], Likeness(0.6, 0.0))
    assert names(found)["Anna"] == "SPEAKER_00"


def test_voices_of_another_size_or_without_numbers_are_like_nobody() -> None:
    """In place of an error from the middle."""
    speakers = {"SPEAKER_00": X, "SPEAKER_01": np.full(3, np.nan), "SPEAKER_02": np.zeros(3)}
    found = match(speakers, [("Ben", np.ones(5)), ("Anna", X)], RULES)
    assert names(found) == {"Anna": "SPEAKER_00"}


def test_what_is_found_survives_the_json() -> None:
    """Of a transcript and of a voice."""
    known = (KnownVoice("Ben", "SPEAKER_00", 0.75, None, matched=True), KnownVoice("Cem", None, None))
    whole = Transcript("", "en", (), 1.0, known_speakers=known)
    assert Transcript.from_dict(whole.to_dict()).known_speakers == known
    voice = Voice((0.25, -1.0), "0123456789abcdef", 4.5)
    assert Voice.from_json(voice.to_json()) == voice
    for raw in (b"{}", b"[]", b"nothing", b'{"embedding": 1, "model": "", "seconds": 1}'):
        with pytest.raises(ValueError):
            Voice.from_json(raw)


@pytest.mark.parametrize("seed", range(20))
def test_a_data_url_may_come_in_any_pieces(seed: int) -> None:
    """Byte for byte what was encoded, whatever the pieces, line breaks and padding are."""
    rng = Random(seed)
    sound = rng.randbytes(rng.randint(1, 400))
    url = b"data:audio/x-wav;codecs=1;base64," + base64.b64encode(sound)
    if rng.random() < 0.5:
        url = url.rstrip(b"=")
    reader, found = DataUrl(), b""
    while url:
        size = rng.randint(1, 60)
        found += reader.feed(url[:size] + (b"\r\n" if b"," not in url[:size] and b"," not in url else b""))
        url = url[size:]
    assert found + reader.finish() == sound


@pytest.mark.parametrize("url", [b"", b"data:", b"data:audio/wav;base64", b"data:audio/wav;base64,====", b"\0" * 9])
def test_what_is_no_data_url_is_refused(url: bytes) -> None:
    """At the end at the latest."""
    reader = DataUrl()
    with pytest.raises(BtworkerError, match="known_speaker_references"):
        assert reader.feed(url) == reader.finish() == b"never"


@pytest.mark.parametrize(
    ("raw", "clean"), [(" Ann\nA\t ", "Ann A"), ("Zoe\u0308", "Zo\u00eb"), ("a\u202eb", "ab"), ("<b>, Jr.", "<b>, Jr.")]
)
def test_names_are_shown_on_one_line(raw: str, clean: str) -> None:
    """In the composed form, without what cannot be seen."""
    assert clean_name(raw) == clean


def test_names_that_look_the_same_are_refused() -> None:
    """A Cyrillic a is no second Anna."""
    settings = Settings.model_validate({"token": "t" * 20})
    assert [one.name for one in known_speakers(["Anna", "Ben"], settings)] == ["Anna", "Ben"]
    with pytest.raises(BtworkerError, match="look the same"):
        known_speakers(["Anna", "\u0410nn\u0430"], settings)


def test_plain_text_says_who_speaks_where_people_were_named() -> None:
    """And is whisper's own text where not, with speakers or without."""
    segments = (
        Segment(0, 0, 0.0, 1.0, " Hello.", speaker="Ben"),
        Segment(1, 0, 1.0, 2.0, " Yes.", speaker="SPEAKER_01"),
    )
    plain = Transcript(" Hello. Yes.", "en", segments, 2.0)
    known = replace(plain, known_speakers=(KnownVoice("Ben", "SPEAKER_00", 0.9, None, matched=True),))
    assert render(plain, OutputFormat.TXT, Presentation("talk")) == "Hello.\nYes.\n"
    assert render(known, OutputFormat.TXT, Presentation("talk")) == "Ben: Hello.\nSPEAKER_01: Yes.\n"
