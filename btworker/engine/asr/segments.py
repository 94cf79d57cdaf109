"""From the shapes that whisper's functions take to our segments. Pure: no torch, no model."""

from typing import Any

from btworker.logprobs import TokenLogprob
from btworker.transcript import Segment, Word


def clear_empty(segments: list[dict[str, Any]]) -> None:
    """Empty the segments of no length or without text: the next window must not have them as its prompt."""
    for shape in segments:
        if shape["start"] == shape["end"] or not shape["text"].strip():
            shape.update(text="", tokens=[], words=[], logprobs=[])


def segment(raw: dict[str, Any], number: int) -> Segment:
    """Make a segment of whisper's shape, with numpy's numbers made plain."""
    words = tuple(
        Word(word["word"], float(word["start"]), float(word["end"]), float(word["probability"]))
        for word in raw.get("words", ())
    )
    return Segment(
        id=number,
        seek=raw["seek"],
        start=float(raw["start"]),
        end=float(raw["end"]),
        text=raw["text"],
        tokens=tuple(raw["tokens"]),
        temperature=raw["temperature"],
        avg_logprob=raw["avg_logprob"],
        compression_ratio=raw["compression_ratio"],
        no_speech_prob=raw["no_speech_prob"],
        words=words,
        logprobs=tuple(TokenLogprob(data, logprob) for data, logprob in raw.get("logprobs", ())),
    )
