"""What pyannote.audio wants to know of a model in a checkpoint."""

from __future__ import annotations

from pyannote.audio.core.task import Problem, Resolution, Specifications


def of_segmentation(duration_s: float, *, people: int, at_once: int) -> Specifications:
    """Who of `people` speaks when in a chunk, `at_once` of them at most: a class for each set of them."""
    return Specifications(
        problem=Problem.MONO_LABEL_CLASSIFICATION,
        resolution=Resolution.FRAME,
        duration=duration_s,
        min_duration=None,
        warm_up=(0.0, 0.0),
        classes=[f"speaker#{n}" for n in range(1, people + 1)],
        powerset_max_classes=at_once,
        permutation_invariant=True,
    )


def of_embedding(duration_s: float) -> Specifications:
    """One vector a chunk. The names of its classes are those of the training, and nobody asks for them."""
    return Specifications(
        problem=Problem.REPRESENTATION,
        resolution=Resolution.CHUNK,
        duration=duration_s,
        min_duration=None,
        warm_up=(0.0, 0.0),
        classes=["one", "another"],
    )
