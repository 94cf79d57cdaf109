"""The languages that Whisper knows, by code and by name (whisper.tokenizer's two tables), and what people write. Pure.

The parent cannot import whisper; a test compares with the installed one, in a process of its own.
"""

import difflib
import re

import langcodes

from btworker.jobs import EACH_WINDOW

_TABLE = """
en english, zh chinese, de german, es spanish, ru russian, ko korean, fr french, ja japanese, pt portuguese, tr
turkish, pl polish, ca catalan, nl dutch, ar arabic, sv swedish, it italian, id indonesian, hi hindi, fi
finnish, vi vietnamese, he hebrew, uk ukrainian, el greek, ms malay, cs czech, ro romanian, da danish, hu
hungarian, ta tamil, no norwegian, th thai, ur urdu, hr croatian, bg bulgarian, lt lithuanian, la latin, mi
maori, ml malayalam, cy welsh, sk slovak, te telugu, fa persian, lv latvian, bn bengali, sr serbian, az
azerbaijani, sl slovenian, kn kannada, et estonian, mk macedonian, br breton, eu basque, is icelandic, hy
armenian, ne nepali, mn mongolian, bs bosnian, kk kazakh, sq albanian, sw swahili, gl galician, mr marathi, pa
punjabi, si sinhala, km khmer, sn shona, yo yoruba, so somali, af afrikaans, oc occitan, ka georgian, be
belarusian, tg tajik, sd sindhi, gu gujarati, am amharic, yi yiddish, lo lao, uz uzbek, fo faroese, ht
haitian_creole, ps pashto, tk turkmen, nn nynorsk, mt maltese, sa sanskrit, lb luxembourgish, my myanmar, bo
tibetan, tl tagalog, mg malagasy, as assamese, tt tatar, haw hawaiian, ln lingala, ha hausa, ba bashkir, jw
javanese, su sundanese, yue cantonese
"""
_OTHER_NAMES = """
my burmese, ca valencian, nl flemish, ht haitian, lb letzeburgesch, ps pushto, pa panjabi, ro moldavian, ro
moldovan, si sinhalese, es castilian, zh mandarin
"""


def _pairs(table: str) -> list[tuple[str, str]]:
    """(code, name) of each entry; an underscore stands for a space."""
    entries = (entry.split() for entry in table.replace("\n", " ").split(","))
    return [(code, name.replace("_", " ")) for code, name in entries]


LANGUAGES: dict[str, str] = dict(_pairs(_TABLE))
"""Code -> English name, in Whisper's own order (the order of its language tokens)."""
_CODES = {
    **{name: code for code, name in (*_pairs(_TABLE), *_pairs(_OTHER_NAMES))},
    **{code: code for code in LANGUAGES},
}


SAME_LANGUAGE = 4
"""The largest distance, by CLDR's table, of two tags that stand for one language: Bokmål and Norwegian, Dari and
Persian. From 5 on they are neighbors, such as Swiss German and German."""
ANY_DISTANCE = 999
UNKNOWN = "und"
_AFTER_A_NAME = re.compile(r"[.@(].*")
"""A code page in a POSIX locale (de_DE.UTF-8), a country in a menu's entry (English (US))."""
_SEPARATORS = re.compile(r"[-_\s]+")


def language_code(name: str) -> str | None:
    """The code for a code or an English name in any case; "" (detect) for "" and "auto", EACH_WINDOW; None: unknown.

    A tag stands for its language, whatever region or script is behind it (en-US, es_419, sr-Latn); old codes and those
    of three letters (iw, fra, fil) for the one that Whisper has.
    """
    if name.strip().lower() == EACH_WINDOW:
        return EACH_WINDOW
    plain = _AFTER_A_NAME.sub("", name.lower()).strip()
    if plain in ("", "auto"):
        return "" if name.strip().lower() in ("", "auto") else None
    return _CODES.get(_SEPARATORS.sub(" ", plain)) or _closest(plain, SAME_LANGUAGE)


def nearest_code(name: str) -> str:
    """The code that was probably meant by what `language_code` does not know: jp is ja, gsw is near de."""
    plain = name.strip().lower()[:40]
    country = _closest(_spoken_in(plain), SAME_LANGUAGE)
    if code := country or _closest(plain, ANY_DISTANCE):
        return code
    return _CODES[difflib.get_close_matches(plain, list(_CODES), n=1, cutoff=0.0)[0]]


def _closest(tag: str, distance: int) -> str | None:
    """The code of the tag's language, or of one within CLDR's distance from it."""
    try:
        language = langcodes.Language.get(tag).language or UNKNOWN
    except ValueError:
        return None
    code, _ = langcodes.closest_match(language, list(LANGUAGES), max_distance=distance)
    return code if code in LANGUAGES else None


def _spoken_in(country: str) -> str:
    """The likely language of a country's code of two letters; "" for anything else."""
    try:
        return langcodes.Language.get(f"und-{country}").maximize().language or "" if len(country) == 2 else ""
    except ValueError:
        return ""
