"""Which scripts a language is written in, and how many letters of a text are of none of them."""

import unicodedata
from functools import lru_cache

_LATIN = (
    "af az bs br ca cs cy da de en es et eu fi fo fr gl ha haw hr ht hu id is it jw la lb ln lt lv mg mi ms mt nl nn no"
    " oc pl pt ro sk sl sn so sq su sv sw tk tl tr uz vi yo"
)
_OTHERS = {
    "ru uk be bg mk ba tt tg": "CYRILLIC",
    "sr kk mn az uz tk bs": "CYRILLIC ARABIC MONGOLIAN",
    "ar fa ur ps ha": "ARABIC",
    "sd pa": "ARABIC DEVANAGARI GURMUKHI",
    "he yi": "HEBREW",
    "zh yue": "CJK BOPOMOFO",
    "ja": "CJK HIRAGANA KATAKANA",
    "ko": "HANGUL CJK",
    "hi mr ne sa": "DEVANAGARI",
    "bn as": "BENGALI",
    "el": "GREEK", "hy": "ARMENIAN", "ka": "GEORGIAN", "gu": "GUJARATI", "ta": "TAMIL", "te": "TELUGU",
    "kn": "KANNADA", "ml": "MALAYALAM", "si": "SINHALA", "th": "THAI", "lo": "LAO", "my": "MYANMAR", "km": "KHMER",
    "bo": "TIBETAN", "am": "ETHIOPIC",
}  # fmt: skip
DENSE = frozenset({"CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO"})
"""Scripts in which a letter is a syllable or a word."""


def foreign_share(text: str, language: str) -> float:
    """Compute the share of the letters that the language does not use; 0 for a language that is not known.

    Latin letters are at home everywhere: names, brands, loanwords.
    """
    if text.isascii():
        return 0.0
    fitting = _scripts(language)
    scripts = [script_of(sign) for sign in unicodedata.normalize("NFKC", text) if is_letter(sign)]
    if not fitting or not scripts:
        return 0.0
    return sum(script not in fitting for script in scripts) / len(scripts)


def is_letter(sign: str) -> bool:
    """Whether it is a letter of some script; not a mark, a digit or a modifier."""
    return unicodedata.category(sign) in {"Lu", "Ll", "Lt", "Lo"}


@lru_cache(maxsize=4096)
def script_of(letter: str) -> str:
    """ "LATIN", "CYRILLIC", "CJK" …: the first word of the letter's Unicode name."""
    return unicodedata.name(letter, "UNNAMED").split()[0].split("-")[0]


def is_dense(sign: str) -> bool:
    """Whether a letter stands for a syllable or a word."""
    return sign >= "\u1100" and is_letter(sign) and script_of(sign) in DENSE


@lru_cache(maxsize=128)
def _scripts(language: str) -> frozenset[str]:
    found = {
        script for languages, names in _OTHERS.items() if language in languages.split() for script in names.split()
    }
    if found or language in _LATIN.split():
        found.add("LATIN")
    return frozenset(found)
