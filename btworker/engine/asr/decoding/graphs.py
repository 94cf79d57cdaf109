"""Steps as CUDA graphs: hundreds of small kernels launched as one, where launching each takes longer than running it.

A graph is bound to its sizes, so that there is one for each bucket of windows and of the past's length. They are
recorded when the model is loaded; what only some jobs need, at its first step. Where a step cannot be recorded, all go
on without: slower, with the same texts.
"""

import gc
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any, Protocol

import torch

from btworker.engine.stack.faults import is_short_of_memory
from btworker.engine.stack.gpu_turns import OwnStream, gpu_turn
from btworker.logs import get_logger

log = get_logger()
WINDOWS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96)
"""Sizes of a batch, besides a lane's whole room; places in excess stand still."""
REACH = 128
"""Positions by which the past grows from bucket to bucket; those in excess are masked."""
Step = Callable[[], Any]
"""Reads nothing back; its tensors stay where they are, what it gives among them."""


def bucket(windows: int, reach: int, *, room: int, longest: int, growth: int | None = None) -> tuple[int, int]:
    """Choose the sizes of the graph that does for this many windows with this long a past. `growth` is from bucket to
    bucket; None: REACH."""
    size, growth = next((size for size in (*WINDOWS, room) if windows <= size <= room), room), growth or REACH
    return size, min(-(-reach // growth) * growth, longest)


def buckets(*, room: int, longest: int, growth: int | None = None) -> Iterator[tuple[int, int]]:
    """List all sizes that `bucket` chooses, the largest first: the memory of its graph does for the others."""
    growth = growth or REACH
    reaches = sorted({min(reach, longest) for reach in range(growth, longest + growth, growth)}, reverse=True)
    for size in sorted({room, *(size for size in WINDOWS if size < room)}, reverse=True):
        for reach in reaches:
            yield size, reach


def sizes_within(sizes: Sequence[int], room: int) -> list[int]:
    """List those for a lane of this room: none is larger, and the room itself is there where it is among them."""
    return sorted({*(size for size in sizes if size < room), min(room, max(sizes))})


def least_of(sizes: Sequence[int], wanted: int) -> int | None:
    """Choose the smallest of these sizes that does; None where none is large enough. `sizes` are in order."""
    return next((size for size in sizes if size >= wanted), None)


class Recorder(Protocol):
    """What records steps."""

    def record(self, step: Step) -> Step:
        """Record a step without running it; return what runs it, and gives what it gave while it was recorded. Raises
        RuntimeError where it cannot be recorded."""


class CudaRecorder:
    """CUDA graphs that share their memory, since only one of them runs at a time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = OwnStream(device, "recording")
        self._pool = torch.cuda.graph_pool_handle()  # type: ignore[no-untyped-call]

    def record(self, step: Step) -> Step:
        """See Recorder. Not by torch.cuda.graph: that waits for the device and empties the cache at each capture, and
        leaves the thread on the stream of a capture that failed."""
        graph = torch.cuda.CUDAGraph()  # type: ignore[no-untyped-call]
        self._stream.follow()
        # entered before the recording: cuBLAS keeps 32 MB for each thread on each stream, for good, and would take them
        # from a graph's memory where it meets them in a recording
        with self._stream.entered(), gpu_turn(), _no_garbage_collected(), ExitStack() as unless_recorded:
            unless_recorded.callback(self._abandon, graph)  # also where it fails to begin, with its memory chosen
            # other threads may be at work on the same GPU: only what this one does is recorded
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")  # type: ignore[no-untyped-call]
            given = step()
            graph.capture_end()  # type: ignore[no-untyped-call]
            unless_recorded.pop_all()
        return partial(_replay, graph, given)

    def _abandon(self, graph: torch.cuda.CUDAGraph) -> None:
        """End a capture that failed. Where it is invalid, torch leaves its allocator in it: no memory could ever be
        given back."""
        with suppress(RuntimeError):
            graph.capture_end()  # type: ignore[no-untyped-call]
        names = ("_cuda_endAllocateToPool", "_cuda_endAllocateCurrentStreamToPool")  # torch 2.11, torch 2.2
        leave = next((getattr(torch._C, name) for name in names if hasattr(torch._C, name)), None)  # noqa: SLF001
        if leave is not None:
            with suppress(RuntimeError):  # it was left
                leave(self._device.index or 0, self._pool)


@contextmanager
def _no_garbage_collected() -> Iterator[None]:
    """Have no cycle of objects freed meanwhile: one that holds a graph or an event would void the recording."""
    is_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if is_on:
            gc.enable()


def _replay(graph: torch.cuda.CUDAGraph, given: Any) -> Any:
    graph.replay()  # type: ignore[no-untyped-call]
    return given


class Recording:
    """Whether steps are recorded, and by what: until one cannot be, for all lanes of a model."""

    def __init__(self, recorder: Callable[[], Recorder] | None) -> None:
        """`recorder` makes one for a lane; None: steps run as they are."""
        self._recorder = recorder

    @classmethod
    def on(cls, device: torch.device, *, wanted: bool = True) -> "Recording":
        """Make that of a device: CUDA graphs on a GPU."""
        return cls((lambda: CudaRecorder(device)) if wanted and device.type == "cuda" else None)

    @property
    def is_on(self) -> bool:
        """Whether steps are recorded."""
        return self._recorder is not None

    def recorder(self) -> Recorder | None:
        """Make the recorder of a lane."""
        return None if self._recorder is None else self._recorder()

    def turn_off(self, error: RuntimeError) -> None:
        """Record nothing any more."""
        self._recorder = None
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        message = "steps run without CUDA graphs, at about half the speed; WORKER_CUDA_GRAPHS=0 does so from the start"
        log.warning("cuda_graphs_off", reason=reason, message=message)


class Graphs:
    """The recorded steps of one lane."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._recorder = recording.recorder()
        self._recorded: dict[Hashable, Step] = {}
        self._left: set[Hashable] = set()
        """Keys of steps for which there was no memory. Not the steps: they would hold the lane, and so its memory."""

    def forget(self, void: Callable[[Any], bool]) -> None:
        """Drop the steps of these keys: tensors that they read are no more where they were."""
        self._recorded = {key: step for key, step in self._recorded.items() if not void(key)}

    def run(self, key: Hashable, step: Step) -> Any:
        """Run a step, recorded for the next ones of this key; return what it gives, until the next run of any step.
        Where there is no memory left to record it, it goes on as it is."""
        recorded = self._recorded.get(key)
        if recorded is not None:
            return recorded()
        given = step()
        if key in self._left:
            return given
        try:
            self._record(key, step)
        except RuntimeError:  # see there
            log.info("step_not_recorded", step=str(key), message="there is no memory left for its CUDA graph")
            self._left.add(key)
        return given

    def prepare(self, key: Hashable, step: Step) -> None:
        """Run a step as it is, which loads its kernels, and record it. Raises RuntimeError where memory is short."""
        step()
        self._record(key, step)

    def _record(self, key: Hashable, step: Step) -> None:
        """Raises RuntimeError where memory is short: the allocator's own, or the driver's, which has the graph."""
        if self._recorder is None or not self._recording.is_on:
            return
        try:
            self._recorded[key] = self._recorder.record(step)
        except RuntimeError as error:
            if is_short_of_memory(error):
                raise
            self._recorded.clear()
            self._recorder = None
            self._recording.turn_off(error)
