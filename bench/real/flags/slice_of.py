"""A small part of the rows as a file for the tests: segments in numbers, and whether they are invented.

One JSON object a line for each clip: its language, where the detector finds speech, the last temperature that was
tried if a window needed it, and its segments as
[label, text, start, end, temperature, avg_logprob, compression_ratio, no_speech_prob, probabilities of the words,
share of its letters that came out again or null].
"""

import json
from collections.abc import Sequence
from pathlib import Path

from bench.real.flags.clips import HALVES
from bench.real.flags.kept import Row
from bench.real.flags.labels import INVENTED, REAL

EVERY = 3
"""Clips of the half that is held out: every so many of those with a segment that counts."""


def write(path: Path, some: Sequence[Row]) -> None:
    """Write it."""
    held_out = [row for row in some if row.half == HALVES[1] and {INVENTED, REAL}.intersection(row.labels)]
    lines = (json.dumps(_shape(row), ensure_ascii=False, separators=(",", ":")) for row in held_out[::EVERY])
    path.write_text("".join(f"{line}\n" for line in lines))


def _shape(row: Row) -> dict[str, object]:
    segments = [
        [
            label,
            one.text,
            one.start,
            one.end,
            one.temperature,
            one.avg_logprob,
            one.compression_ratio,
            one.no_speech_prob,
            [word.probability for word in one.words],
            share,
        ]
        for label, one, share in zip(row.labels, row.segments, row.shares, strict=True)
    ]
    return {"language": row.language, "speech": row.speech, "last": row.last_temperature, "segments": segments}
