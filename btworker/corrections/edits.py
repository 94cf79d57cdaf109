"""The edits of a transcript, by their names on the wire, which are those in the table as well."""

import re
import unicodedata
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter

MAX_NAME_CHARS = 100
MAX_TEXT_CHARS = 10_000
MAX_EDITS = 1000
"""Edits in one change."""
NEW_SPEAKER = re.compile(r"SPEAKER_\d{2,3}")
"""Label of a speaker whom nobody found, which an edit may bring in."""
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]+")


def _shown_name(raw: str) -> str:
    """Bring a name to one line, without what cannot be shown. Raises ValueError."""
    spaced = "".join(" " if c.isspace() else c for c in unicodedata.normalize("NFC", raw))
    name = " ".join("".join(c for c in spaced if c.isprintable()).split())
    if not 1 <= len(name) <= MAX_NAME_CHARS:
        raise ValueError(f"must have 1 to {MAX_NAME_CHARS} characters that can be shown")
    return name


def _plain_text(raw: str) -> str:
    """Make a text one line, without controls."""
    return _CONTROLS.sub(" ", raw).strip()


Name = Annotated[str, Field(max_length=1000), AfterValidator(_shown_name)]
Speaker = Annotated[str, Field(min_length=1, max_length=200)]
Text = Annotated[str, Field(max_length=MAX_TEXT_CHARS), AfterValidator(_plain_text)]
Number = Annotated[int, Field(ge=0, le=10_000_000)]


class _Edit(BaseModel):
    """What all edits have."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    input: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Number of the input, counted from 0."""


class NameSpeaker(_Edit):
    """A speaker gets a name; null takes it away again."""

    op: Literal["name"]
    speaker: Speaker
    name: Name | None


class MergeSpeaker(_Edit):
    """What a speaker said is another one's, who is the same person; null parts them again."""

    op: Literal["merge"]
    speaker: Speaker
    into: Speaker | None


class AssignSegment(_Edit):
    """A segment is another speaker's; null: whose the engine said. A label SPEAKER_NN that nobody has brings in a new
    speaker."""

    op: Literal["assign"]
    segment: Number
    speaker: Speaker | None


class EditText(_Edit):
    """A segment's text; empty: nothing was said there; null: what the engine found."""

    op: Literal["text"]
    segment: Number
    text: Text | None


class CheckSegment(_Edit):
    """Somebody looked at a segment, and it is right now."""

    op: Literal["check"]
    segment: Number
    checked: bool


Edit = Annotated[
    NameSpeaker | MergeSpeaker | AssignSegment | EditText | CheckSegment,
    Field(discriminator="op"),
]


class Change(BaseModel):
    """One version of the corrections: what was edited, or which earlier version it brings back."""

    model_config = ConfigDict(frozen=True)

    version: int
    at: float
    """Seconds since the epoch."""
    by: str
    """Name of the key, or operator."""
    edits: tuple[Edit, ...] = ()
    restored: int | None = None


CHANGE: TypeAdapter[Change] = TypeAdapter(Change)
