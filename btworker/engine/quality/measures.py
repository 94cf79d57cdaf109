"""Numbers of a segment that tell an invention from what was spoken, and what each counts for. Pure.

Nothing of it is decoded for this: the decoder has the probabilities, the alignment those of words, the detector knows
where somebody speaks. The points are fitted (docs/quality.md says on what): `python -m bench.real.flags --fit` prints
this table.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import log

from btworker.engine.quality.coverage import Interval
from btworker.transcript import Segment

SpeechBetween = Callable[[float, float], Sequence[Interval]]
"""(low, high) in seconds -> the speech between them, cut off there."""
Points = defaultdict[str, float]
"""Of each reason to doubt a segment; 0 of others. See Ramp.points."""
LEAST_S = 0.1
"""A segment is taken to be that long at least."""
LEAST_PROBABILITY = 1e-5


@dataclass(frozen=True, slots=True)
class Ramp:
    """A reason that begins at a number, and counts more with each unit beyond it."""

    reason: str
    begins: float
    points: float
    """For each unit. Points p alone say that an invention is likely by 1 - exp(-p); those of all reasons add up."""
    most: float
    """Units that count."""

    def units(self, number: float) -> float:
        """Compute how far beyond its beginning a number is; 0 for a NaN."""
        return min(max(0.0, number - self.begins), self.most)


RAMPS = {
    "silence": Ramp("no_speech_detected", begins=0.5, points=1.47, most=0.5),
    "improbability": Ramp("low_avg_logprob", begins=0.5, points=0.44, most=3.5),
    "no_speech_prob": Ramp("high_no_speech_prob", begins=0.3, points=0.71, most=0.35),
    "compression_ratio": Ramp("high_compression_ratio", begins=2.2, points=0.7, most=2.0),
}
"""By the measure's name."""


def measures(segment: Segment, speech_between: SpeechBetween | None) -> Iterator[tuple[str, float]]:
    """Give the segment's (name, number), each the higher the more doubtful:

    silence             share of its time in which the detector finds no speech; none where nobody looked for it
    improbability       mean -ln of the probabilities of its words, where they are aligned, else of its window's tokens
    no_speech_prob      the window's, as openai-whisper has it
    compression_ratio   the window's, too
    """
    if speech_between is not None:
        spoken_s = sum(end - start for start, end in speech_between(segment.start, segment.end))
        yield "silence", 1 - spoken_s / _duration_s(segment)
    yield "improbability", _improbability(segment)
    yield "no_speech_prob", segment.no_speech_prob
    yield "compression_ratio", segment.compression_ratio


def _improbability(segment: Segment) -> float:
    if not segment.words:
        return -segment.avg_logprob
    return -sum(log(max(word.probability, LEAST_PROBABILITY)) for word in segment.words) / len(segment.words)


def _duration_s(segment: Segment) -> float:
    return max(LEAST_S, segment.end - segment.start)
