"""What the threads of one process do to their GPU one after the other. Runs in the child.

While a step is recorded, torch's allocator may not give memory back: it stops with an internal assertion. And where
cuBLAS is given its workspace, torch 2.2 writes a table of the whole process without a lock, at the first product of
each thread on each stream.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

_TURN = threading.Lock()


@contextmanager
def gpu_turn() -> Iterator[None]:
    """Have the block to oneself among all threads."""
    with _TURN:
        yield


def release_cached_memory() -> None:
    """Give the GPU's memory back that torch keeps for later, once no step is being recorded."""
    with gpu_turn():
        torch.cuda.empty_cache()


def free_bytes(device: torch.device) -> int:
    """Count what tensors on a GPU may still take: what the driver has, and what torch keeps; 0 elsewhere."""
    if device.type != "cuda":
        return 0
    free, _ = torch.cuda.mem_get_info(device)
    return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


@cache
def _stream_for(device: torch.device, purpose: str) -> torch.cuda.Stream:
    """Make the only one for this purpose. Each costs 32 MB for cuBLAS and each thread on it, for good; and torch has 32
    of them, after which it gives the first ones out again: a step would be recorded where others are at work."""
    del purpose
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def enter_thread(device: torch.device) -> None:
    """Have the calling thread use a GPU, where streams, events and Triton's kernels would else be the first one's, and
    make its first product there, while no other thread makes its own."""
    if device.type != "cpu":
        with gpu_turn():
            if device.index:
                torch.cuda.set_device(device)
            one = torch.ones(1, 1, device=device)
            torch.mm(one, one)


def all_bits(device: torch.device) -> None:
    """Have cuDNN multiply float32 with all its bits, and not with TF32's ten, in this process, for good. Torch has that
    flag for all threads alone: who sets it for a while takes it from others in the middle of their work."""
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False


class OwnStream:
    """A stream of a GPU for what need not wait for others' work, nor they for it. Elsewhere it is nothing.

    It waits for what the thread that makes it has had done before, such as weights. Whoever enters it makes and
    frees all other tensors there: torch would give their memory away too early.
    """

    def __init__(self, device: torch.device, purpose: str) -> None:
        """Take the stream of a purpose; it is one for all who have the same."""
        self._device = device
        self._threads = threading.local()
        self._stream = _stream_for(device, purpose) if device.type == "cuda" else None
        self.follow()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Have the calling thread use it during the block. Takes a gpu_turn() at a thread's first time."""
        if self._stream is None:
            yield
            return
        with torch.cuda.stream(self._stream):
            if not hasattr(self._threads, "has_entered"):
                enter_thread(self._device)
                self._threads.has_entered = True
            yield

    def follow(self) -> None:
        """Have what comes wait for all that the calling thread has asked for, on the stream that it is on."""
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(self._device))  # type: ignore[no-untyped-call]

    def give(self, tensor: torch.Tensor) -> None:
        """Have the stream on which the calling thread is wait for a tensor that was made here, and use it."""
        if self._stream is not None:
            here = torch.cuda.current_stream(self._device)
            here.wait_stream(self._stream)  # type: ignore[no-untyped-call]
            tensor.record_stream(here)

    def settle(self) -> None:
        """Wait until all is done that was asked for there."""
        if self._stream is not None:
            self._stream.synchronize()  # type: ignore[no-untyped-call]
