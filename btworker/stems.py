"""What outputs are called: names made of the clients' names, safe as file names, and told apart by the eye. Pure."""

import re
import unicodedata

_INVISIBLE_LETTERS = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Unicode's default ignorables that it counts among letters and marks: joiners, fillers, variation selectors."""
_LOOKALIKES = str.maketrans(
    "\u0430\u0432\u0435\u043a\u043c\u043d\u043e\u0440\u0441\u0442\u0443\u0445\u0455\u0456\u0458\u04bb\u0501\u051b\u051d\u04cf\u0131"
    "\u03b1\u03b2\u03b5\u03b6\u03b7\u03b9\u03ba\u03bc\u03bd\u03bf\u03c1\u03c4\u03c5\u03c7",
    "abekmhopctyxsijhdqwliabezhikmnoptyx",
)
"""Cyrillic and Greek letters, in lower case, that have the shape of a Latin one in either case."""


def unique_stems(filenames: list[str]) -> list[str]:
    """Names for the outputs of each input, from the clients' names, safe as a file name and unique within a job.

    "talk.m4a", "talk.mp3" -> "talk", "talk-2". Separators, control characters and leading dots go; an empty
    rest becomes "audio". At most 100 characters and 180 bytes of UTF-8, so that any suffix still fits a file name.
    Names in two Unicode forms, or of letters that look the same, count as one name.
    """
    stems: list[str] = []
    taken: set[str] = set()
    for name in filenames:
        base = _safe_stem(name)
        stem, count = base, 1
        while looks_like(stem) in taken:
            count += 1
            stem = f"{base}-{count}"
        taken.add(looks_like(stem))
        stems.append(stem)
    return stems


def looks_like(name: str) -> str:
    """The same text for names that people, or file systems, cannot tell apart; only good for comparing."""
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return _INVISIBLE_LETTERS.sub("", plain).translate(_LOOKALIKES)


def _safe_stem(name: str) -> str:
    last = unicodedata.normalize("NFC", name).replace("\\", "/").rsplit("/", 1)[-1]
    stem = last.rsplit(".", 1)[0] if "." in last.lstrip(".") else last
    kept = "".join(c for c in stem if c.isprintable() and c not in '/\\:*?"<>|').strip(" .")
    short = kept[:100].encode("utf-8", "ignore")[:180].decode("utf-8", "ignore").strip(" .")
    return short or "audio"


def numbered(index: int, take: int) -> str:
    """The name of what belongs to an input, or to a take of it."""
    return f"{index}.{take}" if take else str(index)
