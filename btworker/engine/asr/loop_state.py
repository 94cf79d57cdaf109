"""Where a recording's transcription stands between two windows: small, frozen, and stored with every window."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class LoopState:
    """All that the next window needs to know of those before it."""

    seek: int = 0
    """Frame at which the next window begins."""
    prompt: tuple[int, ...] = ()
    """Tokens put before the next window: the last ones of the text since the prompt was last dropped."""
    last_speech_s: float = 0.0
    """End of the last word, for the word times of the next window."""
    segment_count: int = 0

    def to_dict(self) -> dict[str, Any]:
        """A shape for JSON."""
        return {
            "seek": self.seek,
            "prompt": list(self.prompt),
            "lastSpeech": self.last_speech_s,
            "segmentCount": self.segment_count,
        }

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> "LoopState":
        """The inverse of to_dict."""
        return cls(raw["seek"], tuple(raw["prompt"]), raw["lastSpeech"], raw["segmentCount"])
