"""A voice as it is kept: the embedding of somebody's speech, and what made it. Pure; crosses processes as a file.

A child makes one (engine/job/references.py); service/voices.py keeps those that are stored.
"""

import json
from dataclasses import asdict, dataclass

ENROLLED = "voice.json"
"""File in the folder of a job that makes a voice: what it has made."""


@dataclass(frozen=True, slots=True)
class Voice:
    """Numbers of a voice; only those of one model can be compared."""

    embedding: tuple[float, ...]
    model: str
    """Which embedding made it: a hash of its weights."""
    seconds: float
    """Of sound, that it was made of."""

    def to_json(self) -> bytes:
        """One line."""
        return json.dumps({**asdict(self), "dimension": len(self.embedding)}).encode()

    @classmethod
    def from_json(cls, raw: bytes) -> "Voice":
        """Read what to_json wrote. Raises ValueError."""
        try:
            shape = json.loads(raw)
            return cls(tuple(map(float, shape["embedding"])), str(shape["model"]), float(shape["seconds"]))
        except (KeyError, TypeError):
            raise ValueError("no voice") from None
