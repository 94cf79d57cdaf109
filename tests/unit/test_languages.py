"""Languages as people and programs write them, as tables."""

import pytest

from btworker.config import Settings
from btworker.errors import BtworkerError, ErrorCode
from btworker.jobs import EACH_WINDOW
from btworker.web.languages import LANGUAGES, language_code, nearest_code
from btworker.web.options import lenient_options, parse_options

SETTINGS = Settings.model_validate({"token": "t", "model": "tiny"})

WRITTEN = {
    "en": "en-US en_us EN-gb en-Latn-US-x-private en_US.UTF-8 eng english English(US)",
    "es": "es_419 es-ES spa ES Castilian",
    "sr": "sr-Latn sr_Cyrl_RS srp scc",
    "zh": "zh-CN zh-Hans zh-Hant-TW zh-HK cmn cmn-Hans-CN zho chi mandarin",
    "yue": "yue-HK zh-yue cantonese",
    "pt": "pt-BR pt_PT por",
    "he": "iw iw-IL heb he-IL",
    "id": "in ind in-ID",
    "yi": "ji yid",
    "jw": "jv jav jw javanese",
    "no": "nb nb-NO nob nor no-NO",
    "nn": "nn-NO nno",
    "ro": "mo mol ron rum moldavian",
    "tl": "fil fil-PH tgl",
    "fr": "fra fre fr-CA",
    "de": "deu ger de-AT-1996 de_DE@euro German",
    "nl": "nld dut nl-BE flemish",
    "el": "ell gre",
    "fa": "fas per pes prs fa-AF",
    "sw": "swh swa",
    "ms": "msa may zsm",
    "ht": "hat haitian-creole Haitian_Creole haitian",
    "bo": "bod tib",
    "haw": "haw haw-US",
}


@pytest.mark.parametrize(("written", "code"), [(tag, code) for code, tags in WRITTEN.items() for tag in tags.split()])
def test_a_tag_stands_for_its_language(written: str, code: str) -> None:
    """With a region or a script behind a hyphen or an underscore, in any case; old codes and those of three letters."""
    assert language_code(written) == code
    assert language_code(f" {written.upper()} ") == code


@pytest.mark.parametrize("written", ["", " ", "auto", "AUTO", " Auto "])
def test_to_detect_it(written: str) -> None:
    """Nothing, or the word that other programs have for it."""
    assert language_code(written) == ""


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_code_and_name_of_whisper_is_itself(code: str) -> None:
    """None of them is taken for an alias of another."""
    assert language_code(code) == language_code(LANGUAGES[code]) == language_code(f"{code}-ZZ") == code


MISTAKES = "jp:ja ua:uk cz:cs cn:zh kr:ko se:sv dk:da vn:vi us:en gsw:de nan:zh germna:de portugese:pt englsh:en"


@pytest.mark.parametrize(("written", "near"), [pair.split(":") for pair in MISTAKES.split()])
def test_what_is_unknown_is_refused_with_the_nearest_code(written: str, near: str) -> None:
    """A country's code, a neighbor, a slip of the pen."""
    assert language_code(written) is None
    assert nearest_code(written) == near
    with pytest.raises(BtworkerError, match=rf"the nearest is {near} \({LANGUAGES[near]}\)") as caught:
        parse_options([("language", written)], SETTINGS)
    assert (caught.value.code, caught.value.param) == (ErrorCode.BAD_OPTION, "language")


@pytest.mark.parametrize(
    "odd", ["-", "de-", "-de", "C", "und", "mul", "x-private", "(US)", ".", "日本語", "\x00", "a" * 40, "i-klingon"]
)
def test_any_text_gets_a_nearest_code(odd: str) -> None:
    """It is a code of Whisper's, and nothing of the text is repeated."""
    assert language_code(odd) is None
    assert nearest_code(odd) in LANGUAGES
    with pytest.raises(BtworkerError) as caught:
        parse_options([("language", odd)], SETTINGS)
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    ("model", "language", "known"),
    [
        ("tiny", "yue", False),
        ("large-v2", "zh-yue", False),
        ("large-v3", "yue", True),
        ("large", "yue", True),
        ("tiny.en", "de", False),
        ("tiny.en", "en-GB", True),
        ("tiny.en", "auto", True),
        ("medium", "jw", True),
    ],
)
def test_a_language_that_a_model_lacks_is_the_clients_mistake(model: str, language: str, known: bool) -> None:
    """Said before anything is read. The controller's job is not refused for it, but warned."""
    fields = [("model", model), ("language", language)]
    if known:
        assert parse_options(fields, SETTINGS).model == model
        return
    with pytest.raises(BtworkerError, match=r"does not know (cantonese|german)") as caught:
        parse_options(fields, SETTINGS)
    assert (caught.value.code, caught.value.param) == (ErrorCode.BAD_OPTION, "language")
    options, warnings = lenient_options(dict(fields), SETTINGS)
    assert (options.model, options.language) == (model, "")
    assert "was left out" in warnings[0]


def test_a_language_for_each_window_is_for_fast_mode() -> None:
    """In any case; exact is refused, and the controller's job is warned and detects one language."""
    for written in ("auto-each", " AUTO-EACH "):
        assert parse_options([("language", written), ("decode", "fast")], SETTINGS).language == EACH_WINDOW
    fields = [("language", "auto-each"), ("decode", "exact")]
    with pytest.raises(BtworkerError, match="decode=fast") as caught:
        parse_options(fields, SETTINGS)
    assert (caught.value.code, caught.value.param) == (ErrorCode.BAD_OPTION, "language")
    options, warnings = lenient_options(dict(fields), SETTINGS)
    assert (options.decode, options.language) == ("exact", "")
    assert "language" in warnings[0]
