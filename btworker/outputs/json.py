"""The whole result as JSON, in openai-whisper's shape. This is the file that is read again to render the others."""

import json
import math
from pathlib import Path
from typing import Any

from btworker.outputs.presentation import Presentation
from btworker.transcript import Transcript


def write_json(transcript: Transcript, presentation: Presentation) -> str:  # noqa: ARG001 - the writers' one signature
    """One line. A number that JSON cannot hold (a NaN from a broken model) becomes null."""
    shape = transcript.to_dict()
    if any("words" in segment for segment in shape["segments"]):
        for segment in shape["segments"]:
            segment.setdefault("words", [])  # whisper has the key in every segment or in none
    try:
        return json.dumps(shape, ensure_ascii=False, allow_nan=False) + "\n"
    except ValueError:
        return json.dumps(_finite(shape), ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path) -> Transcript:
    """Blocking: what write_json wrote. Raises OSError."""
    return Transcript.from_dict(json.loads(path.read_bytes()))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
