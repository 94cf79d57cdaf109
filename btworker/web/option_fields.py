"""What a form's fields say: one value for each name, whether it came as a field or in the one JSON object. What the
options are is options.py's.

Pure, parent.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from btworker.delivery.guard import Guard
from btworker.errors import BtworkerError, ErrorCode
from btworker.web.fields import bare, listed
from btworker.web.keywords import NAME as KEYWORDS
from btworker.web.language_options import NAME as LANGUAGES

Fields = Sequence[tuple[str, str]]
"""Form fields in the order in which they came."""
JSON_FIELD = "options"
SPEAKER_NAMES = "knownSpeakerNames"
CALLBACK = "callbackUrl"
"""Stands among the options, but says nothing of the work."""
SOURCE = "url"
"""The same: where the recording is, in place of a file."""
SPEAKER_REFERENCES = "knownSpeakerReferences"
"""The same: the voices of those names (web/jobs/references.py)."""
OUTPUTS_TO = "outputsTo"
"""The same: the folder of a bucket that the outputs are put into."""
REPEATABLE = frozenset({"outputs", "ranges", SPEAKER_NAMES, SPEAKER_REFERENCES, KEYWORDS, LANGUAGES})
NAME_FIELDS = frozenset({"known_speaker_names", SPEAKER_NAMES})
"""How OpenAI's clients spell it, and ours."""


def collect(fields: Fields) -> dict[str, Any]:
    """One value for each option, from form fields and from the JSON object; twice the same one is an error. An empty
    one is not given."""
    values: dict[str, Any] = {}
    for raw, text in fields:
        name = SPEAKER_NAMES if bare(raw) in NAME_FIELDS else raw
        for key, value in _pairs(name, text):
            if is_empty(value):
                continue
            if key in REPEATABLE and key in values:
                values[key] = [*_as_list(values[key]), *_as_list(value)]
                continue
            if key in values:
                raise BtworkerError(ErrorCode.BAD_OPTION, f"{shown(key)} is given twice", param=shown(key))
            values[key] = value
    return values


def _pairs(name: str, text: str) -> Iterable[tuple[str, Any]]:
    """What a field says: the members of the JSON object, or the value of one option."""
    if name == JSON_FIELD:
        return _json_object(text).items()
    items = listed(text) if name in REPEATABLE else None
    return [(name, text if items is None else items or "")]


def is_empty(value: object) -> bool:
    """A field in which nothing was chosen or typed."""
    return value is None or (isinstance(value, str) and not value.strip())


def _as_list(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else [value]


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise BtworkerError(ErrorCode.BAD_OPTION, "options must be one JSON object", param=JSON_FIELD)
    return value


def url_option(fields: Fields, name: str) -> str | None:
    """CALLBACK, where the end of the job is reported, or SOURCE, where its recording is. Raises BAD_OPTION."""
    url = value_beside(fields, name)
    if url is not None and not isinstance(url, str):
        raise BtworkerError(ErrorCode.BAD_OPTION, f"{name} must be a URL", param=name)
    return url


def value_beside(fields: Fields, name: str) -> Any:
    """What stands among the options under a name that says nothing of the work; None where nothing does."""
    return collect(fields).get(name)


def allowed_url(fields: Fields, name: str, guard: Guard) -> str | None:
    """The same, where the worker may go there. Raises BAD_OPTION, URL_REFUSED."""
    url = url_option(fields, name)
    if url is not None:
        guard.checked(url, what=name)
    return url


def shown(name: str) -> str:
    """A client's name for an option, short and printable."""
    return "".join(c if c.isprintable() else "?" for c in name[:64])
