"""A transcript in the shapes of the OpenAI audio API. Pure."""

from collections.abc import Iterator
from typing import Any

from btworker.transcript import Segment, Transcript
from btworker.web.languages import LANGUAGES

SEGMENT_FIELDS = (
    "id",
    "seek",
    "start",
    "end",
    "text",
    "tokens",
    "temperature",
    "avg_logprob",
    "compression_ratio",
    "no_speech_prob",
)


def plain(transcript: Transcript) -> dict[str, Any]:
    """response_format json."""
    return {"text": transcript.text.strip(), "usage": _usage(transcript)}


def verbose(transcript: Transcript, *, task: str, granularities: frozenset[str]) -> dict[str, Any]:
    """response_format verbose_json; words stand at the top level."""
    shape: dict[str, Any] = {
        "task": task,
        "language": "english" if task == "translate" else LANGUAGES.get(transcript.language, transcript.language),
        "duration": transcript.duration_s,
        "text": transcript.text.strip(),
    }
    if "segment" in granularities:
        segments = (segment.to_dict() for segment in transcript.segments)
        shape["segments"] = [{name: raw[name] for name in SEGMENT_FIELDS} for raw in segments]
    if "word" in granularities:
        words = (word for segment in transcript.segments for word in segment.words)
        shape["words"] = [{"word": word.word.strip(), "start": word.start, "end": word.end} for word in words]
    return {**shape, "usage": _usage(transcript)}


def diarized(transcript: Transcript) -> dict[str, Any]:
    """response_format diarized_json."""
    return {
        "task": "transcribe",
        "duration": transcript.duration_s,
        "text": transcript.text.strip(),
        "segments": [_said(segment) for segment in transcript.segments],
        "usage": _usage(transcript),
    }


def text_delta(piece: str) -> dict[str, Any]:
    """The next piece of a stream's text."""
    return {"type": "transcript.text.delta", "delta": piece}


def last_events(transcript: Transcript, *, text: str, speakers: bool) -> Iterator[dict[str, Any]]:
    """The end of a stream: its segments where speakers are asked for, and its whole text."""
    if speakers:
        yield from map(_said, transcript.segments)
    yield {"type": "transcript.text.done", "text": text, "usage": _usage(transcript)}


def _said(segment: Segment) -> dict[str, Any]:
    return {
        "type": "transcript.text.segment",
        "id": f"seg_{segment.id}",
        "start": segment.start,
        "end": segment.end,
        "text": segment.text.strip(),
        "speaker": _letter(segment.speaker),
    }


def _letter(speaker: str | None) -> str:
    """SPEAKER_00 is A; behind Z come AA, AB and so on."""
    number = int((speaker or "SPEAKER_00").rpartition("_")[2])
    letters = ""
    while number >= 0:
        letters = chr(ord("A") + number % 26) + letters
        number = number // 26 - 1
    return letters


def _usage(transcript: Transcript) -> dict[str, Any]:
    return {"type": "duration", "seconds": transcript.duration_s}
