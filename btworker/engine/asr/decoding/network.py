"""Whisper's encoder and decoder as functions over preallocated tensors, for many windows at a time.

The weights are taken once, by openai-whisper's names, into the run's dtype: query, key and value as one matrix,
the attention's scale folded into the query's rows, layer norms in float32. Nothing here reads the device's memory, so
that a step can be captured as a CUDA graph.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it
from torch import Tensor
from whisper.model import ModelDimensions

from btworker.engine.asr.decoding.kept_sound import KeptSound
from btworker.engine.asr.decoding.kernels.encoding import Attention, by_torch
from btworker.engine.asr.decoding.kernels.plain import PlainKernels
from btworker.engine.asr.decoding.kernels.products import BY_TORCH, Products
from btworker.engine.asr.decoding.kernels.protocol import StepKernels
from btworker.engine.asr.decoding.layers import Affine, Block, CrossAttention, KeysValues, Norm


class MisfitError(ValueError):
    """The checkpoint does not fit its own dimensions."""


class _Checkpoint:
    """Tensors by name, in the shape that the dimensions ask for; every one has to be used."""

    def __init__(
        self, state: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype, products: Products
    ) -> None:
        self._state = dict(state)
        self._device = device
        self._dtype = dtype
        self._products = products

    def take(self, name: str, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        return self.stored(name, *shape).to(self._device, dtype or self._dtype, copy=True)  # it is mapped from the file

    def stored(self, name: str, *shape: int) -> Tensor:
        tensor = self._state.pop(name, None)
        if tensor is None:
            raise MisfitError(f"{name} is missing")
        if tuple(tensor.shape) != shape:
            raise MisfitError(f"{name} has the shape {tuple(tensor.shape)}, not {shape}")
        return tensor

    def affine(self, name: str, out: int, size: int, *, bias: bool = True) -> Affine:
        return self._affine(self.take(f"{name}.weight", out, size), self.take(f"{name}.bias", out) if bias else None)

    def _affine(self, weight: Tensor, bias: Tensor | None) -> Affine:
        return Affine(self._products.arrange(weight), bias, self._products.linear)

    def norm(self, name: str, size: int) -> Norm:
        weight, bias = (self.take(f"{name}.{part}", size, dtype=torch.float32) for part in ("weight", "bias"))
        return Norm(weight, bias)

    def projections(self, name: str, size: int, heads: int, parts: Sequence[str]) -> Affine:
        """Take some of an attention's query, which is scaled, key and value as one matrix, copied into their places."""
        weight = torch.empty(len(parts) * size, size, device=self._device, dtype=self._dtype)
        bias = torch.zeros(len(parts) * size, device=self._device, dtype=self._dtype)
        for part, its_weight, its_bias in zip(parts, torch.split(weight, size), torch.split(bias, size), strict=True):
            its_weight.copy_(self.stored(f"{name}.{part}.weight", size, size))
            if part != "key":  # which has none
                its_bias.copy_(self.stored(f"{name}.{part}.bias", size))
            if part == "query":
                its_weight.mul_((size // heads) ** -0.5)
                its_bias.mul_((size // heads) ** -0.5)
        return self._affine(weight, bias)

    def block(self, name: str, size: int, heads: int) -> Block:
        """Take what every layer has; query, key and value of its attention are one matrix."""
        return Block(
            norm=self.norm(f"{name}.attn_ln", size),
            qkv=self.projections(f"{name}.attn", size, heads, ("query", "key", "value")),
            out=self.affine(f"{name}.attn.out", size, size),
            mlp_norm=self.norm(f"{name}.mlp_ln", size),
            mlp_in=self.affine(f"{name}.mlp.0", 4 * size, size),
            mlp_out=self.affine(f"{name}.mlp.2", size, 4 * size),
        )

    def cross_attention(self, name: str, size: int, heads: int) -> CrossAttention:
        """Take what a decoder's layer has besides."""
        return CrossAttention(
            norm=self.norm(f"{name}.cross_attn_ln", size),
            query=self.projections(f"{name}.cross_attn", size, heads, ("query",)),
            kv=self.projections(f"{name}.cross_attn", size, heads, ("key", "value")),
            out=self.affine(f"{name}.cross_attn.out", size, size),
        )

    def finish(self) -> None:
        """Raises MisfitError where tensors are left that no model of these dimensions has."""
        unused = [name for name in self._state if name not in ("decoder.mask", "alignment_heads")]
        if unused:
            raise MisfitError(f"{unused[0]} is not a part of a model of these dimensions")


class Network:
    """One model's weights on one device, and the passes through them.

    Raises MisfitError where the checkpoint does not fit its dimensions.
    """

    def __init__(
        self,
        state: Mapping[str, Tensor],
        dims: ModelDimensions,
        *,
        device: torch.device,
        dtype: torch.dtype,
        products: Products = BY_TORCH,
    ) -> None:
        if not all(isinstance(value, int) and value > 0 for value in vars(dims).values()):
            raise MisfitError("the dimensions are not all positive whole numbers")
        self.dims = dims
        self.device = device
        self.dtype = dtype
        self.products = products
        self.kernels: StepKernels = PlainKernels()
        """What is between the products with the weights."""
        self.encoder_attention: Attention = by_torch
        self.sound_bits = 16
        """Of each number of the sound that steps read: 8, or as many as the dtype has."""
        taken = _Checkpoint(state, device, dtype, products)
        self._take_encoder(taken)
        self._take_decoder(taken)
        taken.finish()
        upper = range(dims.n_text_layer // 2, dims.n_text_layer)
        self.align_by((layer, head) for layer in upper for head in range(dims.n_text_head))

    def _take_encoder(self, taken: _Checkpoint) -> None:
        dims, size = self.dims, self.dims.n_audio_state
        self._conv1 = (taken.take("encoder.conv1.weight", size, dims.n_mels, 3), taken.take("encoder.conv1.bias", size))
        self._conv2 = (taken.take("encoder.conv2.weight", size, size, 3), taken.take("encoder.conv2.bias", size))
        self._sound_positions = taken.take("encoder.positional_embedding", dims.n_audio_ctx, size)
        names = [f"encoder.blocks.{index}" for index in range(dims.n_audio_layer)]
        self._encoder = [taken.block(name, size, dims.n_audio_head) for name in names]
        self._encoder_norm = taken.norm("encoder.ln_post", size)

    def _take_decoder(self, taken: _Checkpoint) -> None:
        dims, size, heads = self.dims, self.dims.n_text_state, self.dims.n_text_head
        self._positions = taken.take("decoder.positional_embedding", dims.n_text_ctx, size)
        names = [f"decoder.blocks.{index}" for index in range(dims.n_text_layer)]
        self._decoder = [taken.block(name, size, heads) for name in names]
        self._cross_attention = [taken.cross_attention(name, size, heads) for name in names]
        self._next_norms = [*(layer.norm for layer in self._decoder[1:]), taken.norm("decoder.ln", size)]
        self._unembedding = self._take_words(taken)
        self._scores = self.products.arrange_words(self._unembedding.t())

    def _take_words(self, taken: _Checkpoint) -> Tensor:
        """Take the embedding of tokens transposed, as it scores them.

        One row of a batch is multiplied twice as fast by a transposed matrix of its own on a CPU. Single columns of it
        are then all that is read to embed: no second matrix is held for that, as beside an arranged one. A GPU has fast
        products for multiples of 8, and 51,866 is none: rows of zeros follow there.
        """
        name, count, size = "decoder.token_embedding.weight", self.dims.n_vocab, self.dims.n_text_state
        words = taken.stored(name, count, size)
        if self.device.type == "cpu":
            return words.t().to(self.dtype, memory_format=torch.contiguous_format, copy=True)
        padded = torch.zeros(-(-count // 8) * 8, size, device=self.device, dtype=self.dtype)
        padded[:count] = words
        return padded.t()

    def _embed(self, tokens: Tensor) -> Tensor:
        words = self._unembedding.t()
        if self.device.type != "cpu":
            return words[tokens]
        return F.embedding(tokens, words)  # by an index, it would take three times as long

    def align_by(self, heads: Iterable[tuple[int, int]]) -> None:
        """Set which heads follow the sound, (layer, head) of each; by default all of the upper half."""
        chosen: list[list[int]] = [[] for _ in range(self.dims.n_text_layer)]
        for layer, head in sorted(heads):
            chosen[layer].append(head)
        # on the device: an index of the host's would be sent at each pass, which waits
        self._aligning = [torch.tensor(some, dtype=torch.long, device=self.device) for some in chosen]

    @property
    def precision(self) -> torch.dtype:
        """What products with the weights compute in."""
        return self.products.rounds_to or self.dtype

    @property
    def aligning_heads(self) -> int:
        """Number of heads that follow the sound."""
        return sum(map(len, self._aligning))

    def encode(self, mel: Tensor) -> Tensor:
        """Encode windows; (n, n_mels, 3000) -> (n, 1500, size)."""
        x = F.gelu(F.conv1d(mel, *self._conv1, padding=1))
        x = F.gelu(F.conv1d(x, *self._conv2, stride=2, padding=1))
        # in this order: a sum lies in memory as its first part does, and so would all that is added to it
        x = self._sound_positions + x.transpose(1, 2)
        normed, add_and_norm = self._encoder[0].norm(x), self.kernels.add_and_norm
        next_norms = [*(layer.norm for layer in self._encoder[1:]), self._encoder_norm]
        for layer, next_norm in zip(self._encoder, next_norms, strict=True):
            qkv = _by_head(layer.qkv(normed), 3, self.dims.n_audio_head)
            attended = self.encoder_attention(qkv[0], qkv[1], qkv[2])
            x, normed = add_and_norm(x, layer.out(attended.transpose(1, 2).flatten(2)), layer.mlp_norm)
            x, normed = add_and_norm(x, layer.perceptron(normed), next_norm)
        return normed

    def cross_keys_values(self, features: Tensor) -> Iterator[KeysValues]:
        """Keys and values of the sound for each layer of the decoder; (n, 1500, size) -> (2, n, heads, 1500, …)."""
        for layer in self._cross_attention:
            yield _by_head(layer.kv(features), 2, self.dims.n_text_head)

    def read(
        self, tokens: Tensor, cross: Iterable[KeysValues], *, scores: list[Tensor] | None = None
    ) -> tuple[Tensor, list[KeysValues]]:
        """Read texts from their beginnings: hidden states (n, t, size), and each layer's keys and values.

        `tokens` has shape (n, t), padded on the right. `scores` is given the alignment heads' attention to the sound
        before its softmax, (n, heads of a layer, t, 1500) for each layer that has some.
        """
        x = self._embed(tokens) + self._positions[: tokens.shape[1]]
        normed, add_and_norm, own = self._decoder[0].norm(x), self.kernels.add_and_norm, []
        layers = zip(self._decoder, self._cross_attention, cross, self._aligning, self._next_norms, strict=True)
        for layer, cross_layer, sound, heads, next_norm in layers:
            qkv = _by_head(layer.qkv(normed), 3, self.dims.n_text_head)
            own.append(qkv[1:])
            attended = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], is_causal=True, scale=1.0)
            x, normed = add_and_norm(x, layer.out(attended.transpose(1, 2).flatten(2)), cross_layer.norm)
            query = _by_head(cross_layer.query(normed), 1, self.dims.n_text_head)[0]
            if scores is not None and len(heads):
                scores.append((query[:, heads] @ sound[0][:, heads].transpose(2, 3)).float())
            attended = F.scaled_dot_product_attention(query, sound[0], sound[1], scale=1.0)
            x, normed = add_and_norm(x, cross_layer.out(attended.transpose(1, 2).flatten(2)), layer.mlp_norm)
            x, normed = add_and_norm(x, layer.perceptron(normed), next_norm)
        return normed, own

    def step(
        self,
        tokens: Tensor,
        positions: Tensor,
        own: list[KeysValues],
        cross: list[KeptSound],
        *,
        reach: int,
        idle: Tensor,
    ) -> Tensor:
        """Read one token of each row and remember it; hidden states of shape (rows, size).

        `tokens`, `positions` and `idle` have shape (rows,); the states of rows that are idle are of no use. `own` holds
        each row's past, `cross` the sound; where there are k rows to a window, they stand together. No position is
        `reach` or beyond.
        """
        kernels = self.kernels
        to_past, to_sound = kernels.to_past(positions, idle, reach=reach), kernels.to_sound(idle)
        x, normed = kernels.add_and_norm(self._embed(tokens), self._positions[positions], self._decoder[0].norm)
        layers = zip(self._decoder, self._cross_attention, own, cross, self._next_norms, strict=True)
        for layer, cross_layer, past, sound, next_norm in layers:
            part = layer.out(to_past(layer.qkv(normed), past))
            x, normed = kernels.add_and_norm(x, part, cross_layer.norm)
            part = cross_layer.out(to_sound(cross_layer.query(normed), sound))
            x, normed = kernels.add_and_norm(x, part, layer.mlp_norm)
            x, normed = kernels.add_and_norm(x, layer.perceptron(normed), next_norm)
        return normed

    def logits(self, hidden: Tensor) -> Tensor:
        """Score the next token: (n, size) -> (n, vocabulary), float32."""
        return self.raw_logits(hidden).float()

    def raw_logits(self, hidden: Tensor) -> Tensor:
        """Compute the same in the run's dtype."""
        return self.products.linear(hidden, self._scores, None)[:, : self.dims.n_vocab]


def _by_head(x: Tensor, parts: int, heads: int) -> Tensor:
    """(n, t, parts x size) -> (parts, n, heads, t, head size), without a copy."""
    return x.view(*x.shape[:2], parts, heads, -1).permute(2, 0, 3, 1, 4)
