"""Keywords as clients send them: one field with commas or lines, a field for each, or a list in JSON. Pure."""

import unicodedata
from collections.abc import Sequence
from functools import partial
from typing import Any

from btworker.config import Settings
from btworker.web.mistakes import bad_option

NAME = "keywords"
_bad = partial(bad_option, NAME)
FIELDS = ("keywords", "keyword_bonus", "keyword_prompt_tokens")
"""Options that jobs with keywords alone have."""


def split_keywords(raw: object) -> object:
    """Take one text apart at commas and ends of lines, where what is empty does not count; a list is one already, and
    its items may have commas. What is no text is left to the form, which refuses it."""
    if isinstance(raw, str):
        return [_plain(piece) for piece in raw.replace("\n", ",").split(",") if piece.strip()]
    return [_plain(item) if isinstance(item, str) else item for item in raw] if isinstance(raw, list | tuple) else raw


def _plain(text: str) -> str:
    """Bring to Unicode's composed form, as Whisper writes, with single spaces."""
    return " ".join(filter(None, unicodedata.normalize("NFC", text).split(" "))).strip()


def keyword_options(
    keywords: Sequence[str], bonus: float | None, prompt_tokens: int | None, settings: Settings
) -> dict[str, Any]:
    """Make the options of keywords, with the settings' strength where a job gives none; empty without keywords. Raises
    BAD_OPTION."""
    found = checked_keywords(keywords, settings)
    if not found:
        return {}
    values = (
        found,
        settings.keyword_bonus if bonus is None else bonus,
        settings.keyword_prompt_tokens if prompt_tokens is None else prompt_tokens,
    )
    return dict(zip(FIELDS, values, strict=True))


def checked_keywords(keywords: Sequence[str], settings: Settings) -> tuple[str, ...]:
    """Return them without those that are there twice. Raises BAD_OPTION, with the number of the one at fault."""
    found = tuple(dict.fromkeys(keywords))
    if len(found) > settings.max_keywords:
        raise _bad(f"there are {len(found)}; at most {settings.max_keywords} are taken here (WORKER_MAX_KEYWORDS)")
    for number, word in enumerate(keywords, 1):
        if not word:
            raise _bad(f"number {number} is empty")
        if not word.isprintable():
            raise _bad(f"number {number} has a control character or another sign that is not printable")
        if len(word) > settings.max_keyword_chars:
            most = f"{settings.max_keyword_chars} (WORKER_MAX_KEYWORD_CHARS)"
            raise _bad(f"number {number} has {len(word)} characters, more than {most}; a keyword is a name or a term")
    return found
