"""The parts of a layer: matrices and norms as they are on the device."""

from dataclasses import dataclass

import torch.nn.functional as F  # noqa: N812 - as everybody calls it
from torch import Tensor

from btworker.engine.asr.decoding.kernels.products import Linear

KeysValues = Tensor
"""Keys and values of one layer; shape (2, rows, heads, positions, head size)."""


@dataclass(frozen=True, slots=True)
class Affine:
    """A matrix of shape (out, in), as `linear` wants it, and a bias."""

    weight: Tensor
    bias: Tensor | None
    linear: Linear

    def __call__(self, x: Tensor) -> Tensor:
        return self.linear(x, self.weight, self.bias)


@dataclass(frozen=True, slots=True)
class Norm:
    """A layer norm, computed in float32."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.float(), self.weight.shape, self.weight, self.bias).to(x.dtype)


@dataclass(frozen=True, slots=True)
class Block:
    """A layer of the encoder, or of the decoder without its attention to the sound: self-attention and a perceptron."""

    norm: Norm
    qkv: Affine
    out: Affine
    mlp_norm: Norm
    mlp_in: Affine
    mlp_out: Affine

    def perceptron(self, normed: Tensor) -> Tensor:
        """Compute the perceptron's part."""
        return self.mlp_out(F.gelu(self.mlp_in(normed)))


@dataclass(frozen=True, slots=True)
class CrossAttention:
    """A decoder layer's attention to the sound."""

    norm: Norm
    query: Affine
    kv: Affine
    out: Affine
