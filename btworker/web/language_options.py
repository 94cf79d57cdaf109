"""The language of a recording, or those that it may be in, as clients ask for them. Pure, parent."""

from collections.abc import Sequence
from functools import partial

from btworker.checkpoints import official
from btworker.config import Settings
from btworker.errors import BtworkerError, ErrorCode, lacks_language
from btworker.jobs import EACH_WINDOW
from btworker.web.languages import LANGUAGES, language_code, nearest_code
from btworker.web.mistakes import bad_option

NAME = "languages"
ONE = "a language's code or English name, auto-each, or empty to detect it"
SEVERAL = "codes or English names of languages, in a list or with commas between them"
MOST = 20
"""Languages to choose from: more is no choice."""
_bad = partial(bad_option, "language")
_bad_list = partial(bad_option, NAME)


def split_languages(raw: object) -> object:
    """Take texts apart at commas. What is no text is left to the form, which refuses it."""
    items = raw if isinstance(raw, list | tuple) else [raw]
    words = [word for item in items for word in (item.split(",") if isinstance(item, str) else [item])]
    return [word for word in words if not (isinstance(word, str) and not word.strip())]


def chosen_languages(
    one: str, several: Sequence[str], *, model: str, decode: str, settings: Settings
) -> tuple[str, tuple[str, ...]]:
    """Return the language (empty: to be detected; EACH_WINDOW: in each window), and those that it is detected among
    (none: all of the model's). A list of one is that language. Raises BAD_OPTION.

    An operator's own checkpoint is asked by the child that loads it.
    """
    language = _known(one, ONE, "language", model, settings)
    among = tuple(dict.fromkeys(_known(name, SEVERAL, NAME, model, settings) for name in several))
    if not all(code in LANGUAGES for code in among):
        raise _bad_list("auto and auto-each are no languages; give them as language, beside languages")
    if among and language in LANGUAGES:
        raise _bad_list("language is given as well: give one language, or those to choose from")
    if language == EACH_WINDOW and decode == "exact":
        raise _bad("auto-each needs decode=fast: exact is openai-whisper's loop, which has one language")
    return (among[0], ()) if len(among) == 1 else (language, among)


def _known(asked: str, allowed: str, option: str, model: str, settings: Settings) -> str:
    language = language_code(asked)
    if language is None:
        near = nearest_code(asked)
        message = f"{option} must be {allowed}; the nearest is {near} ({LANGUAGES[near]})"
        raise BtworkerError(ErrorCode.BAD_OPTION, message, param=option)
    known = official(model) if settings.model_paths[model] is None else None
    if language in LANGUAGES and known is not None and language not in list(LANGUAGES)[: known.languages]:
        raise BtworkerError(ErrorCode.BAD_OPTION, lacks_language(model, LANGUAGES[language]), param=option)
    return language
