"""CTranslate2's model.bin (binary format 6) with float weights, by openai-whisper's names. The numbers are mapped.

CTranslate2 puts query, key and value of an attention into one matrix: they are views of it here.
"""

import mmap
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import torch
from torch import Tensor
from whisper.model import ModelDimensions

from btworker.engine.asr.checkpoint_file import CheckpointError

DTYPES = {
    0: torch.float32, 1: torch.int8, 2: torch.int16, 3: torch.int32, 4: torch.float16, 5: torch.bfloat16,
}  # fmt: skip
"""CTranslate2's numbers for types."""
FORMAT = 6
SPEC = "WhisperSpec"
LARGEST_NAME_BYTES = 1000


@dataclass
class _Reader:
    """Little-endian numbers and texts, one after the other."""

    mapped: mmap.mmap
    at: int = 0

    def number(self, form: str) -> int:
        """Read one number of this form of the struct module."""
        begin = self.skip(struct.calcsize("<" + form))
        return int(struct.unpack_from("<" + form, self.mapped, begin)[0])

    def text(self) -> str:
        """Read a text whose length, with the zero at its end, stands before it."""
        size = self.number("H")
        begin = self.skip(size)
        return self.mapped[begin : begin + min(size - 1, LARGEST_NAME_BYTES)].decode("utf-8", "replace")

    def skip(self, size: int) -> int:
        """Go on by so many bytes; return where they begin. Raises CheckpointError where the file ends before."""
        begin = self.at
        self.at += size
        if self.at > len(self.mapped):
            raise CheckpointError(f"is cut off: it ends at byte {len(self.mapped)}, in the middle of a variable")
        return begin


