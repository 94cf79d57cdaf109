"""Points of the measures (engine/quality/measures.py), fitted to segments of which it is known what they are.

The chance of an invention is taken as logistic in the sum of all points; those of reasons in the text stay as they are.
Points are never negative: no number makes a segment less doubtful. At last all are scaled alike, so that as few real
segments of these are flagged at the default sensitivity as is wanted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log

import numpy as np
import torch
from numpy.typing import NDArray

from bench.real.flags.kept import Row
from bench.real.flags.labels import INVENTED, REAL
from btworker.engine.quality.hallucinations import LAST_RESORT, is_last_resort, text_points, threshold
from btworker.engine.quality.measures import RAMPS, Points, measures
from btworker.engine.quality.second_look import after_second_look
from btworker.transcript import Segment

NAMES = tuple(RAMPS)
ENOUGH = -log(1 - threshold(50))
"""Points from which on a segment is flagged at the default sensitivity."""
STEPS = 3000
RIDGE = 1e-3
"""Keeps points of measures small that say the same."""


@dataclass(frozen=True)
class Observation:
    """A segment in numbers."""

    row: Row
    segment: Segment
    label: str
    of_text: Points
    units: tuple[float, ...]
    """Of each measure, in the order of NAMES."""
    share: float | None
    """Of its letters, what came out again."""

    def points(self, of_measures: Sequence[float]) -> float:
        """All of them, where the measures have these for a unit."""
        found = Points(float, self.of_text)
        for name, one, unit in zip(NAMES, of_measures, self.units, strict=True):
            found[RAMPS[name].reason] += one * unit
        if is_last_resort(self.segment, self.row.last_temperature):
            found[LAST_RESORT.reason] = max(found[LAST_RESORT.reason], LAST_RESORT.points)
        return sum((found if self.share is None else after_second_look(found, self.share)).values())


def observations(some: Sequence[Row]) -> Iterator[Observation]:
    """Measure all segments with text."""
    for row in some:
        of_text = text_points(row.segments, row.language)
        for segment, label, points, share in zip(row.segments, row.labels, of_text, row.shares, strict=True):
            if segment.text.strip():
                found = dict(measures(segment, row.speech_between))
                units = tuple(RAMPS[name].units(found[name]) for name in NAMES)
                yield Observation(row, segment, label, points, units, share)


def fit(some: Sequence[Observation], *, false_share: float) -> list[float]:
    """Find points for a unit of each measure, with that share of the real segments flagged at most."""
    known = [one for one in some if one.label in (INVENTED, REAL)]
    units = torch.tensor([one.units for one in known], dtype=torch.float64)
    text = torch.tensor([sum(one.of_text.values()) for one in known], dtype=torch.float64)
    invented = torch.tensor([one.label == INVENTED for one in known], dtype=torch.float64)
    points = torch.full((len(NAMES),), 0.3, dtype=torch.float64, requires_grad=True)
    slope = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([points, slope], lr=0.02)
    for _ in range(STEPS):
        chance = slope * (units @ points + text - ENOUGH)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(chance, invented) + RIDGE * (points**2).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            points.clamp_(min=0.0)
    found = points.detach().numpy()
    real = [one for one in known if one.label == REAL]
    return [round(float(one), 2) for one in found * _scale(real, found, false_share)]


def _scale(real: Sequence[Observation], points: NDArray[np.float64], false_share: float) -> float:
    """Find the largest factor at which no more of the real segments are flagged."""
    may_be = int(false_share * len(real))
    for scale in np.arange(3.0, 0.1, -0.01):
        if sum(one.points(scale * points) >= ENOUGH for one in real) <= may_be:
            return float(scale)
    return 0.1
