"""Form fields of the OpenAI audio API that take more than one value or a shape of their own. Pure."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from btworker.errors import BtworkerError, ErrorCode
from btworker.web.mistakes import first_mistake

CHUNKING = "chunking_strategy"
SERVER_VAD = (
    f"{CHUNKING} must be auto, or server_vad with prefix_padding_ms, silence_duration_ms and threshold (0 to 1)"
)
Values = Mapping[str, Sequence[str]]
"""Name without brackets at its end -> all values."""


class ServerVad(BaseModel):
    """A chunking_strategy in detail, as OpenAI documents it. It has no effect: sound is cut where nobody speaks."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["server_vad"]
    prefix_padding_ms: int | None = Field(None, ge=0)
    silence_duration_ms: int | None = Field(None, ge=0)
    threshold: float | None = Field(None, ge=0, le=1)


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
