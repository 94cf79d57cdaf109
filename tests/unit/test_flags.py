"""What is flagged of segments that OpenAI's models made of recordings and sounds, where it is known what is invented.

A slice of what `python -m bench.real.flags` counts, of recordings and sounds to which no weight was fitted;
bench/real/flags/labels.py says what is invented. Whoever changes weights, phrases or rules sees here what it costs.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from btworker.engine.quality.hallucinations import assess, doubts
from btworker.engine.quality.second_look import after_second_look
from btworker.transcript import Segment, Word

SLICE = Path(__file__).resolve().parents[1] / "data" / "flags.jsonl"
LEAST_INVENTED, MOST_REAL = 46, 2
"""Segments flagged at the default sensitivity, of 46 and of 286."""
Interval = tuple[float, float]


def clips() -> Iterator[tuple[list[str], tuple[Segment, ...], dict[str, Any]]]:
    """Read the labels of a clip's segments, its segments, and what else is known of it, for each clip."""
    for line in SLICE.read_text().splitlines():
        clip = json.loads(line)
        labels = [segment[0] for segment in clip["segments"]]
        yield labels, tuple(segment_of(*segment[1:]) for segment in clip["segments"]), clip


def segment_of(text: str, start: float, end: float, *numbers: Any) -> Segment:
    """Make a segment of what the slice has of it: see bench/real/flags/slice_of.py."""
    temperature, avg_logprob, compression_ratio, no_speech_prob, probabilities, _ = numbers
    words = tuple(Word("", start, end, probability) for probability in probabilities)
    return Segment(0, 0, start, end, text, (), temperature, avg_logprob, compression_ratio, no_speech_prob, words=words)


def between(spans: Sequence[Interval], low: float, high: float) -> list[Interval]:
    """List the speech between two times, cut off there."""
    return [(max(start, low), min(end, high)) for start, end in spans if start < high and end > low]


def flagged(sensitivity: int) -> Counter[tuple[str, bool]]:
    """Count the segments with text by what they are, and whether they are flagged."""
    counts = Counter[tuple[str, bool]]()
    for labels, segments, clip in clips():
        speech = partial(between, clip["speech"])
        points = doubts(segments, language=clip["language"], speech_between=speech, last_temperature=clip["last"])
        shares = [segment[-1] for segment in clip["segments"]]
        looked = [
            one if share is None else after_second_look(one, share) for one, share in zip(points, shares, strict=True)
        ]
        found = assess(segments, looked, sensitivity=sensitivity)
        for label, one in zip(labels, found, strict=True):
            assert one.hallucination is None or one.hallucination.reasons
            if one.text.strip():
                counts[label, one.hallucination is not None and one.hallucination.flagged] += 1
    return counts


def test_inventions_are_flagged_and_real_segments_are_not() -> None:
    """As many as were when the weights were fitted, or better."""
    counts = flagged(50)
    assert counts["invented", True] >= LEAST_INVENTED
    assert counts["real", True] <= MOST_REAL


def test_a_higher_sensitivity_flags_more() -> None:
    """Of inventions and of real segments: it says how many doubts a client wants to hear of."""
    for label in ("invented", "real"):
        of_label = [flagged(sensitivity)[label, True] for sensitivity in (0, 25, 50, 75, 100)]
        assert of_label == sorted(of_label)
        assert of_label[0] < of_label[-1]
