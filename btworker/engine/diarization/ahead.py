"""Voices of the chunks that are segmented already, embedded in a thread of its own while the next ones are segmented:
on a GPU the LSTM of a segmentation goes step by step and leaves most of it free.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]
Embed = Callable[[Indices, Floats], Floats]
"""Indices of a batch of chunks and their masks, (batch, frames, speakers), to (batch, speakers, dimension)."""


def batches(masks: Floats, size: int, *, first: int = 0) -> Iterator[tuple[Indices, Floats]]:
    """Yield the indices and the masks of chunks, (chunks, frames, speakers), in which somebody speaks, `size` at a
    time; `first` is the index of the first of them."""
    active = np.flatnonzero(masks.any(axis=(1, 2)))
    for start in range(0, len(active), size):
        batch = active[start : start + size]
        yield first + batch, masks[batch]


class Ahead:
    """For one recording: takes masks as they come, and has the batches that they would have together."""

    def __init__(self, embed: Embed, size: int) -> None:
        self._embed = embed
        self._size = size
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="voices")
        self._begun: list[tuple[Indices, Future[Floats]]] = []
        self._left: list[tuple[Indices, Floats]] = []
        """Too few for a batch so far."""
        self.chunks = 0
        """Whose masks have come."""

    def add(self, masks: Floats) -> None:
        """Take the masks of the next chunks. Raises what an embedding before raised."""
        self._left += batches(masks, 1, first=self.chunks)
        self.chunks += len(masks)
        while len(self._left) >= self._size:
            self._begin(self._size)
        for _, future in self._begun:
            if future.done():
                future.result()

    def results(self) -> Iterator[tuple[Indices, Floats]]:
        """Yield the indices of each batch and its embeddings, in order. Raises what an embedding raised."""
        if self._left:
            self._begin(len(self._left))
        for indices, future in self._begun:
            yield indices, future.result()

    def close(self) -> None:
        """Begin no other batch, and wait for the one that is at work."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _begin(self, count: int) -> None:
        batch, self._left = self._left[:count], self._left[count:]
        indices, masks = (np.concatenate(parts) for parts in zip(*batch, strict=True))
        self._begun.append((indices, self._thread.submit(self._embed, indices, masks)))
