"""A CTranslate2 Whisper model (`model.bin`, binary format 6) as a checkpoint of openai-whisper.

Such files are served by people nobody knows. Nothing in one is run: the reader takes names, shapes and numbers, and
refuses what does not fit together. The checkpoint is what `whisper.load_model(path)` and our own loader take.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
"""CTranslate2's numbers for types."""
FORMAT = 6
SPEC = "WhisperSpec"
Array = NDArray[Any]


class ModelFileError(Exception):
    """The file is not a whole CTranslate2 Whisper model: a sentence."""


@dataclass
class _Reader:
    """Little-endian numbers and texts, one after the other."""

    data: bytes
    at: int = 0

    def number(self, form: str) -> int:
        """One number of this form of the struct module."""
        return int(struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0])

    def text(self) -> str:
        """A text whose length, with the zero at its end, stands before it."""
        return self.take(self.number("H"))[:-1].decode()

    def take(self, size: int) -> bytes:
        """The next bytes. Raises ModelFileError where the file ends before."""
        taken = self.data[self.at : self.at + size]
        if len(taken) < size:
            raise ModelFileError(f"the model file ends at byte {len(self.data)}, in the middle of a variable")
        self.at += size
        return taken


def read_variables(path: Path) -> dict[str, Array]:
    """All variables of a model.bin by name; aliases are variables too. Raises ModelFileError."""
    reader = _Reader(path.read_bytes())
    version, spec = reader.number("I"), reader.text()
    if version != FORMAT or spec != SPEC:
        raise ModelFileError(f"{path.name} is a {spec} of format {version}; only {SPEC} of format {FORMAT} is read")
    reader.number("I")  # the spec's revision, which changed no variable
    found = dict(_variables(reader))
    for _ in range(reader.number("I")):
        alias, name = reader.text(), reader.text()
        found[alias] = found[name]
    if reader.at != len(reader.data):
        raise ModelFileError(f"{path.name} has {len(reader.data) - reader.at} bytes after its last variable")
    return found


def _variables(reader: _Reader) -> Iterator[tuple[str, Array]]:
    for _ in range(reader.number("I")):
        name = reader.text()
        shape = [reader.number("I") for _ in range(reader.number("B"))]
        kind, size = reader.number("B"), reader.number("I")
        if kind not in DTYPES or size != prod(shape) * np.dtype(DTYPES[kind]).itemsize:
            raise ModelFileError(f"variable {name!r} has {size} bytes, which is not its shape {shape} of type {kind}")
        yield name, np.frombuffer(reader.take(size), DTYPES[kind]).reshape(shape)


@dataclass
class _Conversion:
    """CTranslate2's names on one side, openai-whisper's on the other."""

    variables: Mapping[str, Array]
    state: dict[str, torch.Tensor] = field(default_factory=dict)

    def take(self, name: str) -> torch.Tensor:
        """One variable as float32; an int8 one is divided by its scale. Raises ModelFileError where it is missing."""
        try:
            value = self.variables[name]
            if value.dtype != np.int8:
                return torch.from_numpy(value.astype(np.float32))
            scale = self.variables[f"{name}_scale"].astype(np.float32)
        except KeyError as error:
            raise ModelFileError(f"the model has no variable {error.args[0]!r}") from None
        return torch.from_numpy(value.astype(np.float32) / scale.reshape(-1, *[1] * (value.ndim - 1)))

    def norm(self, theirs: str, ours: str) -> None:
        """A layer norm."""
        self.state[f"{ours}.weight"], self.state[f"{ours}.bias"] = (
            self.take(f"{theirs}/gamma"),
            self.take(f"{theirs}/beta"),
        )

    def linear(self, theirs: str, *ours: str) -> None:
        """One matrix of theirs, which may be several of ours on top of each other."""
        weights = self.take(f"{theirs}/weight").chunk(len(ours))
        biases = self.take(f"{theirs}/bias").chunk(len(ours))
        for name, weight, bias in zip(ours, weights, biases, strict=True):
            self.state[f"{name}.weight"] = weight
            if not name.endswith(".key"):  # whisper's keys have none: theirs is zeros
                self.state[f"{name}.bias"] = bias

    def block(self, theirs: str, ours: str, *, has_cross_attention: bool) -> None:
        """One layer of the encoder or the decoder."""
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
        """How many the encoder or the decoder has."""
        names = {name.split("/")[1] for name in self.variables if name.startswith(f"{side}/layer_")}
        return sum(name.removeprefix("layer_").isdigit() for name in names)

    def run(self) -> None:
        """All of the model."""
        for side, positions, norm in (("encoder", "encoder", "ln_post"), ("decoder", "decoder", "ln")):
            self.state[f"{positions}.positional_embedding"] = self.take(f"{side}/position_encodings/encodings")
            self.norm(f"{side}/layer_norm", f"{side}.{norm}")
            for index in range(self.layers(side)):
                name = f"{side}.blocks.{index}"
                self.block(f"{side}/layer_{index}", name, has_cross_attention=side == "decoder")
        for number in (1, 2):
            for part in ("weight", "bias"):
                self.state[f"encoder.conv{number}.{part}"] = self.take(f"encoder/conv{number}/{part}")
        self.state["decoder.token_embedding.weight"] = self.take("decoder/embeddings/weight")


def convert(variables: Mapping[str, Array]) -> dict[str, Any]:
    """openai-whisper's checkpoint, in half precision. Raises ModelFileError where a variable is missing."""
    conversion = _Conversion(variables)
    conversion.run()
    return {"dims": _dims(conversion), "model_state_dict": {n: v.half().clone() for n, v in conversion.state.items()}}


def _dims(conversion: _Conversion) -> dict[str, int]:
    state, heads = conversion.state, {}
    for side in ("encoder", "decoder"):
        heads[side] = int(conversion.variables[f"{side}/num_heads"])
    size, mels, _ = state["encoder.conv1.weight"].shape
    return {
        "n_mels": mels,
        "n_audio_ctx": state["encoder.positional_embedding"].shape[0],
        "n_audio_state": size,
        "n_audio_head": heads["encoder"],
        "n_audio_layer": conversion.layers("encoder"),
        "n_vocab": state["decoder.token_embedding.weight"].shape[0],
        "n_text_ctx": state["decoder.positional_embedding"].shape[0],
        "n_text_state": state["decoder.token_embedding.weight"].shape[1],
        "n_text_head": heads["decoder"],
        "n_text_layer": conversion.layers("decoder"),
    }