def read_ctranslate2(path: Path) -> tuple[ModelDimensions, dict[str, Tensor]]:
    """Map a model: its dimensions, and its weights by openai-whisper's names. Raises CheckpointError, OSError."""
    with open(path, "rb") as file:
        reader = _Reader(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    version, spec = reader.number("I"), reader.text()
    if version != FORMAT or spec != SPEC:
        raise CheckpointError(
            f"is a {spec[:40]!r} of CTranslate2's format {version}; {SPEC} of format {FORMAT} is read"
        )
    reader.number("I")  # the spec's revision, which changed no variable
    found = dict(_variables(reader))
    for _ in range(reader.number("I")):
        alias, name = reader.text(), reader.text()
        if name in found:
            found[alias] = found[name]
    if reader.at != len(reader.mapped):
        raise CheckpointError(f"is damaged: {len(reader.mapped) - reader.at} bytes follow its last variable")
    conversion = _Conversion(found)
    conversion.run()
    return conversion.dims(), conversion.state


def _variables(reader: _Reader) -> Iterator[tuple[str, Tensor]]:
    for _ in range(reader.number("I")):
        name = reader.text()
        shape = [reader.number("I") for _ in range(reader.number("B"))]
        kind, size = reader.number("B"), reader.number("I")
        count = prod(shape)
        if kind not in DTYPES or size != count * DTYPES[kind].itemsize:
            raise CheckpointError(f"is damaged: {name[:80]!r} has {size} bytes, which is not its shape of type {kind}")
        begin, dtype = reader.skip(size), DTYPES[kind]
        if count:
            yield name, torch.frombuffer(reader.mapped, dtype=dtype, count=count, offset=begin).view(shape)


@dataclass
class _Conversion:
    """CTranslate2's names on one side, openai-whisper's on the other."""

    variables: Mapping[str, Tensor]
    state: dict[str, Tensor] = field(default_factory=dict)

    def take(self, name: str) -> Tensor:
        """Take one variable. Raises CheckpointError where it is missing, or quantised."""
        value = self.variables.get(name)
        if value is None:
            raise CheckpointError(f"has no variable {name!r}, which every Whisper of CTranslate2 has")
        if not value.is_floating_point():
            reason = "convert the model again with --quantization float16"
            raise CheckpointError(f"has quantised weights (int8 or int16), which are not read: {reason}")
        return value

    def norm(self, theirs: str, ours: str) -> None:
        """Take a layer norm."""
        for part, name in (("weight", "gamma"), ("bias", "beta")):
            self.state[f"{ours}.{part}"] = self.take(f"{theirs}/{name}")

    def linear(self, theirs: str, *ours: str) -> None:
        """Take one matrix of theirs, which may be several of ours on top of each other."""
        weights = self.take(f"{theirs}/weight").chunk(len(ours))
        biases = self.take(f"{theirs}/bias").chunk(len(ours))
        for name, weight, bias in zip(ours, weights, biases, strict=True):
            self.state[f"{name}.weight"] = weight
            if not name.endswith(".key"):  # whisper's keys have none: theirs is zeros
                self.state[f"{name}.bias"] = bias

    def block(self, theirs: str, ours: str, *, has_cross_attention: bool) -> None:
        """Take one layer of the encoder or the decoder."""
        self.norm(f"{theirs}/self_attention/layer_norm", f"{ours}.attn_ln")
        self.linear(f"{theirs}/self_attention/linear_0", *(f"{ours}.attn.{part}" for part in ("query", "key", "value")))
        self.linear(f"{theirs}/self_attention/linear_1", f"{ours}.attn.out")
        if has_cross_attention:
            self.norm(f"{theirs}/attention/layer_norm", f"{ours}.cross_attn_ln")
            self.linear(f"{theirs}/attention/linear_0", f"{ours}.cross_attn.query")
            self.linear(f"{theirs}/attention/linear_1", f"{ours}.cross_attn.key", f"{ours}.cross_attn.value")
            self.linear(f"{theirs}/attention/linear_2", f"{ours}.cross_attn.out")
        self.norm(f"{theirs}/ffn/layer_norm", f"{ours}.mlp_ln")
        self.linear(f"{theirs}/ffn/linear_0", f"{ours}.mlp.0")
        self.linear(f"{theirs}/ffn/linear_1", f"{ours}.mlp.2")

    def layers(self, side: str) -> int:
        """Count those of the encoder or the decoder."""
        names = {name.split("/")[1] for name in self.variables if name.startswith(f"{side}/layer_")}
        return sum(name.removeprefix("layer_").isdigit() for name in names)

    def run(self) -> None:
        """Take all of the model."""
        for side, norm in (("encoder", "ln_post"), ("decoder", "ln")):
            self.state[f"{side}.positional_embedding"] = self.take(f"{side}/position_encodings/encodings")
            self.norm(f"{side}/layer_norm", f"{side}.{norm}")
            for index in range(self.layers(side)):
                self.block(f"{side}/layer_{index}", f"{side}.blocks.{index}", has_cross_attention=side == "decoder")
        for number in (1, 2):
            for part in ("weight", "bias"):
                self.state[f"encoder.conv{number}.{part}"] = self.take(f"encoder/conv{number}/{part}")
        self.state["decoder.token_embedding.weight"] = self.take("decoder/embeddings/weight")

    def dims(self) -> ModelDimensions:
        """Read the dimensions off the weights."""
        state, heads = self.state, {}
        for side in ("encoder", "decoder"):
            if f"{side}/num_heads" not in self.variables:
                raise CheckpointError(f"does not tell how many heads its {side} has")
            heads[side] = int(self.variables[f"{side}/num_heads"])
        size, mels, _ = state["encoder.conv1.weight"].shape
        n_vocab, text_size = state["decoder.token_embedding.weight"].shape
        return ModelDimensions(
            n_mels=mels,
            n_audio_ctx=len(state["encoder.positional_embedding"]),
            n_audio_state=size,
            n_audio_head=heads["encoder"],
            n_audio_layer=self.layers("encoder"),
            n_vocab=n_vocab,
            n_text_ctx=len(state["decoder.positional_embedding"]),
            n_text_state=text_size,
            n_text_head=heads["decoder"],
            n_text_layer=self.layers("decoder"),
        )
