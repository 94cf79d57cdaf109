"""Steps as CUDA graphs: hundreds of small kernels launched as one, where launching each takes longer than running it.

A graph is bound to its sizes, so that there is one for each bucket of windows and of the past's length. The first step
of a bucket runs as usual and is recorded for the next ones.
"""

from collections.abc import Callable, Hashable

import torch

WINDOWS = (1, 2, 4, 8, 16, 24, 32, 48)
"""Sizes of a batch, besides a lane's whole room; places in excess stand still."""
REACH = 128
"""Positions by which the past grows from bucket to bucket; those in excess are masked."""


def bucket(windows: int, reach: int, *, room: int, longest: int) -> tuple[int, int]:
    """Choose the sizes of the graph that does for this many windows with this long a past."""
    size = next((size for size in (*WINDOWS, room) if windows <= size <= room), room)
    return size, min(-(-reach // REACH) * REACH, longest)


class Graphs:
    """The recorded steps of one lane; they share their memory, since only one runs at a time."""

    def __init__(self) -> None:
        self._recorded: dict[Hashable, torch.cuda.CUDAGraph] = {}
        self._pool = torch.cuda.graph_pool_handle()  # type: ignore[no-untyped-call]

    def run(self, key: Hashable, step: Callable[[], None]) -> None:
        """Run a step that reads nothing back, and whose tensors stay where they are."""
        known = self._recorded.get(key)
        if known is not None:
            known.replay()  # type: ignore[no-untyped-call]
            return
        step()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()  # type: ignore[no-untyped-call]
        # other threads may be at work on the same GPU: only what this one does is recorded
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            step()
        self._recorded[key] = graph
