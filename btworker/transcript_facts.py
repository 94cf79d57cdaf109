"""What is found in a recording beside its text: turns, missing speech, channels, people who were known before. Pure."""

from dataclasses import dataclass
from typing import Any, NamedTuple


def channel_shape(number: int | None) -> dict[str, int]:
    """Make the part of a shape for JSON that says which channel it is of; empty for the mix."""
    return {} if number is None else {"channel": number}


@dataclass(frozen=True, slots=True)
class Turn:
    """Someone speaks from `start` to `end`; "SPEAKER_00" is who speaks first."""

    start: float
    end: float
    speaker: str
    channel: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Times to the millisecond."""
        shape = {"start": round(self.start, 3), "end": round(self.end, 3), "speaker": self.speaker}
        return {**shape, **channel_shape(self.channel)}


class Missing(NamedTuple):
    """Stretch in which somebody speaks and no text came out, in seconds."""

    start: float
    end: float
    channel: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """A shape for JSON."""
        return {"start": self.start, "end": self.end, **channel_shape(self.channel)}


@dataclass(frozen=True, slots=True)
class ChannelFacts:
    """A channel that was transcribed by itself, or why it was not."""

    channel: int
    """Number, from 1."""
    language: str = ""
    """Language of most of its text; empty where it has none."""
    silent: bool = False
    same_as: int | None = None
    """Number of an earlier channel with the same sound, whose text is its text."""

    def to_dict(self) -> dict[str, Any]:
        """A shape for JSON, without what says nothing."""
        shape = {"channel": self.channel, "language": self.language, "silent": self.silent, "same_as": self.same_as}
        return {name: value for name, value in shape.items() if value}


@dataclass(frozen=True, slots=True)
class KnownVoice:
    """Somebody who was known before, and the speaker of the recording who is most like them."""

    name: str
    speaker: str | None
    """Name that the speaker got in order of appearance; None: nobody is like them."""
    score: float | None
    """Cosine of both voices' embeddings, -1 to 1; None where there was nothing to compare."""
    margin: float | None = None
    """By how much the score is higher than that of the next best pair of either; None where there is none."""
    matched: bool = False
    """The speaker has their name in the transcript."""
    channel: int | None = None
    """See Word."""

    def to_dict(self) -> dict[str, Any]:
        """A shape for JSON, numbers to four digits."""
        numbers = {"score": self.score, "margin": self.margin}
        rounded = {name: None if value is None else round(value, 4) for name, value in numbers.items()}
        shape = {"name": self.name, "matched": self.matched, "speaker": self.speaker, **rounded}
        return {**shape, **channel_shape(self.channel)}

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> "KnownVoice":
        """The inverse of to_dict."""
        return cls(raw["name"], raw["speaker"], raw["score"], raw["margin"], raw["matched"], raw.get("channel"))
