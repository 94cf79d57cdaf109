"""Options from form fields and JSON, languages, and names, as tables."""

import json
import subprocess
import sys
from dataclasses import fields
from importlib.util import find_spec

import pytest

from btworker.config import Settings
from btworker.errors import BtworkerError, ErrorCode
from btworker.jobs import Options, OutputFormat
from btworker.stems import unique_stems
from btworker.web.filenames import clean_filename
from btworker.web.files import content_disposition
from btworker.web.languages import LANGUAGES, language_code
from btworker.web.options import WIRE_NAMES, parse_options

SETTINGS = Settings.model_validate({"token": "t", "model": "tiny"})


def test_no_option_gives_the_defaults_of_the_vocabulary() -> None:
    assert parse_options([], SETTINGS) == Options(model="tiny")


def test_every_option_of_the_vocabulary_can_be_sent() -> None:
    other_names = {"multichannel", "start", "end"}
    assert set(WIRE_NAMES.values()) - other_names == {item.name for item in fields(Options)}


@pytest.mark.parametrize(
    ("name", "sent", "field", "value"),
    [
        ("wordTimestamps", "false", "word_timestamps", False),
        ("wordTimestamps", "off", "word_timestamps", False),
        ("vadEnabled", "1", "vad_enabled", True),
        ("vadEnabled", "TRUE", "vad_enabled", True),
        ("vadEnabled", "", "vad_enabled", False),
        ("beamSize", "5", "beam_size", 5),
        ("beamSize", "", "beam_size", None),
        ("temperature", "0.4", "temperature", 0.4),
        ("hallucinationSensitivity", "100", "hallucination_sensitivity", 100),
        ("language", "DE", "language", "de"),
        ("language", "Castilian", "language", "es"),
        ("language", "auto", "language", ""),
        ("model", "large-v3", "model", "large-v3"),
        ("task", "translate", "task", "translate"),
        ("decode", "fast", "decode", "fast"),
        ("priority", "0", "priority", 0),
        ("outputs", "srt, VTT,srt", "outputs", (OutputFormat.SRT, OutputFormat.VTT)),
        ("prompt", "Übung 🎧", "prompt", "Übung 🎧"),
        ("keywords", " Ann Bee,\nBob,,Ann Bee ", "keywords", ("Ann Bee", "Bob")),
        ("options", '{"keywords": ["Ann", "Washington, D.C."]}', "keywords", ("Ann", "Washington, D.C.")),
        ("outputs", "srt,,vtt, ", "outputs", (OutputFormat.SRT, OutputFormat.VTT)),
        ("options", "", "prompt", ""),
        ("unknown", "", "prompt", ""),
        ("language", "  ", "language", ""),
        ("temperature", "\n", "temperature", None),
        ("languages", "de, english,,de", "languages", ("de", "en")),
        ("languages", "fr", "language", "fr"),
        ("options", '{"languages": ["de", "pt-BR"], "language": "auto-each"}', "languages", ("de", "pt")),
        ("channels", "separate", "channels", "separate"),
        ("multichannel", "true", "channels", "separate"),
        ("multichannel", "false", "channels", "mix"),
        ("start", "90", "ranges", ((90.0, None),)),
        ("start", "1:30.5", "ranges", ((90.5, None),)),
        ("end", "1:00:00", "ranges", ((0.0, 3600.0),)),
        ("start", "0", "ranges", ()),
        ("ranges", "1:00-2:00, 0:10-20", "ranges", ((10.0, 20.0), (60.0, 120.0))),
        ("ranges", "-5,0:05-", "ranges", ((0.0, 5.0), (5.0, None))),
        ("options", '{"ranges": [{"start": 1, "end": "0:02"}, {"start": 3}]}', "ranges", ((1.0, 2.0), (3.0, None))),
    ],
)
def test_text_becomes_values(name: str, sent: str, field: str, value: object) -> None:
    assert getattr(parse_options([(name, sent)], SETTINGS), field) == value


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("beamSize", "0"),
        ("beamSize", "1.5"),
        ("beamSize", "NaN"),
        ("temperature", "nan"),
        ("temperature", "inf"),
        ("temperature", "1.01"),
        ("temperature", "-0.1"),
        ("hallucinationSensitivity", "101"),
        ("noSpeechThreshold", "2"),
        ("numSpeakers", "0"),
        ("maxSpeakers", "51"),
        ("priority", "10"),
        ("priority", "-1"),
        ("channels", "both"),
        ("multichannel", "2"),
        ("start", "-1"),
        ("start", "1:60"),
        ("start", "1:60:00"),
        ("start", "1e3"),
        ("start", "3600001"),
        ("end", "soon"),
        ("ranges", "10"),
        ("ranges", "-"),
        ("ranges", "1-2-3"),
        ("task", "summarize"),
        ("decode", "slow"),
        ("outputs", "pdf"),
        ("outputs", ","),
        ("vadEnabled", "maybe"),
        ("language", "xx"),
        ("language", "l" * 5000),
        ("model", "gpt"),
        ("model", "m" * 5000),
        ("prompt", "p" * 5000),
        ("beam_size", "5"),
        ("BeamSize", "5"),
        ("", "x"),
        ("x" * 5000, "x"),
        ("\x1b[31m", "x"),
    ],
)
def test_what_is_wrong_is_named(name: str, sent: str) -> None:
    """BAD_OPTION with the option's name and a short sentence that does not repeat the value."""
    with pytest.raises(BtworkerError) as caught:
        parse_options([(name, sent)], SETTINGS)
    assert caught.value.code is ErrorCode.BAD_OPTION
    assert caught.value.param is not None
    assert len(caught.value.message) < 700
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    "value",
    [
        {"beamSize": [1]},
        {"prompt": 5},
        {"outputs": [1]},
        {"outputs": {}},
        {"model": ["tiny"]},
        {"keywords": [1]},
        {"keywords": {"Ann": 2}},
        {"keywords": 5},
        {"keywords": ["Ann", ""]},
    ],
)
def test_json_of_the_wrong_kind(value: object) -> None:
    with pytest.raises(BtworkerError) as caught:
        parse_options([("options", json.dumps(value))], SETTINGS)
    assert caught.value.code is ErrorCode.BAD_OPTION


