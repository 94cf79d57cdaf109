"""Memory of tensors: those made for the largest batch, most of which a single window never touches, and those on their
way to a GPU and back."""

import math
import mmap
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def untouched_zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Make a tensor of zeros. On a CPU the system gives its pages when they are first written: torch.zeros would write
    them all, which is 750 MB for 16 windows of the base model."""
    count = math.prod(shape)
    if device.type != "cpu" or not count:
        return torch.zeros(shape, dtype=dtype, device=device)
    pages = mmap.mmap(-1, count * dtype.itemsize, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return torch.frombuffer(pages, dtype=dtype, count=count).view(shape)


def pinned(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor of the CPU to memory from which it can be sent to a GPU without a wait; elsewhere it stays."""
    return tensor.pin_memory() if device.type == "cuda" else tensor


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor of the CPU to a device without waiting for what the device does until then."""
    if device.type != "cuda":
        return tensor.to(device)
    return pinned(tensor, device).to(device, non_blocking=True)


def fetch(tensors: Sequence[Tensor]) -> tuple[list[Tensor], Callable[[], None]]:
    """Copy tensors to the CPU without waiting for the device: the copies, and what waits until they are there."""
    if all(tensor.device.type == "cpu" for tensor in tensors):
        return list(tensors), lambda: None
    copies = [torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True) for tensor in tensors]
    for copy, tensor in zip(copies, tensors, strict=True):
        copy.copy_(tensor, non_blocking=True)
    done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # who waits for it leaves its core to others
    done.record()  # type: ignore[no-untyped-call]
    return copies, done.synchronize
