"""Whose voices the speakers of a recording are: embeddings compared, one name for one speaker. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from btworker.transcript import KnownVoice, Turn

Vector = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Likeness:
    """From when on a speaker is taken for a known one."""

    least_score: float
    """Cosine of both embeddings."""
    least_margin: float
    """By how much another known voice has to be less like the speaker."""


def match(
    speakers: Mapping[str, Vector], known: Sequence[tuple[str, Vector | None]], rules: Likeness
) -> tuple[KnownVoice, ...]:
    """Match known voices, (name, embedding), with the speakers of a recording, one to one, so that the sum of the
    scores that reach the least is the highest. A voice that is None is like nobody."""
    from scipy.optimize import linear_sum_assignment  # late: half a second, for nothing where nobody is known

    names = list(speakers)
    scores = _cosines([voice for _, voice in known], [speakers[name] for name in names])
    pairs = dict(zip(*linear_sum_assignment(-np.where(scores >= rules.least_score, scores, 0.0)), strict=True))
    return tuple(_known(name, row, pairs.get(row), scores, names, rules) for row, (name, _) in enumerate(known))


def _known(
    name: str, row: int, column: int | None, scores: Vector, names: Sequence[str], rules: Likeness
) -> KnownVoice:
    """Take the pair of the assignment where it is good enough, else the speaker who is most like the voice."""
    if not names or not np.isfinite(scores[row]).any():
        return KnownVoice(name, None, None)
    if column is not None:
        pair = _pair(name, row, column, scores, names)
        if scores[row, column] >= rules.least_score and (pair.margin is None or pair.margin >= rules.least_margin):
            return replace(pair, matched=True)
    return _pair(name, row, int(np.argmax(scores[row])), scores, names)


def _pair(name: str, row: int, column: int, scores: Vector, names: Sequence[str]) -> KnownVoice:
    others = np.delete(scores[:, column], row)
    others = others[np.isfinite(others)]
    score = float(scores[row, column])
    return KnownVoice(name, names[column], score, score - float(others.max()) if len(others) else None)


def _cosines(known: Sequence[Vector | None], speakers: Sequence[Vector]) -> Vector:
    """(known, speakers); minus infinity where one has no voice."""
    scores = np.full((len(known), len(speakers)), -np.inf)
    for row, one in enumerate(known):
        for column, other in enumerate(speakers):
            if one is not None and one.shape == other.shape:
                length = float(np.linalg.norm(one) * np.linalg.norm(other))
                cosine = float(one @ other) / length if length else np.nan
                scores[row, column] = cosine if np.isfinite(cosine) else -np.inf
    return scores


def named(turns: Sequence[Turn], found: Sequence[KnownVoice]) -> tuple[Turn, ...]:
    """Turns with the names of the speakers who are known."""
    names = {one.speaker: one.name for one in found if one.matched}
    return tuple(replace(turn, speaker=names.get(turn.speaker, turn.speaker)) for turn in turns)
