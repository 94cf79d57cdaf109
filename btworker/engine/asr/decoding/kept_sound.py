"""The sound of windows in their places: keys and values of one layer of the decoder, which each step reads whole. In
eight bits a number they are half as long, and nearly the same: tokens may differ.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from btworker.engine.asr.decoding.layers import KeysValues
from btworker.engine.asr.decoding.memory import untouched_zeros

MOST = 127
"""Largest number of eight bits."""


@dataclass(frozen=True, slots=True)
class KeptSound:
    """Keys and values of one layer."""

    numbers: Tensor
    """(2, windows, heads, positions, head size); of the run's dtype, or int8."""
    scales: Tensor | None = None
    """What int8 is multiplied by: (2, windows, heads, 1, head size), float32. Some columns of keys are ten times as
    large as others in all positions, so that each has its own."""

    @classmethod
    def empty(cls, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, *, bits: int) -> "KeptSound":
        """Make places for sound of this shape, in 16 bits or what the run's dtype has, or in 8."""
        if bits != 8:
            return cls(untouched_zeros(shape, dtype, device))
        scales = torch.zeros((*shape[:3], 1, shape[4]), device=device)
        return cls(untouched_zeros(shape, torch.int8, device), scales)

    def keep(self, at: Tensor, new: KeysValues) -> None:
        """Put the sound of windows into their places. Of a window that has a NaN or an infinite number, nothing is a
        number afterwards that belongs to its column."""
        if self.scales is None:
            self.numbers[:, at] = new
            return
        scale = new.abs().amax(-2, keepdim=True).float().clamp(min=1e-12) / MOST
        self.numbers[:, at] = (new / scale).round().to(torch.int8)
        self.scales[:, at] = scale

    def first(self, windows: int) -> "KeptSound":
        """View the first windows."""
        return KeptSound(self.numbers[:, :windows], None if self.scales is None else self.scales[:, :windows])

    def of(self, windows: Tensor | slice, dtype: torch.dtype) -> KeysValues:
        """Read some windows."""
        numbers = self.numbers[:, windows]
        return numbers if self.scales is None else (numbers * self.scales[:, windows]).to(dtype)

    def move(self, source: int, target: int) -> None:
        """Put one window in the place of another."""
        self.numbers[:, target] = self.numbers[:, source]
        if self.scales is not None:
            self.scales[:, target] = self.scales[:, source]
