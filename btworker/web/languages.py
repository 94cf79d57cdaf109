"""The languages that Whisper knows, by code and by name: whisper.tokenizer's two tables. Pure.

The parent cannot import whisper; a test compares with the installed one, in a process of its own.
"""

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


def language_code(name: str) -> str | None:
    """The code for a code or an English name in any case; "" (detect) for "" and "auto"; None: unknown."""
    plain = name.strip().lower()
    return "" if plain in ("", "auto") else _CODES.get(plain)
