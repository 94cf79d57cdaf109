"""What an engine made of a recording, in one form for all engines."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class HeardWord:
    """A word and its seconds."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class HeardSegment:
    """A segment; flagged where the engine itself doubts it."""

    text: str
    start: float
    end: float
    words: tuple[HeardWord, ...] = ()
    flagged: bool = False
    temperature: float = 0.0


@dataclass(frozen=True)
class Heard:
    """A transcript, and what it cost."""

    text: str
    language: str
    segments: tuple[HeardSegment, ...]
    cpu_s: float
    missing: tuple[tuple[float, float], ...] = ()
    """Where the engine itself says that speech has no text."""
    windows: int = 0
    """That were encoded; 0 where nobody counts."""
    steps: int = 0
    """Of one row each; 0 where nobody counts."""

    @property
    def words(self) -> list[HeardWord]:
        """Of all segments."""
        return [word for segment in self.segments for word in segment.words]

    def to_dict(self) -> dict[str, Any]:
        """A shape for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> "Heard":
        """The inverse of to_dict."""
        segments = tuple(
            HeardSegment(**{**one, "words": tuple(HeardWord(**word) for word in one["words"])})
            for one in raw["segments"]
        )
        missing = tuple((start, end) for start, end in raw["missing"])
        return cls(**{**raw, "segments": segments, "missing": missing})
