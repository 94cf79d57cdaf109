"""A transcript in OpenAI's shapes: types that strict clients insist on."""

import math

import pytest

from btworker.transcript import Segment, Transcript
from btworker.web.openai.shapes import verbose

NUMBERS = ("temperature", "avg_logprob", "compression_ratio", "no_speech_prob")


@pytest.mark.parametrize("value", [None, math.nan, -math.inf])
def test_a_segments_numbers_are_numbers(value: float | None) -> None:
    """What was not finite is null in a stored transcript; the AI SDK throws the whole answer away for one null."""
    segment = Segment(0, 0, 0.0, 1.0, " hi", temperature=value, avg_logprob=value, no_speech_prob=value)  # type: ignore[arg-type]
    shape = verbose(Transcript("hi", "en", (segment,), 1.0), task="transcribe", granularities=frozenset({"segment"}))
    found = shape["segments"][0]
    assert all(isinstance(found[name], float) and math.isfinite(found[name]) for name in NUMBERS)  # type: ignore[literal-required]
    assert found["avg_logprob"] < -1, "no threshold takes it for a good text"
