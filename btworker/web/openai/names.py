"""Names of OpenAI's transcription models, which programs go on sending, and what they mean here. Pure.

OpenAI ends whisper-1 and the gpt-4o-*transcribe* models on 2027-02-26; whoever is pointed at this worker instead keeps
its requests. docs/openai.md has what is answered how.
"""

import re
from collections.abc import Collection

NAMES = (
    *("whisper-1", "gpt-transcribe", "gpt-4o-transcribe", "gpt-4o-mini-transcribe"),
    *("gpt-4o-mini-transcribe-2025-12-15", "gpt-4o-transcribe-diarize"),
)
"""Those of OpenAI's documentation, as `GET /v1/models` lists them."""
_PATTERN = re.compile(r"(whisper-\d+|gpt-[a-z0-9.-]*transcribe(?P<speakers>-diarize)?)(-\d{4}-\d{2}-\d{2})?")
"""Snapshots (gpt-4o-mini-transcribe-2025-12-15) and successors are meant as well."""


def means_default(name: str, *, own: Collection[str]) -> bool:
    """Whether a name is one of OpenAI's, and so stands for WORKER_MODEL; the operator's `own` names go first."""
    return name not in own and _PATTERN.fullmatch(name) is not None


def tells_speakers(name: str) -> bool:
    """Whether OpenAI's model of that name tells speakers apart."""
    found = _PATTERN.fullmatch(name)
    return found is not None and found["speakers"] is not None


def counts_tokens(name: str) -> bool:
    """Whether OpenAI counts that model's use by tokens, and not by seconds."""
    return name.startswith("gpt-") and not tells_speakers(name)


def lists_languages(name: str) -> bool:
    """Whether that model's answer has the languages that were found: those after gpt-4o have."""
    return name.startswith("gpt-") and not name.startswith("gpt-4o")
