"""A step by torch's own operators: on CPUs, for beams, and on GPUs where fused.py cannot run."""

import torch
from torch import Tensor

from btworker.engine.asr.decoding.kept_sound import KeptSound
from btworker.engine.asr.decoding.kernels.protocol import AttendToPast, AttendToSound
from btworker.engine.asr.decoding.layers import KeysValues, Norm
from btworker.engine.asr.decoding.rules import TokenRules


class PlainKernels:
    """By torch's operators."""

    name = "torch"
    reads_to_own_end = False

    def add_and_norm(self, x: Tensor, part: Tensor, norm: Norm) -> tuple[Tensor, Tensor]:
        """See StepKernels."""
        x = x + part
        return x, norm(x)

    def to_past(self, positions: Tensor, idle: Tensor, *, reach: int) -> AttendToPast:
        """See StepKernels."""
        del idle
        every_row = torch.arange(positions.shape[0], device=positions.device)
        unseen = torch.arange(reach, device=positions.device) > positions[:, None]

        def attend(qkv: Tensor, own: KeysValues) -> Tensor:
            rows, heads = qkv.shape[0], own.shape[2]
            parts = qkv.view(rows, 3, heads, -1)
            own[:, every_row, :, positions] = parts[:, 1:]
            return attend_to_past(parts[:, 0], own[:, :rows, :, :reach], unseen)

        return attend

    def to_sound(self, idle: Tensor) -> AttendToSound:
        """See StepKernels."""
        del idle
        return attend_to_sound

    def append_best(self, rules: TokenRules) -> None:
        """See StepKernels."""
        del rules


def attend_to_past(query: Tensor, past: Tensor, unseen: Tensor) -> Tensor:
    """Attend to the row's own past: (rows, heads, …) -> (rows, size)."""
    scores = (query[:, :, None] @ past[0].transpose(2, 3)).float()
    weights = scores.masked_fill(unseen[:, None, None], -torch.inf).softmax(-1).to(query.dtype)
    return (weights @ past[1]).flatten(1)


def attend_to_sound(query: Tensor, sound: KeptSound) -> Tensor:
    """Attend to the sound, of k rows to a window: (rows, size) -> (rows, size).

    As two plain products: attention kernels for whole sequences are slower for single positions. The keys come first
    in the product, by queries whose numbers lie together: any other way may take a CPU two to five times as long.
    """
    _, windows, heads, positions, width = sound.numbers.shape
    beams = query.shape[0] // windows
    query = query.view(windows, beams, heads, width).transpose(1, 2).reshape(windows * heads, beams, width)
    keys, values = sound.of(slice(None), query.dtype).reshape(2, windows * heads, positions, width)
    weights = (keys @ query.transpose(1, 2)).transpose(1, 2).float().softmax(-1).to(query.dtype)
    attended: Tensor = (weights @ values).view(windows, heads, beams, width)
    return attended.transpose(1, 2).reshape(windows * beams, heads * width)
