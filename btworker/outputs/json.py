"""The whole result as JSON, in openai-whisper's shape. This is the file that is read again to render the others."""

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from btworker.outputs.presentation import Presentation
from btworker.transcript import Segment, Transcript

_BEGINS = '{"text": '


def write_json(transcript: Transcript, presentation: Presentation) -> str:  # noqa: ARG001 - the writers' one signature
    """One line. A number that JSON cannot hold (a NaN from a broken model) becomes null.

    Written segment by segment: as dictionaries, all words of ten hours take several times the room of their text.
    """
    return "".join(_parts(transcript))


def _parts(transcript: Transcript) -> Iterator[str]:
    before = "{"
    for name, value in replace(transcript, segments=()).to_dict().items():
        yield f'{before}"{name}": '
        before = ", "
        if name == "segments":
            yield from _segments(transcript.segments)
            yield f', "hallucination_stats": {_dumps(_stats(transcript.segments))}'
        else:
            yield _dumps(value)
    yield "}\n"


def _stats(segments: Sequence[Segment]) -> dict[str, Any]:
    """How many segments were flagged, by reason, as a Bulk Transcribe controller's own worker counts them."""
    flagged = [one.hallucination.reasons for one in segments if one.hallucination and one.hallucination.flagged]
    reasons = Counter(reason for reasons in flagged for reason in reasons)
    return {"total": len(segments), "flagged": len(flagged), "removed": 0, "reasons": dict(reasons)}


def _segments(segments: Sequence[Segment]) -> Iterator[str]:
    has_words = any(segment.words for segment in segments)
    before = "["
    for segment in segments:
        shape = segment.to_dict()
        if has_words:
            shape.setdefault("words", [])  # whisper has the key in every segment or in none
        yield before
        yield _dumps(shape)
        before = ", "
    yield "]" if segments else "[]"


def _dumps(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False)


def read_json(path: Path) -> Transcript:
    """Blocking: what write_json wrote. Raises OSError."""
    return Transcript.from_dict(json.loads(path.read_bytes()))


def read_text(path: Path) -> str:
    """Blocking: the text alone of what write_json wrote, in which it comes first; nothing where the file is none."""
    try:
        raw = path.read_text(encoding="utf-8")
        text, _ = json.JSONDecoder().raw_decode(raw, len(_BEGINS)) if raw.startswith(_BEGINS) else ("", 0)
    except (OSError, ValueError):
        return ""
    return text if isinstance(text, str) else ""


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
