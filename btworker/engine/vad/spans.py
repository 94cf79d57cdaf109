"""From speech probabilities to spans of speech. Pure numpy; the rules are those of silero-vad's get_speech_timestamps.

Speech begins where the probability reaches the threshold, and ends where it fell below a lower one and did not come
back for a while. What is too short is dropped, what remains is padded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from btworker.ffmpeg import SAMPLE_RATE

FRAME = 512
"""Samples from one probability to the next: 32 ms."""
SAMPLES_PER_MS = SAMPLE_RATE // 1000


@dataclass(frozen=True, slots=True)
class Span:
    """Samples `start` to `end` (exclusive) of a recording at 16 kHz."""

    start: int
    end: int

    @property
    def seconds(self) -> tuple[float, float]:
        """(start, end) in seconds."""
        return self.start / SAMPLE_RATE, self.end / SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class SpeechThresholds:
    """What counts as speech. The defaults serve recognition: to miss a word is worse than to decode a cough."""

    threshold: float = 0.5
    """silero's own."""
    threshold_to_end: float = 0.35
    """silero's own: 0.15 below."""
    fresh_threshold: float | None = 0.85
    """Mean chance of speech from which on a network that remembers only seconds is believed where the other, which
    remembers minutes of noise, hears none; None: it is not asked, as in silero. From 0.8 down, music is taken for
    speech (bench/real/noise.py)."""
    min_speech_ms: int = 100
    """silero drops what is not longer than 250 ms; a short "yes" or "ja" is not."""
    min_silence_ms: int = 200
    """silero ends speech after 100 ms; the closure of a "t" or "k" lasts as long, and windows are cut between spans."""
    pad_ms: int = 250
    """silero adds 30 ms. A soft "f", "s" or "h" at a word's edge is often below the threshold, and a first word that is
    cut at its edge is lost to the decoder."""


def spans_of(
    probabilities: npt.NDArray[np.float32], total_samples: int, rules: SpeechThresholds | None = None
) -> tuple[Span, ...]:
    """Spans of speech with room around them, in order, disjoint, inside the recording. They may touch where a pause is
    shorter than the pads.

    `probabilities` has one value for each 512 samples.
    """
    return with_room(voiced(probabilities, total_samples, rules), total_samples, rules)


def voiced(
    probabilities: npt.NDArray[np.float32], total_samples: int, rules: SpeechThresholds | None = None
) -> tuple[Span, ...]:
    """Find the same without room: from the first frame that is speech to the last."""
    rules = rules or SpeechThresholds()
    shortest = rules.min_speech_ms * SAMPLES_PER_MS
    return tuple(span for span in _raw(probabilities, total_samples, rules) if span.end - span.start > shortest)


def with_room(found: Sequence[Span], total_samples: int, rules: SpeechThresholds | None = None) -> tuple[Span, ...]:
    """Pad what voiced() found."""
    return tuple(_padded(found, total_samples, pad=(rules or SpeechThresholds()).pad_ms * SAMPLES_PER_MS))


def _raw(probabilities: npt.NDArray[np.float32], total_samples: int, rules: SpeechThresholds) -> Iterator[Span]:
    min_silence = rules.min_silence_ms * SAMPLES_PER_MS
    start: int | None = None
    silent_from: int | None = None
    for first, last, level in _runs(probabilities, rules):
        if level == 1:
            silent_from = None
            start = first if start is None else start
        elif level == -1 and start is not None:
            silent_from = first if silent_from is None else silent_from
            if last - silent_from >= min_silence:
                yield Span(start, silent_from)
                start = silent_from = None
    if start is not None:
        yield Span(start, total_samples)


def _runs(probabilities: npt.NDArray[np.float32], rules: SpeechThresholds) -> Iterator[tuple[int, int, int]]:
    """(first sample of the first frame, first sample of the last frame, level) of frames of one level in a row.

    Level 1 is speech, -1 is none, 0 is between the thresholds: what was, goes on.
    """
    if not len(probabilities):
        return
    exact = probabilities.astype(np.float64)  # as silero compares: 0.35 as a float32 is below 0.35
    levels = (exact >= rules.threshold).astype(np.int8) - (exact < rules.threshold_to_end)
    starts = np.concatenate([[0], np.flatnonzero(np.diff(levels)) + 1])
    lasts = np.concatenate([starts[1:], [len(levels)]]) - 1
    yield from zip((starts * FRAME).tolist(), (lasts * FRAME).tolist(), levels[starts].tolist(), strict=True)


def _padded(found: Sequence[Span], total_samples: int, *, pad: int) -> Iterator[Span]:
    """Room on both sides of each; where two are nearer than two pads, each takes half of the pause."""
    before = min(pad, found[0].start) if found else 0
    for number, span in enumerate(found):
        following = found[number + 1].start if number + 1 < len(found) else None
        if following is None:
            yield Span(span.start - before, min(span.end + pad, total_samples))
            return
        room = min(pad, (following - span.end) // 2)
        yield Span(span.start - before, span.end + room)
        before = room
