"""A file of safetensors: a JSON header with names, types, shapes and places, and the numbers. They are mapped."""

import json
import mmap
import os
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from btworker.engine.asr.checkpoint_file import CheckpointError

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
LARGEST_HEADER_BYTES = 100_000_000
"""The format's own limit."""
CUT_OFF = "is cut off, or no file of safetensors"


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Map all tensors of a file. Raises CheckpointError, OSError."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        begin = 8 + length
        if length > LARGEST_HEADER_BYTES or begin > size:
            raise CheckpointError(CUT_OFF)
        header = _header(file.read(length))
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    return {name: _tensor(mapped, begin, about) for name, about in header.items() if name != "__metadata__"}


def _header(raw: bytes) -> dict[str, Any]:
    try:
        header = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(CUT_OFF) from error
    if not isinstance(header, dict):
        raise CheckpointError(CUT_OFF)
    return header


def _tensor(mapped: mmap.mmap, begin: int, about: Any) -> Tensor:
    try:
        kind, shape, (start, end) = about["dtype"], about["shape"], about["data_offsets"]
        whole = all(type(number) is int and number >= 0 for number in (*shape, start, end))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError("is damaged: its header does not describe its tensors") from error
    if kind not in DTYPES:
        raise CheckpointError(f"holds numbers of the type {str(kind)[:16]}, as quantised models do; floats are read")
    count, dtype = prod(shape) if whole else -1, DTYPES[kind]
    if not whole or end - start != count * dtype.itemsize or begin + end > len(mapped):
        raise CheckpointError("is cut off or damaged: a tensor has other bytes than its shape needs")
    if count == 0:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(mapped, dtype=dtype, count=count, offset=begin + start).view(shape)