def test_an_empty_field_is_not_given() -> None:
    """And so not given twice, wherever it stands."""
    fields = [("language", ""), ("language", "de"), ("options", '{"language": "", "task": " "}'), ("task", "translate")]
    options = parse_options(fields, SETTINGS)
    assert (options.language, options.task) == ("de", "translate")
    for name in WIRE_NAMES:
        assert parse_options([(name, "")], SETTINGS) == parse_options([], SETTINGS)


def test_keywords_bring_their_strength() -> None:
    """That of the settings, or the job's own; without keywords there is none to tell jobs apart by."""
    settings = SETTINGS.model_copy(update={"keyword_bonus": 1.5, "keyword_prompt_tokens": 40})
    found = parse_options([("keywords", "Ann"), ("keywordPromptTokens", "0")], settings)
    assert (found.keyword_bonus, found.keyword_prompt_tokens) == (1.5, 0)
    assert parse_options([("keywordBonus", "3"), ("keywords", ",")], settings) == Options(model="tiny")


def test_json_null_is_the_default() -> None:
    assert parse_options([("options", '{"beamSize": null, "language": null}')], SETTINGS) == Options(model="tiny")


def test_speakers_must_agree() -> None:
    for bad in ((("minSpeakers", "3"), ("maxSpeakers", "2")), (("numSpeakers", "5"), ("maxSpeakers", "4"))):
        with pytest.raises(BtworkerError):
            parse_options(bad, SETTINGS)


def test_an_operators_own_names_are_the_only_models() -> None:
    own = Settings.model_validate({"token": "t", "model": "mine", "models": "mine=/x/y.pt,tiny"})
    assert parse_options([("model", "tiny")], own).model == "tiny"
    with pytest.raises(BtworkerError, match="there are mine, tiny"):
        parse_options([("model", "base")], own)


@pytest.mark.skipif(find_spec("whisper") is None, reason="needs openai-whisper")
def test_the_languages_are_whispers() -> None:
    """Both tables, compared in a process of its own."""
    code = "import json, whisper.tokenizer as t; print(json.dumps([t.LANGUAGES, t.TO_LANGUAGE_CODE]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    languages, names = json.loads(done.stdout)
    assert languages == LANGUAGES
    assert list(languages) == list(LANGUAGES)
    assert {name: language_code(name) for name in names} == names


@pytest.mark.parametrize(
    "name", ["../../x", "a/b\\c", "\0", "\x1b[2J", "\u202e", "con", "", ".", "..", "🎧" * 300, 'a"b;c\r\nX: y']
)
def test_no_name_breaks_out(name: str) -> None:
    """Neither of the name shown, nor of a path, nor of a header."""
    shown = clean_filename(name)
    assert shown.isprintable()
    assert 1 <= len(shown) <= 255
    [stem] = unique_stems([shown])
    assert "/" not in stem
    assert stem not in (".", "..")
    header = content_disposition(name)
    assert header.isascii()
    assert header.isprintable()
    assert header.count('"') == 2
