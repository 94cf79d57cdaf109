"""Log-probabilities of a text's tokens, in OpenAI's shape. Pure records, used in all processes."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token of a text, and how sure the model was of it."""

    data: bytes
    """In UTF-8; a character may begin in one token and end in the next."""
    logprob: float

    @property
    def text(self) -> str:
        """As far as it is whole."""
        return self.data.decode("utf-8", "replace")

    def to_dict(self) -> dict[str, Any]:
        """A shape for JSON, as OpenAI has it."""
        return {"token": self.text, "bytes": list(self.data), "logprob": self.logprob}

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> "TokenLogprob":
        """The inverse of to_dict."""
        return cls(bytes(raw["bytes"]), raw["logprob"])
