"""What clients call people whom a job may know: names to show, in every output. Pure."""

import re
import unicodedata
from collections.abc import Sequence
from functools import partial

from btworker.config import Settings
from btworker.jobs import KnownSpeaker
from btworker.stems import looks_like
from btworker.web.mistakes import bad_option

MAX_CHARS = 100
_OURS = re.compile(r"speaker_?\d+", re.IGNORECASE)
"""What speakers are called whom nobody knows."""
PARAM = "known_speaker_names"
_bad = partial(bad_option, PARAM)


def known_speakers(names: Sequence[str], settings: Settings) -> tuple[KnownSpeaker, ...]:
    """Those whom a job may know. Raises BAD_OPTION for a name that cannot be shown or distinguished from another."""
    if len(names) > settings.known_speakers:
        raise _bad(f"{len(names)} names; at most {settings.known_speakers} are taken here (WORKER_KNOWN_SPEAKERS)")
    clean = [clean_name(name) for name in names]
    if len({looks_like(name) for name in clean}) < len(clean):
        raise _bad("each name may be given once, and no two may look the same")
    return tuple(map(KnownSpeaker, clean))


def clean_name(raw: str, *, param: str = PARAM) -> str:
    """The name in Unicode's composed form, on one line, without what cannot be shown. Raises BAD_OPTION."""
    spaced = "".join(" " if c.isspace() else c for c in unicodedata.normalize("NFC", raw))
    name = " ".join("".join(c for c in spaced if c.isprintable()).split())
    if not 1 <= len(name) <= MAX_CHARS:
        raise bad_option(param, f"a name has 1 to {MAX_CHARS} characters that can be shown")
    if _OURS.fullmatch(name):
        raise bad_option(
            param, "SPEAKER_ and a number is what speakers are called whom nobody knows; take another name"
        )
    return name
