"""Memory of tensors that are made for the largest batch, most of which a single window never touches."""

import math
import mmap

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
