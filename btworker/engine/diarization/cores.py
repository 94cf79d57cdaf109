"""Networks on all cores of a CPU: a batch is shared out, and each part runs in a thread of its own, on one core.

torch's own way, all cores in each operation, waits for the slowest of them hundreds of times a chunk: the LSTM of a
segmentation and the convolutions of an embedding take a quarter to a half longer that way (bench/diarization.py).
"""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pyannote.audio import Inference

from btworker.engine.stack.cores import divided

Arrays = npt.NDArray[Any]


class Cores:
    """So many, of which each part of a batch has one."""

    def __init__(self, count: int) -> None:
        self.count = count

    def share(self, work: Callable[..., Arrays], *tensors: torch.Tensor) -> Arrays:
        """`work` of tensors with a batch first, (batch, …) to (batch, …), part by part."""
        count = min(self.count, len(tensors[0]))
        if count <= 1:
            return work(*tensors)
        parts = zip(*(tensor.tensor_split(count) for tensor in tensors), strict=True)
        return np.concatenate(divided([partial(work, *part) for part in parts]))


class SharedInference(Inference):  # type: ignore[misc]  # pyannote carries no types
    """pyannote's Inference on all cores; a stock one becomes one by `on_all_cores`."""

    cores: Cores
    calls = threading.local()
    """Its `take` gets what comes out, batch by batch, of the calls of this thread."""

    def infer(self, chunks: torch.Tensor) -> Arrays:
        """(batch, channels, samples) to (batch, frames, classes)."""
        found = self.cores.share(super().infer, chunks)
        getattr(self.calls, "take", _ignore)(found)
        return found


def _ignore(_found: Arrays) -> None:
    """Nobody takes it."""


def on_all_cores(inference: Inference, cores: Cores) -> None:
    """Share out the batches of an Inference of pyannote's own class."""
    if type(inference) is Inference:
        inference.__class__ = SharedInference
        inference.cores = cores
