"""Form fields of the OpenAI audio API that take more than one value or a shape of their own. Pure."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from btworker.errors import BtworkerError, ErrorCode
from btworker.web.fields import bare, listed
from btworker.web.mistakes import first_mistake
from btworker.web.option_fields import Fields, is_empty
from btworker.web.options import MOST_PROMPT_CHARS

GRANULARITIES = frozenset({"word", "segment"})
CHUNKING = "chunking_strategy"
SERVER_VAD = (
    f"{CHUNKING} must be auto, or server_vad with prefix_padding_ms, silence_duration_ms and threshold (0 to 1)"
)
LISTS = frozenset({"ranges", "languages"})
"""Options of ours that take commas."""
OF_PEERS = ("hotwords", "vad_filter", "diarization", "diarize")
"""What programs for speaches, faster-whisper-server and LocalAI send."""
Values = Mapping[str, Sequence[str]]
"""Name without brackets at its end -> all values."""


def collect(fields: Fields, *, repeatable: Collection[str]) -> dict[str, list[str]]:
    """All values of each name, without what is empty; a list in JSON counts as its items, where several are taken."""
    values: dict[str, list[str]] = {}
    for raw, text in fields:
        name = bare(raw)
        items = listed(text) if name in repeatable else None
        for value in [text] if items is None else items:
            if not is_empty(value):
                values.setdefault(name, []).append(value)
    return values


def in_our_words(name: str, given: Sequence[str]) -> str | None:
    """The value of our option of this name; None for a temperature of 0, which rises where a window fails, as ours
    does where none is given. Of a long prompt its end counts, as with OpenAI: a model is shown the last 223 tokens."""
    if name in LISTS:
        return ",".join(given)
    value = given[-1]
    if name == "temperature" and _is_zero(value):
        return None
    return value[-MOST_PROMPT_CHARS:] if name == "prompt" else value


def _is_zero(text: str) -> bool:
    """Whether a number is 0, however a program prints it: 0.0, 0.000000, -0."""
    try:
        return float(text) == 0
    except ValueError:
        return False


def granularities(values: Values, response_format: str) -> frozenset[str]:
    """Which times verbose_json has. Segments are what it has anyway: asking for them does no harm where there are
    none. Raises BAD_OPTION."""
    name = "timestamp_granularities"
    asked = frozenset(values.get(name, ("segment",)))
    if not asked <= GRANULARITIES:
        raise bad(name, f"{name} must be word or segment")
    if "word" in asked and response_format != "verbose_json":
        raise bad(name, f"{name} word needs response_format verbose_json")
    return asked


class ServerVad(BaseModel):
    """A chunking_strategy in detail, as OpenAI documents it. It has no effect: sound is cut where nobody speaks."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["server_vad"]
    prefix_padding_ms: int | None = Field(None, ge=0)
    silence_duration_ms: int | None = Field(None, ge=0)
    threshold: float | None = Field(None, ge=0, le=1)


def flag(values: Values, name: str) -> bool:
    """Whether a field is true; one that is not there is not. Raises BAD_OPTION."""
    value = values.get(name, ["false"])[-1].lower()
    if value not in ("true", "false", "1", "0"):
        raise bad(name, f"{name} must be true or false")
    return value in ("true", "1")


def keywords(values: Values) -> list[str]:
    """Names and terms, of which one may have a comma; hotwords are the same, with commas between them."""
    hotwords = (word.strip() for text in values.get("hotwords", ()) for word in text.split(","))
    return [*values.get("keywords", ()), *filter(None, hotwords)]


def is_chunking(name: str) -> bool:
    """Whether a field is a chunking_strategy, or a part of one: `chunking_strategy[type]`."""
    return name == CHUNKING or (name.startswith(f"{CHUNKING}[") and name.endswith("]"))


def check_chunking(values: Values) -> None:
    """Judge a chunking_strategy: a word, an object in JSON, or its parts. Raises BAD_OPTION."""
    parts: dict[str, Any] = {
        name.removeprefix(f"{CHUNKING}[").removesuffix("]"): given[-1]
        for name, given in values.items()
        if is_chunking(name) and name != CHUNKING
    }
    whole = values.get(CHUNKING, ["auto"])[-1]
    if whole in ("auto", "server_vad") and not parts:
        return
    try:
        if CHUNKING in values:
            parts |= json.loads(whole)
        ServerVad.model_validate(parts)
    except ValidationError as error:
        where = "".join(f"[{part}]" for part in first_mistake(error)[0])
        raise bad(CHUNKING, f"{SERVER_VAD}; what is wrong is {CHUNKING}{where[:64]}") from None
    except (ValueError, TypeError, RecursionError):
        raise bad(CHUNKING, SERVER_VAD) from None


def wants_logprobs(values: Values, response_format: str) -> bool:
    """Whether include has them. Raises BAD_OPTION."""
    asked = set(values.get("include", ()))
    if asked - {"logprobs"}:
        raise bad("include", "include must be logprobs")
    if asked and response_format != "json":
        raise bad("include", "include logprobs needs response_format json")
    return bool(asked)


def bad(param: str, message: str) -> BtworkerError:
    """A refusal that names a field."""
    return BtworkerError(ErrorCode.BAD_OPTION, message, param=param[:64])
